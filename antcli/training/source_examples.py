"""Samples that the source draws of itself, and which of its weights they depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.artifacts import load_tensors, save_tensors
from antcli.config import AdaptConfig
from antcli.diffusion.examples import Examples, Latents, Pixels
from antcli.images.grid import to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.randomness import generator, normal
from antcli.sources.source import Source
from antcli.training.inputs import Inputs, metadata, network_of
from antcli.training.source_samples import SourceSamples, sample_x_0

TITLE = "samples that the source drew of itself"


@dataclass(frozen=True)
class FisherEstimated:
    """So many gradients of the Fisher information's estimate have been taken."""

    done: int
    total: int


def draw_source_examples(
    inputs: Inputs, config: AdaptConfig, accelerator: Accelerator, out: Path
) -> Iterator[SourceSamples]:
    """Write x_0 of as many samples as the settings say to `out`."""
    source, settings = inputs.source, config.source_examples
    batches: list[Tensor] = []
    seeds = range(config.seed * settings.count, (config.seed + 1) * settings.count)
    for x_0 in sample_x_0(source, seeds, settings.steps, accelerator):
        batches.append((x_0 if source.latent else to_uint8(x_0)).cpu())
        yield SourceSamples(sum(map(len, batches)), settings.count)
    save_tensors(out, {"x_0": torch.cat(batches)}, metadata(inputs, config, TITLE))


def load_source_examples(file: Path, source: Source, device: torch.device) -> Examples:
    """Those that `draw_source_examples` wrote; of latents none may be mirrored."""
    x_0 = load_tensors(file)["x_0"].to(device)
    # With something in the place of mirror images nobody has to look whether one is asked for.
    return Latents(x_0, x_0) if source.latent else Pixels(x_0)


def estimate_fisher(
    inputs: Inputs,
    config: AdaptConfig,
    accelerator: Accelerator,
    out: Path,
    prepared: Mapping[str, Any],
) -> Iterator[FisherEstimated]:
    """Write the diagonal of the Fisher information of what trains, by its names, to `out`."""
    examples, draws = prepared["source_examples"], config.ewc.draws
    network = network_of(inputs, config, prepared).to(accelerator.device)
    found: dict[str, Tensor] = {}
    for k in range(draws):
        for name, square in squared_gradients(network, examples, config.seed, k).items():
            found[name] = found.get(name, 0) + square / draws
        yield FisherEstimated(k + 1, draws)
    save_tensors(out, found, metadata(inputs, config, "Fisher information of the source's samples"))


def squared_gradients(
    network: Denoiser, examples: Examples, seed: int, k: int, conditions: Tensor | None = None
) -> dict[str, Tensor]:
    """Of the loss of one sample, with the t and the noise of draw `k`, by parameter.

    `conditions`, [N, size], are those of the examples, where these have several.
    """
    parameters, path = network.trained(), network.convention.path
    upright = torch.zeros(1, dtype=torch.bool, device=examples.x_0.device)
    there = next(iter(parameters.values())).device
    chosen = torch.tensor([k % len(examples)])
    x_0 = examples.take(chosen, upright).to(there)
    eps = normal(seed, "fisher-noise", k, [0], x_0.shape[1:]).to(x_0)
    t = path.uniform(1, generator(seed, "fisher", k), network.limit).to(x_0.device)
    x_t = path.add_noise(x_0, eps, t)
    weight = path.weight(t, x_t, network.convention.prediction)
    with network.told(condition=None if conditions is None else conditions[chosen].to(there)):
        loss = (weight * (eps - network(x_t, t)).square()).mean()
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g.square()
        for (name, p), g in zip(parameters.items(), gradients, strict=True)
    }
