"""A small autoencoder from nothing: the codec of a latent source."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from torch import Tensor, nn

from antcli.artifacts import replacing_parts
from antcli.config import TrainingConfig
from antcli.images.grid import to_float
from antcli.randomness import balanced_choice, generator, seeded
from antcli.training.checkpoints import Trained, load_state, save_state
from antcli.training.ema import Ema
from antcli.training.loop import StepRecord
from antcli.training.part import NonFiniteLossError, learning_rate
from antcli.training.pretraining import PRETRAINING, STATE_EVERY

AUTOENCODER = replace(PRETRAINING, steps=12000, batch_size=8, learning_rate=1e-3)
KL_WEIGHT = 1e-3
"""Of the posterior's divergence from N(0, 1), both it and the L1 error summed over an image."""
MEASURED = 500
"""Images that the scale of the latents is taken from."""


def small_autoencoder(seed: int = 0) -> AutoencoderKL:
    """An untrained KL autoencoder, f=4, four latent channels, of fewer than a million parameters.

    Without attention, so that each latent sees its own surroundings only: what it makes of a
    nose does not hang on whether the face wears glasses that no training image had.
    """
    with seeded(seed):
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(32, 64, 64),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
            mid_block_add_attention=False,
            sample_size=64,
            # Stated, although it is set after training: a copy by `from_config` leaves out what
            # was not stated here.
            scaling_factor=1.0,
        )


def train_autoencoder(
    images: Tensor,
    folder: Path,
    config: TrainingConfig,
    accelerator: Accelerator,
    seed: int = 0,
) -> Iterator[StepRecord]:
    """Train on `images`, uint8 [N, 3, H, W], by L1 and a small KL term (Rombach et al., 3.1).

    Goes on from `folder`/state.safetensors where there is one. Every process trains the same, the
    first one writes. After the last step `folder` is a diffusers autoencoder with the averaged
    weights, whose `scaling_factor` gives the latents of `images` unit variance (Rombach et al.,
    appendix G).
    """
    autoencoder = small_autoencoder(seed).to(accelerator.device)
    parameters = dict(autoencoder.named_parameters())
    ema = Ema(parameters, config.ema_decay)
    optimizer = torch.optim.AdamW(parameters.values(), weight_decay=config.weight_decay)
    parts = {"": Trained(parameters, ema, optimizer)}
    state, step = folder / "state.safetensors", 0
    if state.exists():
        step = int(load_state(state, parts)["ant.step"])
    while step < config.steps:
        started = time.perf_counter()
        rate = learning_rate(config, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        x = _batch(images, config.batch_size, seed, step).to(accelerator.device)
        with accelerator.autocast():
            loss = _loss(autoencoder, x, seed, step)
        if not math.isfinite(loss.item()):
            raise NonFiniteLossError(step + 1)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters.values(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        ema.update(step)
        if step % STATE_EVERY == 0 and accelerator.is_main_process:
            save_state(state, parts, step, {"ant.config": asdict(config)})
        yield StepRecord(step, loss.item(), rate, float(norm), time.perf_counter() - started)
    if accelerator.is_main_process:
        with ema.applied(), replacing_parts(folder) as temporary:
            scale = scale_of(autoencoder, images[:MEASURED])
            autoencoder.register_to_config(scaling_factor=scale)
            autoencoder.save_pretrained(temporary)
        state.unlink(missing_ok=True)
    accelerator.wait_for_everyone()


@torch.no_grad()
def scale_of(autoencoder: AutoencoderKL, images: Tensor) -> float:
    """What latents are multiplied by to have unit variance over `images`, uint8 [N, 3, H, W]."""
    means = [
        autoencoder.encode(to_float(batch).to(autoencoder.device)).latent_dist.mean
        for batch in images.split(50)
    ]
    return 1 / float(torch.cat(means).std())


def _loss(autoencoder: AutoencoderKL, x: Tensor, seed: int, step: int) -> Tensor:
    posterior = autoencoder.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator(seed, "latent", step))
    z = posterior.mean + posterior.std * noise.to(x.device)
    error = (autoencoder.decode(z).sample.float() - x).abs()
    return error.mean() + KL_WEIGHT * posterior.kl().mean() / x[0].numel()


def _batch(images: Tensor, size: int, seed: int, step: int) -> Tensor:
    """Images in [-1, 1], flipped by chance; half of them with their colours exchanged.

    With the colours of one domain only, the codec would draw those of another in its own.
    """
    draw = generator(seed, "batch", step)
    x = to_float(images[balanced_choice(len(images), size, draw)])
    flipped = torch.rand(size, generator=draw) < 0.5
    x = torch.where(flipped[:, None, None, None], x.flip(-1), x)
    order = torch.randperm(3, generator=draw)
    sign = 1 - 2 * torch.randint(2, (size // 2, 3, 1, 1), generator=draw)
    x[: size // 2] = x[: size // 2, order] * sign
    return x
