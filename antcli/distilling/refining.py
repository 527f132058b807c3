"""A student that has learnt its windows goes on with scores and a critic, as a new run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from accelerate import Accelerator
from annotated_types import Ge, Lt

from antcli.artifacts import load_metadata, load_tensors
from antcli.config import AdaptConfig, PreviewConfig, TrainingConfig, adapt_config_from, merge
from antcli.diffusion.sampler import FewSteps
from antcli.distilling.adversarial import (
    AdversarialSettings,
    AdversarialTraining,
)
from antcli.distilling.critic import Critic
from antcli.distilling.folder import StudentFolder, beside, check_other, keep_adapted, through
from antcli.errors import AntError, quoted
from antcli.evaluation.own_target import own_target
from antcli.evaluation.stopping import Score
from antcli.images.folder import ImageFolder, read_folder
from antcli.methods.student import build_student
from antcli.methods.trainable.denoiser import Denoiser
from antcli.processes import others_wait
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.settings import checked, settings
from antcli.sources.encoder import Encoder
from antcli.sources.source import Source
from antcli.training.adaptation import Preview, Resumed
from antcli.training.loop import StepRecord, check_batch
from antcli.training.source_samples import examples_of, source_predict

TRAINING = {
    "steps": 100,
    "batch_size": 10,
    "learning_rate": 2e-4,
    "warmup_steps": 5,
    "final_learning_rate": 0.1,
    "weight_decay": 0.0,
    "ema_decay": 0.95,
}
"""What this training prefers: a batch holds each of ten images once."""
PREVIEW = PreviewConfig(every=100)


@settings
class RefineConfig:
    """All settings of a student's training with a critic."""

    adversarial: AdversarialSettings = field(default_factory=AdversarialSettings)
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    training: TrainingConfig = field(default_factory=TrainingConfig)


def refine_config_from(*layers: Mapping[str, Any]) -> RefineConfig:
    """Settings from nested mappings, later ones over earlier ones, all over the defaults.

    Raises `AntError` (wrong usage) for a name that is unknown or a value of the wrong kind.
    """
    return checked(RefineConfig, merge({"training": TRAINING}, *layers))


@dataclass(frozen=True)
class Student:
    """A distilled run, checked, and the images of its target."""

    run: Run
    source: Source
    sampler: FewSteps
    target: ImageFolder

    @property
    def config(self) -> AdaptConfig:
        """What trains of it."""
        return adapt_config_from(json.loads(load_metadata(self.run.weights)["ant.config"]))

    def identity(self, config: RefineConfig) -> dict[str, Any]:
        """What tells two runs of it apart, and what a distilled run tells of itself."""
        facts = self.run.facts()
        known = ("source_sha256", "target_sha256", "target_folder", "adapted_sha256")
        return {
            **{name: facts[name] for name in (*known, "sampler", "distilled")},
            "student_sha256": self.run.weights_sha256,
            "refined": asdict(config),
        }


def check_student(run: Run) -> Student:
    """Raises `AntError` where a run was not distilled, or its target's images are not there."""
    sampler = run.sampler
    if not isinstance(sampler, FewSteps):
        raise AntError(
            f"{run.folder} draws in many steps: a critic goes on with what was distilled",
            f"`ant distill {quoted(run.folder)}` comes first",
            exit_code=2,
        )
    source = check_run_source(run)
    target = read_folder(own_target(run), source.size)
    return Student(run, source, sampler, target)


def default_refined_folder(student: Run) -> Path:
    """Where what comes out goes that was given no place: beside the student."""
    return beside(student, "critic")


def refine(
    student: Student,
    config: RefineConfig,
    run: Run,
    accelerator: Accelerator,
    stop: Callable[[], bool] = lambda: False,
    *,
    clear: bool = False,
) -> Iterator[StepRecord | Resumed | Preview | Score]:
    """Go on with a student in a run of its own; one that was cut goes on where it was.

    With `clear` it begins anew. Raises `KeyboardInterrupt` after the step in which `stop()` turned
    true, with the state saved, and `NonFiniteLossError` with the last good state kept.
    """
    check_batch(config.training, accelerator.num_processes)
    check_other(run, student.run)
    main, identity = accelerator.is_main_process, student.identity(config)
    with run.held() if main else nullcontext():
        with others_wait(accelerator):
            if main:
                run.begin(student.run.config(), identity, clear=clear)
                keep_adapted(student.run.adapted, run)
        told = replace(student.config, training=config.training, preview=PREVIEW)
        training = _training(student, config, accelerator)
        folder = StudentFolder(run, training, student.source, identity, told, None, student.run)
        yield from through(folder, stop)


def _training(
    student: Student, config: RefineConfig, accelerator: Accelerator
) -> AdversarialTraining:
    """Of the student as it is; the score of what it draws begins as the adapted network."""
    run, source, device = student.run, student.source, accelerator.device

    def adapted() -> Denoiser:
        return load_adapted(run, source, run.adapted)

    network = load_adapted(run, source)
    trained = load_tensors(run.weights).keys()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
    critic = Critic(
        Encoder(source.load(), source.convention),
        source.path,
        config.adversarial.critic,
        config.seed,
    )
    return AdversarialTraining(
        network,
        build_student(adapted(), student.config, student.sampler),
        (source_predict(source, accelerator), adapted().to(device).guided),
        critic,
        examples_of(source, student.target.images, device, flip=config.training.flip),
        config.training,
        config.adversarial,
        accelerator,
        seed=config.seed,
        clip=not source.latent,
    )
