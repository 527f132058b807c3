"""Trained classifiers as safetensors files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from antcli.artifacts import load_metadata, load_tensors, save_tensors
from antcli.errors import AntError
from antcli.methods.classifier import Classifier, NoisyClassifier
from antcli.methods.imagenet_classifier import EncoderShape, ImageNetClassifier

KIND = "classifier"
SMALL, IMAGENET = "small", "imagenet"
"""Architectures."""


def save_classifier(path: Path, classifier: Classifier, metadata: dict[str, Any]) -> None:
    """Write a classifier as safetensors, its architecture in the metadata."""
    kind = {
        "ant.kind": KIND,
        "ant.architecture": SMALL,
        "ant.size": str(classifier.size),
        "ant.channels": str(classifier.channels),
        "ant.timesteps": str(classifier.timesteps),
    }
    if isinstance(classifier, ImageNetClassifier):
        kind |= {"ant.architecture": IMAGENET, "ant.encoder": json.dumps(asdict(classifier.shape))}
    save_tensors(path, classifier.state_dict(), {**kind, **metadata})


def check_classifier(path: Path, size: int, channels: int = 3) -> dict[str, str]:
    """Metadata of a classifier file. Raises `AntError` where it cannot serve x_t of this shape."""
    metadata = load_metadata(path)
    if metadata.get("ant.kind") != KIND:
        raise AntError(f"{path} is no classifier", "`ant train-classifier` writes one")
    if metadata.get("ant.size") != str(size):
        raise AntError(
            f"{path} classifies {metadata.get('ant.size')}-pixel images, the source makes {size}",
            "train one for this source with `ant train-classifier`",
        )
    if metadata.get("ant.channels", "3") != str(channels):
        raise AntError(
            f"{path} classifies {metadata.get('ant.channels', '3')} channels, the source has "
            f"{channels}",
            "train one for this source with `ant train-classifier`",
        )
    try:
        with torch.device("meta"):
            _untrained(metadata)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise AntError(
            f"{path} does not tell what classifier it holds",
            "train it again with `ant train-classifier`",
        ) from error
    return metadata


def load_classifier(path: Path, size: int, channels: int = 3) -> Classifier:
    """A trained classifier, frozen, in eval mode, on the CPU."""
    classifier = _untrained(check_classifier(path, size, channels))
    try:
        classifier.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        raise AntError(
            f"{path} holds another kind of classifier", "`ant train-classifier` writes one"
        ) from error
    return classifier.eval().requires_grad_(False)


def _untrained(metadata: dict[str, str]) -> Classifier:
    """Of the architecture that a file tells; the first files did not, and all were small."""
    timesteps = int(metadata["ant.timesteps"])
    if metadata.get("ant.architecture", SMALL) == SMALL:
        size, channels = int(metadata["ant.size"]), int(metadata.get("ant.channels", "3"))
        return NoisyClassifier(size, timesteps, channels)
    shape = dict(json.loads(metadata["ant.encoder"]))
    lists = {name: tuple(value) for name, value in shape.items() if isinstance(value, list)}
    return ImageNetClassifier(EncoderShape(**shape | lists), timesteps)
