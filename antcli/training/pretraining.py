"""A small source model from nothing: the training loop with all weights and plain noise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor

from antcli.config import TrainingConfig
from antcli.diffusion.schedule import Schedule
from antcli.methods.trainable.denoiser import all_weights
from antcli.sources.writing import write_source
from antcli.training.devices import make_accelerator
from antcli.training.loop import StepRecord, Training

PRETRAINING = TrainingConfig(
    steps=3600,
    batch_size=64,
    learning_rate=6e-4,
    warmup_steps=100,
    final_learning_rate=0.02,
    weight_decay=0.0,
    ema_decay=0.999,
)
STATE_EVERY = 200
"""Steps between two states on disk."""
LOG_EVERY = 20


def small_unet(
    size: int = 32, channels: tuple[int, ...] = (48, 96, 96), seed: int = 0
) -> UNet2DModel:
    """An untrained U-Net of a few million parameters, with attention on its smallest map."""
    levels = len(channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(
            sample_size=size,
            in_channels=3,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=channels,
            down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
            norm_num_groups=16,
            attention_head_dim=32,
        )


def pretrain(
    images: Tensor,
    folder: Path,
    config: TrainingConfig,
    accelerator: Accelerator,
    seed: int = 0,
) -> Iterator[StepRecord]:
    """Train a small U-Net on `images`, uint8 [N, 3, H, W] (DDPM, Algorithm 1).

    Goes on from `folder`/state.safetensors where there is one. After the last step `folder`
    is a diffusers pipeline in fp16, of the averaged weights.
    """
    unet = small_unet(images.shape[-1], seed=seed)
    training = Training(
        all_weights(unet), Schedule.linear(), images, config, accelerator, seed=seed
    )
    state = folder / "state.safetensors"
    if state.exists():
        training.load(state)
    for record in training.steps():
        if record.step % STATE_EVERY == 0 and accelerator.is_main_process:
            training.save(state, {"ant.config": asdict(config)})
        yield record
    if accelerator.is_main_process:
        with training.averaged():
            scheduler = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
            write_source(folder, unet, scheduler)
        state.unlink(missing_ok=True)


def pretrain_logged(images: Tensor, folder: Path, config: TrainingConfig, seed: int = 0) -> None:
    """Pretrain to the end on whatever device there is, every twentieth step in log.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator("auto", "auto")
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        for record in pretrain(images, folder, config, accelerator, seed):
            if record.step % LOG_EVERY == 0 and accelerator.is_main_process:
                log.write(json.dumps(asdict(record)) + "\n")
                log.flush()
