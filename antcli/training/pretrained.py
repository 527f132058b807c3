"""The noisy ImageNet classifiers, as something that a classifier's training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from antcli.errors import AntError
from antcli.methods.imagenet_classifier import CHANNELS, HEAD, PUBLISHED, ImageNetClassifier
from antcli.randomness import seeded
from antcli.sources.catalog import Entry, catalog
from antcli.sources.fetch import fetch_file
from antcli.sources.transfer import Progress, silent
from antcli.weights import misfit, read_checkpoint

WITHOUT = "without `init`, a small classifier is trained from nothing"


def find_pretrained(init: str, size: int, on_progress: Progress = silent) -> Path:
    """The classifier file at a path, or of a known name: downloaded where it is not there.

    Raises `AntError` where there is none, or the known one is for another `size` of x_t.
    """
    entry = _known().get(init)
    if entry is None:
        if Path(init).is_file():
            return Path(init)
        raise AntError(
            f"there is no pretrained classifier {init}",
            f"known names are {' and '.join(_known())}; the path of such a file works too",
        )
    if entry.resolution != size:
        raise _other_size(init, entry.resolution, size)
    return fetch_file(entry, on_progress)


def check_pretrained(file: Path, size: int, channels: int = CHANNELS) -> Mapping[str, Tensor]:
    """The weights in `file`, proved to be a published classifier's for x_t [channels, size, size].

    Raises `AntError` where they are not.
    """
    if channels != CHANNELS:
        raise AntError(
            f"{file} classifies maps of {CHANNELS} channels, the source makes {channels}", WITHOUT
        )
    weights = read_checkpoint(file)
    reasons = {known: _misfit(weights, known) for known in PUBLISHED}
    fitting = [known for known, reason in reasons.items() if not reason]
    if not fitting:
        raise AntError(
            f"{file} is no noisy ImageNet classifier: {reasons.get(size) or reasons[max(reasons)]}",
            f"it should be the file of {' or '.join(_known())}, as guided-diffusion publishes it",
        )
    if size not in fitting:
        raise _other_size(file, fitting[0], size)
    return weights


def pretrained_classifier(
    file: Path, size: int, *, seed: int = 0, timesteps: int = 1000
) -> ImageNetClassifier:
    """A published classifier for x_t [3, size, size] with a new, untrained head of two classes.

    What the ANT paper fine-tunes (section 5). The head follows from `seed`. Raises `AntError` as
    `check_pretrained`.
    """
    weights = check_pretrained(file, size)
    with seeded(seed):
        classifier = ImageNetClassifier(PUBLISHED[size], timesteps)
    body = {k: v for k, v in weights.items() if not k.startswith(HEAD)}
    classifier.load_state_dict(body, strict=False)  # all but the head and the confidence
    return classifier


def _known() -> dict[str, Entry]:
    return {name: entry for name, entry in catalog().items() if entry.kind == "classifier"}


def _other_size(which: object, own: int, size: int) -> AntError:
    return AntError(f"{which} classifies {own}x{own}, the source makes {size}", WITHOUT)


def _misfit(weights: Mapping[str, Tensor], size: int) -> str:
    """Why these are not the weights of the classifier for `size`, but for its head; else empty."""
    with torch.device("meta"):
        parameters = ImageNetClassifier(PUBLISHED[size]).named_parameters()
    return misfit(weights, {k: v.shape for k, v in parameters if not k.startswith(HEAD)})
