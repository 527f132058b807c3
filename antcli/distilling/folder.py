"""What a distillation writes into the folder of its run: it needs no other one to draw images."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from antcli.artifacts import load_tensors, replacing, save_tensors, with_name
from antcli.config import AdaptConfig
from antcli.errors import AntError
from antcli.evaluation.stopping import ChosenStep, Score
from antcli.images.grid import to_uint8
from antcli.methods.student import few_steps
from antcli.methods.trainable.denoiser import Denoiser
from antcli.processes import others_wait
from antcli.runs.adapted import SAMPLER, load_adapted
from antcli.runs.run import Run
from antcli.training.adaptation import Preview, Resumed, begin, keep
from antcli.training.folder import RunFolder
from antcli.training.loop import StepRecord


@dataclass(frozen=True)
class StudentFolder(RunFolder):
    """A student's training, and the run that keeps it. Only the main process writes."""

    teacher: Run
    """The run that it was distilled from."""

    def checkpoint(self) -> None:
        """None are kept: of a student the last step counts."""

    def finish(self, choice: ChosenStep | None) -> None:
        """Write what trained, and remove what only the training needs."""
        super().finish(choice)
        self.run.lessons.unlink(missing_ok=True)

    @cached_property
    def _source_images(self) -> Tensor:
        """Its teacher's images, in the place of a source's."""
        file = self.run.preview_source
        if not file.exists():
            teacher = load_adapted(self.teacher, self.source)
            images = self._drawn(teacher.to(self.training.accelerator.device))
            save_tensors(file, {"images": images}, self._metadata("samples of the teacher"))
        return load_tensors(file)["images"]

    @property
    def _above(self) -> str:
        return "teacher"

    @property
    def _adapted_images(self) -> dict[str, Tensor]:
        with self.training.averaged():
            return {"student": self._drawn(self.training.network)}

    def _drawn(self, network: Denoiser, condition: str = "") -> Tensor:
        """As `ant sample` draws them; a student has no conditions."""
        device = self.training.accelerator.device
        seeds, codec = range(self.config.preview.images), self.source.codec(device)
        batches = self.source.sample(network, seeds, device=device)
        return torch.cat([to_uint8(codec.decode(x_0).cpu()) for x_0 in batches])

    @property
    def _title(self) -> str:
        return f"{super()._title}, distilled to {few_steps(self.training.network).steps} steps"

    @property
    def _told(self) -> AdaptConfig:
        """The settings of the adaptation."""
        return self.teacher.config()

    def _metadata(self, title: str) -> dict[str, object]:
        return {**super()._metadata(title), SAMPLER: asdict(few_steps(self.training.network))}


def through(
    folder: StudentFolder, stop: Callable[[], bool]
) -> Iterator[Resumed | StepRecord | Preview | Score]:
    """A student's training to its end, and all that its folder keeps; it goes on where it was cut.

    Raises `KeyboardInterrupt`, the state saved, where some process is asked to stop.
    """
    training, accelerator = folder.training, folder.training.accelerator
    main = accelerator.is_main_process
    yield from begin(folder)
    with others_wait(accelerator):
        if main:
            folder.cut()
    for record in training.steps():
        if main:
            folder.log(record)
        yield record
        yield from keep(folder, None, [], stop)
    with others_wait(accelerator):
        if main:
            folder.finish(None)


def beside(run: Run, called: str) -> Path:
    """Where what is made of a run goes that was given no place: beside it, `called` so besides."""
    return with_name(run.folder).with_name(f"{run.folder.resolve().name}-{called}")


def check_other(run: Run, known: Run) -> None:
    """Raise `AntError` where a run would take the place of the one that it is made of."""
    if run.folder.resolve() == known.folder.resolve():
        raise AntError(
            f"{run.folder} cannot be distilled into itself", "choose another `out`", exit_code=2
        )


def keep_adapted(weights: Path, run: Run) -> None:
    """Copy the adapted weights that a student is laid over into its run."""
    if not run.adapted.exists():
        with replacing(run.adapted) as temporary:
            shutil.copyfile(weights, temporary)
