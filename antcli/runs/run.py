"""The run: one folder that holds all of one adaptation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from antcli import __version__
from antcli.artifacts import cannot_write, file_hash, remove_leftovers, replacing, write_json
from antcli.config import AdaptConfig, adapt_config_from, differences, label, to_toml
from antcli.diffusion.sampler import FewSteps, Sampler
from antcli.errors import AntError, quoted
from antcli.runs.files import RunFiles
from antcli.sources.sampler import usual_sampler

FACTS = {"config", "status", "step"}
"""What every run tells of itself, beside its identity."""
LOCK = ".lock"
"""Held by the process that works in a run; the system lets go of it with the process."""
SAME_RESULT = {
    "config.source",
    "config.target",
    "config.training.low_memory",
    "config.training.micro_batch",
    "config.preview.keep",
    "distilled.training.micro_batch",
    "target_folder",
}
"""Settings that do not change what a run comes to: it may go on with others. Where a source and a
target lie is no matter, since the hashes of their files are compared."""


@dataclass(frozen=True)
class Run(RunFiles):
    """What a run folder says of itself, and how a run begins in it."""

    @property
    def mending(self) -> str:
        """What to do where its weights are damaged or gone."""
        if self.checkpoints:
            folder = quoted(self.folder)
            return f"`ant evaluate checkpoints {folder} --take` takes those of a step that was kept"
        return "make it again with `force`"

    @property
    def weights_sha256(self) -> str:
        """Of the weights as they are now."""
        return file_hash(self.weights)

    @property
    def taken_step(self) -> int:
        """The step whose weights the run has."""
        facts = self.facts()
        return int(facts.get("chosen_step", facts["step"]))

    def facts(self) -> dict[str, Any]:
        """What `write_facts` wrote last. Raises `AntError` where the folder is no run."""
        try:
            facts = json.loads(self.facts_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            facts = None
        if not isinstance(facts, dict) or not facts.keys() >= FACTS:
            raise AntError(
                f"{self.folder} is no run of ant",
                "give the folder that `ant adapt` wrote, or none for the latest one",
            )
        return facts

    def config(self) -> AdaptConfig:
        """The settings it was made with."""
        return adapt_config_from(self.facts()["config"])

    @property
    def sampler(self) -> Sampler:
        """How samples are drawn of it where nothing is said: of a distilled run, as it was made
        for.
        """
        made = self.facts().get("sampler")
        return usual_sampler(self.config().source) if made is None else FewSteps(**made)

    @property
    def started(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return self.facts_file.exists()

    @property
    def finished(self) -> bool:
        """Whether its weights are final."""
        return self.started and self.facts()["status"] == "finished"

    def check_place(self) -> None:
        """Raise `AntError` where the folder holds something that is no run."""
        if not self.folder.exists() or self.started:
            return
        if not self.folder.is_dir() or any(map(_is_foreign, self.folder.iterdir())):
            raise AntError(f"{self.folder} exists and is no run of ant", "choose another `out`")

    def check_can_start(self, config: AdaptConfig, identity: Mapping[str, Any]) -> None:
        """Raise `AntError` unless the folder is free, or holds this very run unfinished."""
        self.check_place()
        if not self.started:
            return
        if self.finished:
            raise AntError(
                f"the run in {self.folder} is finished",
                f"look at {self.preview}, or start over with `force`, or choose another `out`",
            )
        now = {"config": asdict(config), **identity}
        # What was written by an older version has the settings of today at their defaults.
        facts = {**self.facts(), "config": asdict(self.config())}
        before = {key: facts.get(key) for key in now}
        changed = differences(before, now)
        told = [text for name, text in changed.items() if name not in SAME_RESULT]
        if told:
            raise AntError(
                f"{self.folder} holds an unfinished run with other settings ({'; '.join(told)})",
                "type its own command to go on, start over with `force`, or choose another `out`",
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the run is this process' own. Raises `AntError` while it is another one's."""
        self.check_place()
        lock = FileLock(self.folder / LOCK)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(NotImplementedError):  # a file system without locks
                lock.acquire(timeout=0)
        except Timeout as error:
            raise AntError(
                f"another process is at work in {self.folder}",
                "wait until it is done, or choose another `out`",
            ) from error
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        try:
            yield
        finally:
            lock.release()

    def begin(self, config: AdaptConfig, identity: Mapping[str, Any], *, clear: bool) -> None:
        """Make the folder ready for a run that starts or goes on."""
        self.check_place()
        for folder in (self.folder, self.folder / "previews", self.folder / "checkpoints"):
            remove_leftovers(folder)
        if clear:
            self.clear()
        if not self.started:
            self.write_facts(config, identity, status="running", step=0)
        with replacing(self.settings_file) as temporary:
            temporary.write_text(to_toml(config), encoding="utf-8")

    def write_facts(self, config: AdaptConfig, identity: Mapping[str, Any], **more: Any) -> None:
        """Record settings, identity of source and target, status and step."""
        facts = {"version": __version__, "config": asdict(config), **identity, **more}
        write_json(self.facts_file, facts)


def _is_foreign(path: Path) -> bool:
    """Whether it is not what is there before a run has begun."""
    return path.name != LOCK and path.suffix != ".part"


def take_checkpoint(run: Run, step: int, why: str) -> None:
    """Make the weights that were kept after `step` those of a finished run."""
    facts = run.facts()
    with replacing(run.weights) as temporary:
        shutil.copyfile(run.checkpoint_at(step), temporary)
    write_json(run.facts_file, {**facts, "chosen_step": step, "why": why})


def default_folder(config: AdaptConfig) -> Path:
    """Where a run goes that was given no place: runs/SOURCE-TARGET-METHOD."""
    source, target = Path(config.source).resolve().name, Path(config.target).resolve().name
    return Path("runs") / f"{source}-{target}-{label(config)}"
