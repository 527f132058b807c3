"""A student that has learnt its windows goes on with scores and a critic, as a new run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any

from accelerate import Accelerator
from annotated_types import Ge, Lt

from antcli.artifacts import load_metadata, load_tensors
from antcli.config import AdaptConfig, PreviewConfig, TrainingConfig, adapt_config_from, merge
from antcli.diffusion.sampler import FewSteps
from antcli.distilling.critic import Critic
from antcli.distilling.folder import StudentFolder, keep_adapted
from antcli.distilling.matching import MatchingRecord, MatchingSettings, MatchingTraining
from antcli.errors import AntError
from antcli.evaluation.samples import check_run_source, load_adapted
from antcli.images.folder import ImageFolder, read_folder
from antcli.methods.student import build_student
from antcli.methods.trainable.denoiser import Denoiser
from antcli.processes import others_wait
from antcli.runs import Run
from antcli.settings import checked, settings
from antcli.sources.encoder import Encoder
from antcli.sources.source import Source
from antcli.training.adaptation import Preview, Resumed, begin, keep
from antcli.training.inputs import examples_of, source_predict
from antcli.training.loop import check_batch

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
class MatchedConfig:
    """All settings of a student's training with a critic."""

    matching: MatchingSettings = field(default_factory=MatchingSettings)
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(**TRAINING))  # type: ignore[arg-type]


def matched_config_from(*layers: dict[str, Any]) -> MatchedConfig:
    """Settings from nested mappings, later ones over earlier ones, all over the defaults.

    Raises `AntError` (wrong usage) for a name that is unknown or a value of the wrong kind.
    """
    return checked(MatchedConfig, merge({"training": TRAINING}, *layers))


def match(
    student: Run,
    config: MatchedConfig,
    run: Run,
    accelerator: Accelerator,
    stop: Callable[[], bool] = lambda: False,
    *,
    clear: bool = False,
) -> Iterator[MatchingRecord | Resumed | Preview]:
    """Go on with a distilled run; the new one, if it was cut, goes on where it was, unless `clear`.

    The images of the target are read from where they were. Raises `AntError` where the run was not
    distilled or they are not there, `KeyboardInterrupt` after the step in which `stop()` turned
    true, with the state saved, and `NonFiniteLossError` with the last good state kept.
    """
    check_batch(config.training, accelerator.num_processes)
    source, target = check_run_source(student), _check_student(student)
    main, identity = accelerator.is_main_process, _identity(student, config)
    with run.held() if main else nullcontext():
        with others_wait(accelerator):
            if main:
                run.begin(student.config(), identity, clear=clear)
                keep_adapted(student, run, weights=student.adapted)
        told = replace(_told(student), training=config.training, preview=PREVIEW)
        training = _training(student, source, target, config, accelerator)
        folder = StudentFolder(run, training, source, identity, told, student)
        yield from begin(folder)
        with others_wait(accelerator):
            if main:
                folder.cut()
        for record in training.steps():
            if main:
                folder.log(record)
            yield record
            yield from keep(folder, None, [], stop)  # type: ignore[misc]  # no scorer, no scores
        with others_wait(accelerator):
            if main:
                folder.finish(None)


def _check_student(student: Run) -> ImageFolder:
    """The target's images of a run that was distilled."""
    if not isinstance(student.sampler, FewSteps):
        raise AntError(
            f"{student.folder} draws in many steps: a critic goes on with what was distilled",
            f"`ant distill {student.folder}` comes first",
            exit_code=2,
        )
    return read_folder(Path(student.facts()["target_folder"]), check_run_source(student).size)


def _identity(student: Run, config: MatchedConfig) -> dict[str, Any]:
    """What tells two such runs apart, and what a distilled run tells of itself."""
    facts = student.facts()
    known = ("source_sha256", "target_sha256", "target_folder", "adapted_sha256")
    return {
        **{name: facts[name] for name in (*known, "sampler", "distilled")},
        "student_sha256": student.weights_sha256,
        "matched": asdict(config),
    }


def _told(student: Run) -> AdaptConfig:
    """What trains of it, as settings."""
    return adapt_config_from(json.loads(load_metadata(student.weights)["ant.config"]))


def _training(
    student: Run,
    source: Source,
    target: ImageFolder,
    config: MatchedConfig,
    accelerator: Accelerator,
) -> MatchingTraining:
    """Of the student as it is; the score of what it draws begins as the adapted network."""
    sampler, told = FewSteps(**student.facts()["sampler"]), _told(student)

    def adapted() -> Denoiser:
        return load_adapted(student, source, student.adapted)

    score = build_student(adapted(), told, sampler)
    network = load_adapted(student, source)
    trained = load_tensors(student.weights).keys()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
    critic = Critic(
        Encoder(source.load(), source.convention), source.path, config.matching.critic, config.seed
    )
    device = accelerator.device
    return MatchingTraining(
        network,
        score,
        (source_predict(source, accelerator), adapted().to(device).guided),
        critic,
        examples_of(source, target.images, device, flip=config.training.flip),
        config.training,
        config.matching,
        accelerator,
        seed=config.seed,
        clip=not source.latent,
    )
