"""The run: one folder that holds all of one adaptation."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from antcli import __version__
from antcli.artifacts import write_json
from antcli.config import AdaptConfig, adapt_config_from, to_toml
from antcli.errors import AntError


@dataclass(frozen=True)
class Run:
    """Paths and facts of one run folder."""

    folder: Path

    @property
    def facts_file(self) -> Path:
        """What the run is and how far it has come."""
        return self.folder / "run.json"

    @property
    def weights(self) -> Path:
        """What was trained, averaged."""
        return self.folder / "weights.safetensors"

    @property
    def state(self) -> Path:
        """What an unfinished run resumes from."""
        return self.folder / "state.safetensors"

    @property
    def classifier(self) -> Path:
        """The classifier that guided it."""
        return self.folder / "classifier.safetensors"

    @property
    def log(self) -> Path:
        """One JSON object a line for each step."""
        return self.folder / "log.jsonl"

    @property
    def preview(self) -> Path:
        """The newest page of samples."""
        return self.folder / "preview.png"

    def preview_at(self, step: int) -> Path:
        """The page of samples after `step` steps."""
        return self.folder / "previews" / f"step-{step:05d}.png"

    def facts(self) -> dict[str, Any]:
        """What `write_facts` wrote last. Raises `AntError` where the folder is no run."""
        try:
            facts: dict[str, Any] = json.loads(self.facts_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AntError(
                f"{self.folder} is no run of ant",
                "give the folder that `ant adapt` wrote, or none for the latest one",
            ) from error
        return facts

    def config(self) -> AdaptConfig:
        """The settings it was made with."""
        return adapt_config_from(self.facts()["config"])

    @property
    def started(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return self.facts_file.exists()

    @property
    def finished(self) -> bool:
        """Whether its weights are final."""
        return self.started and self.facts()["status"] == "finished"

    def write_facts(self, config: AdaptConfig, identity: Mapping[str, Any], **more: Any) -> None:
        """Record settings, identity of source and target, status and step."""
        facts = {"version": __version__, "config": asdict(config), **identity, **more}
        write_json(self.facts_file, facts)

    def write_config(self, config: AdaptConfig) -> None:
        """The settings as TOML, which `ant adapt --config` reads."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.toml").write_text(to_toml(config), encoding="utf-8")


def default_folder(config: AdaptConfig) -> Path:
    """Where a run goes that was given no place: runs/SOURCE-TARGET-METHOD."""
    source, target = Path(config.source).name, Path(config.target).resolve().name
    return Path("runs") / f"{source}-{target}-{config.method}"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remember_latest(run: Run) -> None:
    """Make `run` the one that a command without RUN means."""
    pointer = _latest_pointer()
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(str(run.folder.resolve()), encoding="utf-8")
    except OSError:
        # A home that cannot be written to costs the shortcut, not the run.
        return


def find_run(folder: Path | None) -> Run:
    """The run in `folder`, or the latest one. Raises `AntError` where it has no weights yet."""
    if folder is None:
        try:
            folder = Path(_latest_pointer().read_text(encoding="utf-8"))
        except OSError as error:
            raise AntError(
                "there is no run yet",
                "`ant adapt --source avatars --target FOLDER` makes one",
                exit_code=2,
            ) from error
    if not folder.is_dir():
        raise AntError(f"there is no run in {folder}", "`ant adapt --out RUN` makes one")
    run = Run(folder)
    if not run.finished:
        step, steps = run.facts()["step"], run.facts()["config"]["training"]["steps"]
        raise AntError(
            f"the run in {folder} is not finished ({step} of {steps} steps)",
            "type its `ant adapt` command again: it goes on where it stopped",
        )
    return run


def _latest_pointer() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "ant" / "latest"
