"""The run: one folder that holds all of one adaptation."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from antcli import __version__
from antcli.artifacts import (
    RUN_FACTS,
    cannot_write,
    file_hash,
    remove_leftovers,
    replacing,
    write_json,
)
from antcli.config import AdaptConfig, adapt_config_from, differences, to_toml
from antcli.diffusion.sampler import FewSteps, Sampler
from antcli.errors import AntError, quoted
from antcli.methods.table import label
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
class Run:
    """Paths and facts of one run folder."""

    folder: Path

    @property
    def settings_file(self) -> Path:
        """Its settings, as `--config` reads them."""
        return self.folder / "config.toml"

    @property
    def facts_file(self) -> Path:
        """What the run is and how far it has come."""
        return self.folder / RUN_FACTS

    @property
    def weights(self) -> Path:
        """What was trained, averaged."""
        return self.folder / "weights.safetensors"

    @property
    def state(self) -> Path:
        """What an unfinished run resumes from."""
        return self.folder / "state.safetensors"

    @property
    def state_before(self) -> Path:
        """The state before that one, from which it resumes where the newer one is damaged."""
        return self.folder / "state-before.safetensors"

    @property
    def classifier(self) -> Path:
        """The classifier that guided it."""
        return self.folder / "classifier.safetensors"

    @property
    def counterparts(self) -> Path:
        """What the source would have drawn in the place of each of the target's images."""
        return self.folder / "counterparts.safetensors"

    @property
    def source_examples(self) -> Path:
        """Samples that the source drew of itself."""
        return self.folder / "source-examples.safetensors"

    @property
    def fisher(self) -> Path:
        """How much the source's samples depend on each weight."""
        return self.folder / "fisher.safetensors"

    @property
    def modulated(self) -> Path:
        """Which filters matter to the target."""
        return self.folder / "modulated.safetensors"

    @property
    def adapted(self) -> Path:
        """Of a distilled run, the weights of the adapted one that it was distilled from."""
        return self.folder / "adapted.safetensors"

    @property
    def lessons(self) -> Path:
        """Of a distilled run, what its teacher made of noised samples, while it trains."""
        return self.folder / "lessons.safetensors"

    @property
    def condition(self) -> Path:
        """What its source is asked with, where that is conditional on a class or a text."""
        return self.folder / "condition.safetensors"

    @property
    def model(self) -> Path:
        """The whole network as a diffusers folder, where all of it was trained."""
        return self.folder / "model"

    @property
    def log(self) -> Path:
        """One JSON object a line for each step."""
        return self.folder / "log.jsonl"

    @property
    def preview(self) -> Path:
        """The newest page of samples."""
        return self.folder / "preview.png"

    @property
    def preview_source(self) -> Path:
        """The source's images of the pages, as a tensor."""
        return self.folder / "previews" / "source.safetensors"

    def preview_at(self, step: int) -> Path:
        """The page of samples after `step` steps."""
        return self.folder / "previews" / f"step-{step:05d}.png"

    def checkpoint_at(self, step: int) -> Path:
        """What was trained, averaged, after `step` steps."""
        return self.folder / "checkpoints" / f"step-{step:05d}.safetensors"

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The kept weights by their step, in order."""
        found = sorted((self.folder / "checkpoints").glob("step-*.safetensors"))
        steps = {path.stem.removeprefix("step-"): path for path in found}
        return {int(step): path for step, path in steps.items() if step.isdecimal()}

    @property
    def scores(self) -> Path:
        """How the checkpoints do without held-out data, a JSON list."""
        return self.folder / "scores.json"

    @property
    def curve(self) -> Path:
        """The scores over the steps, as a picture."""
        return self.folder / "curve.svg"

    @property
    def evaluation(self) -> Path:
        """All metrics as JSON, with the hash of the weights they were measured of."""
        return self.folder / "evaluation.json"

    @property
    def nearest_pairs(self) -> Path:
        """The samples nearest to a target image, beside it."""
        return self.folder / "nearest-pairs.png"

    @property
    def report(self) -> Path:
        """All there is to see of it, as one HTML file."""
        return self.folder / "report.html"

    @property
    def exports(self) -> Path:
        """Folders for other programs, by their format, unless they were sent elsewhere."""
        return self.folder / "exports"

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

    @property
    def samples(self) -> Path:
        """Images drawn from it, unless they were sent elsewhere."""
        return self.folder / "samples"

    def samples_of(self, condition: str) -> Path:
        """Images of one of its conditions, in words, unless they were sent elsewhere."""
        return self.folder / "conditions" / condition

    @property
    def source_samples(self) -> Path:
        """Images that the source, not adapted, draws from the same noise."""
        return self.folder / "source-samples"

    def clear(self) -> None:
        """Remove what a run writes, and nothing else, from the folder."""
        made = ("model", "previews", "checkpoints", "samples", "source-samples", "exports")
        for name in (*made, "conditions"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for file in (self.weights, self.state, self.state_before, self.classifier):
            file.unlink(missing_ok=True)
        for file in (self.condition, self.log, self.adapted, self.lessons):
            file.unlink(missing_ok=True)
        for file in (self.preview, self.scores, self.curve, self.evaluation, self.nearest_pairs):
            file.unlink(missing_ok=True)
        for file in (self.counterparts, self.source_examples, self.fisher, self.modulated):
            file.unlink(missing_ok=True)
        for file in (self.report, self.settings_file, self.facts_file):
            file.unlink(missing_ok=True)

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


def remember_latest(run: Run) -> None:
    """Make `run` the one that a command without RUN means."""
    pointer = _latest_pointer()
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(str(run.folder.resolve()), encoding="utf-8")
    except OSError:
        # A home that cannot be written to costs the shortcut, not the run.
        return


def find_run(folder: Path | None, *, whole: bool = True) -> Run:
    """The run in `folder`, or the latest one. Raises `AntError` where it is not finished.

    Without its weights it is not `whole`, and found only where that may be.
    """
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
        facts = run.facts()
        command, made = (
            ("adapt", "config") if "distilled" not in facts else ("distill", "distilled")
        )
        step, steps = facts["step"], facts[made]["training"]["steps"]
        raise AntError(
            f"the run in {folder} is not finished ({step} of {steps} steps)",
            f"type its `ant {command}` command again: it goes on where it stopped",
        )
    if whole and not run.weights.exists():
        raise AntError(f"the run in {folder} has lost its weights, {run.weights.name}", run.mending)
    return run


def _latest_pointer() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "ant" / "latest"
