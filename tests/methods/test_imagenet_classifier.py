"""The noisy ImageNet classifiers: the numbers are those of the original code."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from antcli.methods.imagenet_classifier import (
    HEAD,
    PUBLISHED,
    EncoderShape,
    ImageNetClassifier,
)
from antcli.methods.target.guided import log_likelihood_gradient

FOLDER = Path(__file__).parent / "fixtures"
SHAPE = EncoderShape(16, depth=1, multipliers=(1, 2), attention=(8,), width=32, head_channels=16)
CLASSES = 10


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """What the original made, as tests/fixtures/README-ldm.md tells."""
    return load_file(FOLDER / "imagenet_classifier.safetensors")


def weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {k: v for k, v in tensors.items() if k.startswith("weights.")}
    return {k.removeprefix("weights."): v.float() for k, v in named.items()}


def load(
    tensors: dict[str, Tensor], shape: EncoderShape = SHAPE, timesteps: int = 1000
) -> ImageNetClassifier:
    classifier = ImageNetClassifier(shape, timesteps, CLASSES)
    odd = classifier.load_state_dict(weights(tensors), strict=False)
    assert odd.missing_keys == ["confidence"]
    assert odd.unexpected_keys == []
    return classifier.eval()


def test_the_logits_are_those_of_the_original(tensors: dict[str, Tensor]) -> None:
    classifier = load(tensors)
    with torch.no_grad():
        logits = classifier(tensors["x"], tensors["t"])
    assert tensors["logits"].std() > 0.3
    torch.testing.assert_close(logits, tensors["logits"], rtol=1e-5, atol=1e-6)


def test_the_gradient_that_guides_is_that_of_the_original(tensors: dict[str, Tensor]) -> None:
    """Of the class that the fixture was made with, put where guidance looks."""
    state = weights(tensors)
    for name in ("weight", "bias"):
        state[f"{HEAD}{name}"] = state[f"{HEAD}{name}"].roll(-2, dims=0)  # 3 to 1
    classifier = ImageNetClassifier(SHAPE, classes=CLASSES)
    classifier.load_state_dict(state, strict=False)
    gradient = log_likelihood_gradient(classifier, tensors["x"], tensors["t"])
    assert tensors["gradient"].std() > 1e-3
    torch.testing.assert_close(gradient, tensors["gradient"], rtol=1e-4, atol=1e-7)


def test_wrong_heads_load_and_give_other_numbers(tensors: dict[str, Tensor]) -> None:
    other = load(tensors, EncoderShape(16, 1, (1, 2), (8,), width=32, head_channels=32))
    with torch.no_grad():
        logits = other(tensors["x"], tensors["t"])
    assert (logits - tensors["logits"]).abs().max() > 0.01


@pytest.mark.parametrize("where", ["middle_block.1.qkv", "out.2.qkv_proj"])
def test_another_order_of_heads_loads_and_gives_other_numbers(
    where: str, tensors: dict[str, Tensor]
) -> None:
    """Blocks go by head and then q, k, v; the pool by q, k, v and then head."""
    classifier, heads = load(tensors), 64 // 16
    first, second = (heads, 3) if where.startswith("middle") else (3, heads)
    for parameter in classifier.get_submodule(where).parameters():
        rows = parameter.data.unflatten(0, (first, second, -1))
        parameter.data = rows.transpose(0, 1).flatten(0, 2).contiguous()
    with torch.no_grad():
        logits = classifier(tensors["x"], tensors["t"])
    assert (logits - tensors["logits"]).abs().max() > 0.01


def test_confidence_is_that_of_all_classifiers(tensors: dict[str, Tensor]) -> None:
    classifier = load(tensors)
    classifier.confidence.fill_(0.25)
    with torch.no_grad():
        logits = classifier(tensors["x"], tensors["t"])
    torch.testing.assert_close(logits, tensors["logits"] / 4, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "parameters"), [(64, 65_438_568), (256, 54_096_360)])
def test_a_published_classifier_has_these_weights(size: int, parameters: int) -> None:
    published = json.loads((FOLDER / "imagenet_classifiers.json").read_text())[str(size)]
    with torch.device("meta"):
        classifier = ImageNetClassifier(PUBLISHED[size], classes=1000)
    shapes = {name: list(weight.shape) for name, weight in classifier.named_parameters()}
    assert shapes == published
    assert sum(weight.numel() for weight in classifier.parameters()) == parameters
