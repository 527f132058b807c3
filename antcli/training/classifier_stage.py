"""The classifier that an adaptation trains first, from the source's images and the target's."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.config import AdaptConfig
from antcli.diffusion.examples import Examples
from antcli.images.folder import read_folder
from antcli.methods.classifier import Classifier
from antcli.processes import gathered, others_wait, own_share
from antcli.sources.source import Source
from antcli.training.classifier import (
    ClassifierChecked,
    ClassifierReport,
    ClassifierStep,
    ClassifierTraining,
)
from antcli.training.classifier_files import save_classifier
from antcli.training.inputs import Inputs, metadata
from antcli.training.pretrained import pretrained_classifier
from antcli.training.source_dimension import SourceDimension, source_dimension
from antcli.training.source_samples import SourceSamples, examples_of, images_of, sample_source

ClassifierRecord = (
    SourceSamples | SourceDimension | ClassifierStep | ClassifierChecked | ClassifierReport
)


def train_classifier(
    inputs: Inputs,
    config: AdaptConfig,
    accelerator: Accelerator,
    out: Path,
    counterparts: Examples | None = None,
) -> Iterator[ClassifierRecord]:
    """Train the noise-aware classifier and write it to `out`; all processes take part.

    Where no folder of source images is given, those of the source are the `counterparts`, or else
    sampled from it. Those of a latent source are decoded and encoded again, as the target's images
    are, so that what tells the two apart is not that one of them has passed the encoder.
    """
    source, device = inputs.source, accelerator.device
    if inputs.source_images is not None:
        images = read_folder(inputs.source_images, source.size).images
    elif counterparts is not None:
        images = images_of(source, counterparts.x_0, device)
    else:
        images = yield from _own_images(source, config, accelerator)
        yield from source_dimension(source, images)
    flip = config.training.flip
    training = ClassifierTraining(
        examples_of(source, images, device, flip=flip),
        examples_of(source, inputs.target.images, device, flip=flip),
        source.path,
        config.classifier,
        accelerator,
        seed=config.seed,
        flip=flip,
        classifier=_start(inputs, config),
    )
    yield from training.steps()
    with others_wait(accelerator):
        if not accelerator.is_main_process:
            return
        report = yield from training.checked()
        facts = {
            **metadata(inputs, config, "classifier of noised source and target images"),
            "ant.report": report.as_dict(),
        }
        save_classifier(out, training.classifier, facts)
        yield report


def _own_images(
    source: Source, config: AdaptConfig, accelerator: Accelerator
) -> Generator[SourceSamples, None, Tensor]:
    """What the classifier takes for the source where nothing else is given: each draws a share."""
    count, steps = config.classifier.source_samples, config.classifier.sampling_steps
    own, batches = own_share(accelerator, range(count)), []
    seeds = [config.seed * count + i for i in own]
    for batch in sample_source(source, seeds, steps, accelerator):
        batches.append(batch)
        yield SourceSamples(min(count, len(torch.cat(batches)) * accelerator.num_processes), count)
    nothing = torch.empty(0, 3, source.size, source.size, dtype=torch.uint8)
    return gathered(accelerator, torch.cat([nothing, *batches]))


def _start(inputs: Inputs, config: AdaptConfig) -> Classifier | None:
    if inputs.pretrained is None:
        return None
    size, timesteps = inputs.source.shape[-1], int(inputs.source.path.span)
    return pretrained_classifier(inputs.pretrained, size, seed=config.seed, timesteps=timesteps)
