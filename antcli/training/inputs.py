"""What an adaptation starts from, and the classifier that it trains first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli import __version__
from antcli.artifacts import file_hash
from antcli.config import AdaptConfig
from antcli.diffusion.sampling import sample
from antcli.images.folder import ImageFolder, check_folder, read_folder
from antcli.images.grid import to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.sources.source import Source, find_source
from antcli.training.classifier import (
    ClassifierReport,
    ClassifierStep,
    ClassifierTraining,
    check_classifier,
    save_classifier,
)


@dataclass(frozen=True)
class SourceSamples:
    """So many images were drawn from the source for the classifier."""

    done: int
    total: int


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
    facts = {
        **metadata(inputs, config, "classifier of noised source and target images"),
        "ant.report": report.as_dict(),
    }
    save_classifier(out, training.classifier, facts)
    yield report


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


def metadata(inputs: Inputs, config: AdaptConfig, title: str) -> dict[str, Any]:
    """What the header of a weights file tells of its making."""
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
