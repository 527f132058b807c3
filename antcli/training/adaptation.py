"""One adaptation from beginning to end, as a stream of records; it fills the run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli import __version__
from antcli.artifacts import file_hash, load_tensors, save_tensors
from antcli.config import AdaptConfig
from antcli.diffusion.sampling import sample
from antcli.errors import AntError
from antcli.images.folder import ImageFolder, check_folder, read_folder
from antcli.images.grid import grid, save_png, to_uint8
from antcli.methods.build import build_network, noise_rule, target_rule
from antcli.methods.classifier import NoisyClassifier
from antcli.methods.table import METHODS
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs import Run
from antcli.sources.source import Source, find_source
from antcli.training.classifier import (
    ClassifierReport,
    ClassifierStep,
    ClassifierTraining,
    check_classifier,
    load_classifier,
    save_classifier,
)
from antcli.training.loop import StepRecord, Training
from antcli.training.pretraining import write_source


@dataclass(frozen=True)
class SourceSamples:
    """So many images were drawn from the source for the classifier."""

    done: int
    total: int


@dataclass(frozen=True)
class Resumed:
    """The run goes on after this step."""

    step: int


@dataclass(frozen=True)
class Preview:
    """A page of samples was written."""

    step: int
    path: Path


Record = SourceSamples | ClassifierStep | ClassifierReport | Resumed | StepRecord | Preview


@dataclass(frozen=True)
class Inputs:
    """What an adaptation starts from, all of it checked."""

    source: Source
    target: ImageFolder
    classifier_file: Path | None = None
    source_images: Path | None = None

    def identity(self) -> dict[str, Any]:
        """What tells two runs with equal settings apart."""
        return {
            "source_sha256": self.source.sha256,
            "target_sha256": list(self.target.hashes),
            "target_folder": str(self.target.folder.resolve()),
            "classifier_sha256": file_hash(self.classifier_file) if self.classifier_file else None,
            "source_images": str(self.source_images.resolve()) if self.source_images else None,
        }


def check_inputs(
    config: AdaptConfig, *, classifier: Path | None = None, source_images: Path | None = None
) -> Inputs:
    """Check all that can be wrong before a network is loaded. Raises `AntError`."""
    source = find_source(config.source)
    target = read_folder(Path(config.target), source.size)
    if classifier is not None:
        check_classifier(classifier, source.size)
    if source_images is not None:
        check_folder(source_images)
    return Inputs(source, target, classifier, source_images)


def train_classifier(
    inputs: Inputs, config: AdaptConfig, accelerator: Accelerator, out: Path
) -> Iterator[SourceSamples | ClassifierStep | ClassifierReport]:
    """Train the noise-aware classifier and write it to `out`.

    Where no folder of source images is given, they are sampled from the source itself.
    """
    if inputs.source_images is not None:
        source_images = read_folder(inputs.source_images, inputs.source.size).images
    else:
        batches: list[Tensor] = []
        for batch in _sample_source(inputs.source, config, accelerator):
            batches.append(batch)
            done = sum(map(len, batches))
            yield SourceSamples(done, config.classifier.source_samples)
        source_images = torch.cat(batches)
    training = ClassifierTraining(
        source_images,
        inputs.target.images,
        inputs.source.schedule,
        config.classifier,
        device=accelerator.device,
        seed=config.seed,
        flip=config.training.flip,
    )
    yield from training.steps()
    report = training.report()
    metadata = {
        **_metadata(inputs, config, "classifier of noised source and target images"),
        "ant.report": report.as_dict(),
    }
    save_classifier(out, training.classifier, metadata)
    yield report


def adapt(
    inputs: Inputs,
    config: AdaptConfig,
    run: Run,
    accelerator: Accelerator,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Adapt the source to the target; a run that was cut goes on where it was.

    Raises `KeyboardInterrupt` after the step in which `stop()` turned true, with the state
    saved, and `NonFiniteLossError` with the last good state kept.
    """
    main = accelerator.is_main_process
    classifier = yield from _prepare_classifier(inputs, config, run, accelerator)
    schedule = inputs.source.schedule
    network = build_network(inputs.source.load(), config, schedule)
    training = Training(
        network,
        schedule,
        inputs.target.images,
        config.training,
        accelerator,
        seed=config.seed,
        noise=noise_rule(config, schedule),
        target=target_rule(config, schedule, classifier),
    )
    if run.state.exists():
        training.load(run.state)
        yield Resumed(training.step)
    elif main:
        yield _preview(training, inputs, config, run)
    if main:
        _cut_log(run, training.step)
    for record in training.steps():
        if main:
            _append_log(run, record)
        yield record
        stopping = _any_process(accelerator, stop())
        if record.step % config.preview.every == 0 or stopping:
            _save_state(training, inputs, config, run)
        if stopping:
            raise KeyboardInterrupt
        if main and (record.step % config.preview.every == 0 or _last(record, config)):
            yield _preview(training, inputs, config, run)
    if main:
        _finish(training, inputs, config, run)
    accelerator.wait_for_everyone()


def load_adapted(run: Run, source: Source) -> Denoiser:
    """The adapted network of a finished run, on the CPU, in eval mode."""
    network = build_network(source.load(), run.config(), source.schedule)
    tensors = load_tensors(run.weights)
    parameters = network.trained()
    if tensors.keys() != parameters.keys() or any(
        tensors[name].shape != p.shape for name, p in parameters.items()
    ):
        raise AntError(
            f"{run.weights} holds the weights of another model",
            "adapt again with `ant adapt --force`",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
    return network.requires_grad_(False).eval()


def _prepare_classifier(
    inputs: Inputs, config: AdaptConfig, run: Run, accelerator: Accelerator
) -> Generator[SourceSamples | ClassifierStep | ClassifierReport, None, NoisyClassifier | None]:
    """Train the classifier unless the run has one; every process returns the same one."""
    if not METHODS[config.method].needs_classifier:
        return None
    file = inputs.classifier_file or run.classifier
    if accelerator.is_main_process and not file.exists():
        yield from train_classifier(inputs, config, accelerator, file)
    accelerator.wait_for_everyone()
    return load_classifier(file, inputs.source.size).to(accelerator.device)


def _sample_source(
    source: Source, config: AdaptConfig, accelerator: Accelerator
) -> Iterator[Tensor]:
    unet = Denoiser(source.load()).to(accelerator.device)
    seeds = range(config.classifier.source_samples)
    steps = config.classifier.sampling_steps
    with accelerator.autocast():
        batches = sample(
            unet,
            source.schedule,
            [config.seed * len(seeds) + i for i in seeds],
            source.shape,
            steps=steps,
            device=accelerator.device,
        )
        for batch in batches:
            yield to_uint8(batch.cpu())


def _preview(training: Training, inputs: Inputs, config: AdaptConfig, run: Run) -> Preview:
    source = inputs.source
    with training.averaged(), training.accelerator.autocast():
        images = torch.cat(
            list(
                sample(
                    training.network,
                    source.schedule,
                    range(config.preview.images),
                    source.shape,
                    steps=config.preview.sampling_steps,
                    device=training.accelerator.device,
                )
            )
        )
    page = grid(to_uint8(images.cpu()))
    text = {"ant.run": str(run.folder), "ant.step": str(training.step)}
    for path in (run.preview_at(training.step), run.preview):
        save_png(path, page, text)
    return Preview(training.step, run.preview_at(training.step))


def _save_state(training: Training, inputs: Inputs, config: AdaptConfig, run: Run) -> None:
    if training.accelerator.is_main_process:
        training.save(run.state, _metadata(inputs, config, "state of an unfinished run"))
        run.write_facts(config, inputs.identity(), status="running", step=training.step)
    training.accelerator.wait_for_everyone()


def _finish(training: Training, inputs: Inputs, config: AdaptConfig, run: Run) -> None:
    with training.averaged():
        title = f"{inputs.target.folder.resolve().name} from {config.source}, {config.method}"
        save_tensors(run.weights, training.parameters, _metadata(inputs, config, title))
        if METHODS[config.method].trains == "all":
            write_source(run.folder / "model", training.network.unet, inputs.source.scheduler)
    run.write_facts(config, inputs.identity(), status="finished", step=training.step)
    run.state.unlink(missing_ok=True)


def _metadata(inputs: Inputs, config: AdaptConfig, title: str) -> dict[str, Any]:
    size = inputs.source.size
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "UNet2DModel/ant",
        "modelspec.implementation": "ant",
        "modelspec.title": title,
        "modelspec.resolution": f"{size}x{size}",
        "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
        "modelspec.prediction_type": "epsilon",
        "ant.version": __version__,
        "ant.config": asdict(config),
        "ant.source": config.source,
        "ant.source_sha256": inputs.source.sha256,
        "ant.target_sha256": list(inputs.target.hashes),
    }


def _any_process(accelerator: Accelerator, flag: bool) -> bool:
    if accelerator.num_processes == 1:
        return flag
    raised = torch.tensor(float(flag), device=accelerator.device)
    return bool(accelerator.reduce(raised, "sum").item())


def _last(record: StepRecord, config: AdaptConfig) -> bool:
    return record.step == config.training.steps


def _append_log(run: Run, record: StepRecord) -> None:
    with run.log.open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(record)) + "\n")


def _cut_log(run: Run, step: int) -> None:
    """Drop what is logged after `step`: it is about to be done again."""
    if run.log.exists():
        lines = run.log.read_text(encoding="utf-8").splitlines(keepends=True)
        run.log.write_text("".join(lines[:step]), encoding="utf-8")
