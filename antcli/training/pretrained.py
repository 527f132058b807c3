"""The noisy ImageNet classifiers, as something that a classifier's training starts from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from antcli.errors import AntError
from antcli.methods.imagenet_classifier import CHANNELS, HEAD, PUBLISHED, ImageNetClassifier
from antcli.sources.convert.checkpoint import read_checkpoint
from antcli.weights import misfit

FILES = {"imagenet-64": "64x64_classifier.pt", "imagenet-256": "256x256_classifier.pt"}
"""By the names that `--init` knows."""


def find_pretrained(init: str) -> Path:
    """The file of a known name, if this machine has it, or at a path. Else raises `AntError`."""
    file = _cached(init) if init in FILES else Path(init)
    if file.is_file():
        return file
    if init in FILES:
        raise AntError(
            f"this machine does not have {init} ({file})",
            f"get {FILES[init]} of guided-diffusion, and give its path to --init",
        )
    raise AntError(
        f"there is no pretrained classifier {init}",
        f"known names are {' and '.join(FILES)}; the path of such a file works too",
    )


def check_pretrained(file: Path, size: int, channels: int = CHANNELS) -> None:
    """Raise `AntError` unless `file` is a published classifier for x_t [channels, size, size]."""
    hint = "without --init, a small classifier is trained from nothing"
    if channels != CHANNELS:
        raise AntError(
            f"{file} classifies maps of {CHANNELS} channels, the source makes {channels}", hint
        )
    weights = read_checkpoint(file)
    reasons = {known: _misfit(weights, known) for known in PUBLISHED}
    fitting = [known for known, reason in reasons.items() if not reason]
    if not fitting:
        raise AntError(
            f"{file} is no noisy ImageNet classifier: {reasons.get(size) or reasons[max(reasons)]}",
            f"it should be {' or '.join(FILES.values())} of guided-diffusion",
        )
    if size not in fitting:
        raise AntError(
            f"{file} classifies {fitting[0]}x{fitting[0]}, the source makes {size}", hint
        )


def pretrained_classifier(
    file: Path, size: int, *, seed: int = 0, timesteps: int = 1000
) -> ImageNetClassifier:
    """A published classifier for x_t [3, size, size] with a new, untrained head of two classes.

    What the ANT paper fine-tunes (section 5). The head follows from `seed`. Raises `AntError` as
    `check_pretrained`.
    """
    check_pretrained(file, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = ImageNetClassifier(PUBLISHED[size], timesteps)
    weights = {k: v for k, v in read_checkpoint(file).items() if not k.startswith(HEAD)}
    classifier.load_state_dict(weights, strict=False)  # all but the head and the confidence
    return classifier


def _cached(name: str) -> Path:
    """Where downloads are kept."""
    home = os.environ.get("HF_HOME") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).expanduser() / "ant" / "downloads" / f"{name}-{FILES[name]}"


def _misfit(weights: Mapping[str, Tensor], size: int) -> str:
    """Why these are not the weights of the classifier for `size`, but for its head; else empty."""
    with torch.device("meta"):
        parameters = ImageNetClassifier(PUBLISHED[size]).named_parameters()
    return misfit(weights, {k: v.shape for k, v in parameters if not k.startswith(HEAD)})
