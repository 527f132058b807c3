"""A small source model from nothing: the training loop with all weights and plain noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DModel
from torch import Tensor

from antcli.artifacts import to_json
from antcli.config import TrainingConfig
from antcli.devices import make_accelerator
from antcli.diffusion.convention import Convention
from antcli.diffusion.examples import Examples
from antcli.diffusion.path import BetaPath
from antcli.methods.choice import Step
from antcli.methods.trainable.tuned import TunedDenoiser
from antcli.randomness import seeded
from antcli.sources.condition import CLASS
from antcli.sources.networks import UNet2DModelOfColumns
from antcli.sources.writing import write_source
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
LATENT_WIDTHS = (64, 96, 128)
STATE_EVERY = 200
"""Steps between two states on disk."""
LOG_EVERY = 20


def small_unet(
    size: int = 32,
    channels: tuple[int, ...] = (48, 96, 96),
    seed: int = 0,
    *,
    x_channels: int = 3,
    attention: int = 1,
    columns: int = 0,
) -> UNet2DModel:
    """An untrained U-Net of a few million parameters, with attention on its smallest maps.

    With `columns`, it is told of each image in so many numbers.
    """
    plain = len(channels) - attention
    kind = partial(UNet2DModelOfColumns, columns=columns) if columns else UNet2DModel
    with seeded(seed):
        return kind(
            sample_size=size,
            in_channels=x_channels,
            out_channels=x_channels,
            layers_per_block=1,
            block_out_channels=channels,
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",) * attention,
            up_block_types=("AttnUpBlock2D",) * attention + ("UpBlock2D",) * plain,
            norm_num_groups=16,
            attention_head_dim=32,
        )


@dataclass(frozen=True)
class Model:
    """What is trained, and what it is written with."""

    unet: UNet2DModel
    scheduler: DDPMScheduler
    autoencoder: AutoencoderKL | None = None


def pixel_model(size: int, seed: int, columns: int = 0) -> Model:
    """A small U-Net of pixels, with the betas of Ho et al. 2020."""
    scheduler = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    return Model(small_unet(size, seed=seed, columns=columns), scheduler)


def latent_model(autoencoder: AutoencoderKL, size: int, seed: int) -> Model:
    """A small U-Net of the latents of an autoencoder, with the betas of Rombach et al. 2022."""
    scheduler = DDPMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False
    )
    channels = autoencoder.config["latent_channels"]
    unet = small_unet(size, LATENT_WIDTHS, seed, x_channels=channels, attention=2)
    return Model(unet, scheduler, autoencoder)


class ConditionalDenoiser(TunedDenoiser):
    """All of a network trains that is told of every image in columns, or asked for them."""

    def forward(self, x_t: Tensor, t: Tensor, columns: Tensor | None = None) -> Tensor:
        """eps_theta(x_t, t) of images with these columns, [B, size]; without, of none."""
        asked = self.convention
        if columns is not None:
            self.convention = replace(asked, condition={CLASS: columns})
        try:
            return super().forward(x_t, t)
        finally:
            self.convention = asked


class ConditionalTraining(Training):
    """A training whose network is told of each of its images in columns, [N, size]."""

    def __init__(self, columns: Tensor, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.columns = columns.to(self.accelerator.device)

    def _draw(self) -> list[Step]:
        """As ever, each step asking for the columns of its own images."""

        def asking(step: Step) -> Step:
            predict: Callable[..., Tensor] = step.predict
            return replace(step, predict=partial(predict, columns=self.columns[step.images]))

        return [asking(step) for step in super()._draw()]


def pretrain(
    examples: Examples,
    folder: Path,
    config: TrainingConfig,
    accelerator: Accelerator,
    seed: int = 0,
    model: Model | None = None,
    columns: Tensor | None = None,
) -> Iterator[StepRecord]:
    """Train a small U-Net (DDPM, Algorithm 1); without `model`, one of pixels.

    Latents have to be scaled. `columns`, [N, size], are what it is told of each example, if it is
    a network of such; they should have a mean of 0, which it is asked for where nothing is said.
    Goes on from `folder`/state.safetensors where there is one. After the last step `folder` is a
    diffusers pipeline in fp16, of the averaged weights.
    """
    model = model or pixel_model(examples.x_0.shape[-1], seed)
    convention = Convention(BetaPath(model.scheduler.betas.double()))
    rest = examples, config, accelerator
    if columns is None:
        training = Training(TunedDenoiser(model.unet, convention), *rest, seed=seed)
    else:
        network = ConditionalDenoiser(model.unet, convention)
        training = ConditionalTraining(columns, network, *rest, seed=seed)
    state = folder / "state.safetensors"
    if state.exists():
        training.load(state)
    for record in training.steps():
        if record.step % STATE_EVERY == 0 and accelerator.is_main_process:
            training.save(state, {"ant.config": asdict(config)})
        yield record
    if accelerator.is_main_process:
        with training.averaged():
            write_source(folder, model.unet, model.scheduler, model.autoencoder)
        state.unlink(missing_ok=True)


def pretrain_logged(
    examples: Examples,
    folder: Path,
    config: TrainingConfig,
    seed: int = 0,
    model: Model | None = None,
    columns: Tensor | None = None,
) -> None:
    """Pretrain to the end on whatever device there is, every twentieth step in log.jsonl."""
    accelerator = make_accelerator("auto", "auto")
    records = pretrain(examples, folder, config, accelerator, seed, model, columns)
    write_log(records, folder / "log.jsonl", accelerator)


def write_log(records: Iterable[StepRecord], path: Path, accelerator: Accelerator) -> None:
    """Consume `records`, every twentieth one becoming a line of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        for record in records:
            if record.step % LOG_EVERY == 0 and accelerator.is_main_process:
                log.write(to_json(asdict(record)) + "\n")
                log.flush()
