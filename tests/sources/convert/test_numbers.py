"""The converted network gives the numbers of the original code."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline
from diffusers.schedulers import scheduling_ddpm
from torch import Tensor

RUNS = [
    ("adm_one_block", "legacy"),
    ("adm_one_block", "new"),
    ("adm_one_block", "heads"),
    ("adm_one_block", "one_head"),
    ("adm_two_blocks", "legacy"),
    ("adm_two_blocks", "cosine"),
    ("adm_plain", "legacy"),
    ("adm_plain", "steps"),
    ("adm_equal_heads", "legacy"),
    ("adm_equal_heads", "new"),
    ("pesser_lsun", "run"),
    ("pesser_wide", "run"),
]


@torch.no_grad()
def output(pipeline: DDPMPipeline, tensors: dict[str, Tensor]) -> Tensor:
    """Of the network on a fixture's inputs."""
    classes = pipeline.unet.config.num_class_embeds
    labels = None if classes is None else torch.tensor([0, 3, 9])
    return pipeline.unet(tensors["x"], tensors["t"], labels).sample


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_the_network_gives_the_numbers_of_the_original(
    name: str, run: str, original: Callable[[str], Any], converted: Callable[..., DDPMPipeline]
) -> None:
    first = original(name)
    pipeline = converted(first.weights, first.format, first.options(run))
    expected = first.tensors[f"{run}.output"]
    assert expected.std() > 0.3  # so that a wrong number is a large one
    torch.testing.assert_close(output(pipeline, first.tensors), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_a_step_of_sampling_is_that_of_the_original(
    name: str,
    run: str,
    original: Callable[[str], Any],
    converted: Callable[..., DDPMPipeline],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = original(name)
    tensors = first.tensors
    scheduler = converted(first.weights, first.format, first.options(run)).scheduler
    torch.testing.assert_close(scheduler.betas.double(), tensors[f"{run}.betas"])
    for i, t in enumerate(tensors["t"].tolist()):
        noise = tensors["noise"][i : i + 1]
        monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, noise=noise, **__: noise)
        eps, x = tensors[f"{run}.output"][i : i + 1], tensors["x"][i : i + 1]
        previous = scheduler.step(eps, t, x).prev_sample
        expected = tensors[f"{run}.previous"][i : i + 1]
        torch.testing.assert_close(previous, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"use_new_attention_order": False}, {"use_new_attention_order": True}),
        ({"num_head_channels": 16}, {"num_head_channels": 32}),
        ({"num_head_channels": 16}, {"num_head_channels": -1, "num_heads": 2}),
    ],
)
def test_wrong_attention_loads_and_gives_other_numbers(
    right: dict[str, Any],
    wrong: dict[str, Any],
    original: Callable[[str], Any],
    converted: Callable[..., DDPMPipeline],
) -> None:
    """So the comparison above can fail, and nothing but numbers would tell."""
    first = original("adm_one_block")
    options = first.options("legacy")
    expected = first.tensors["legacy.output"]
    fits = converted(first.weights, "adm", options | right)
    torch.testing.assert_close(output(fits, first.tensors), expected, rtol=1e-5, atol=1e-5)
    other = output(converted(first.weights, "adm", options | wrong), first.tensors)
    assert (other - expected).abs().max() > 0.05


@pytest.mark.parametrize("name", ["adm_two_blocks", "pesser_lsun"])
def test_diffusers_samples_from_it(
    name: str, original: Callable[[str], Any], converted: Callable[..., DDPMPipeline]
) -> None:
    first = original(name)
    run = next(iter(first.runs))
    pipeline = converted(first.weights, first.format, first.options(run))
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(num_inference_steps=2, output_type="np").images
    size = pipeline.unet.config.sample_size
    assert size == first.tensors["x"].shape[-1]
    assert images.shape == (1, size, size, 3)
    assert images.std() > 0


def test_learned_variance_is_kept(
    original: Callable[[str], Any], converted: Callable[..., DDPMPipeline]
) -> None:
    first = original("adm_one_block")
    pipeline = converted(first.weights, "adm", first.options("legacy"))
    assert pipeline.unet.config.out_channels == 6
    assert pipeline.scheduler.config.variance_type == "learned_range"
