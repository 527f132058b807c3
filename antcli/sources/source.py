"""A source: the frozen pretrained model that everything starts from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel

from antcli.artifacts import file_hash, load_metadata
from antcli.diffusion.schedule import Schedule
from antcli.errors import AntError
from antcli.sources.fetch import locate

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


@dataclass(frozen=True)
class Source:
    """What is known of a source before its weights are loaded."""

    name: str
    """As the user gave it."""
    folder: Path
    unet_folder: Path
    unet_config: dict[str, Any]
    scheduler_config: dict[str, Any]
    weights: Path

    @property
    def size(self) -> int:
        """Side of its images in pixels."""
        size = self.unet_config["sample_size"]
        return int(size if isinstance(size, int) else size[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one sample: channels, height, width."""
        return int(self.unet_config["in_channels"]), self.size, self.size

    @cached_property
    def scheduler(self) -> DDPMScheduler:
        """Its schedule, as diffusers sees it."""
        return DDPMScheduler.from_config(self.scheduler_config)

    @cached_property
    def schedule(self) -> Schedule:
        """Its schedule in the papers' symbols."""
        return Schedule(self.scheduler.betas.double())

    @cached_property
    def sha256(self) -> str:
        """Of its weight file."""
        return file_hash(self.weights)

    def load(self) -> UNet2DModel:
        """A fresh copy of its network in float32, frozen, in eval mode."""
        hint = "fetch or write the source again"
        try:
            unet, info = UNet2DModel.from_pretrained(
                self.unet_folder,
                torch_dtype=torch.float32,
                use_safetensors=self.weights.suffix == ".safetensors",
                local_files_only=True,
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise AntError(
                f"{self.weights} cannot be loaded: it is damaged or of another model than its "
                "config.json",
                hint,
            ) from error
        odd = [*info["missing_keys"], *info["unexpected_keys"]]
        if odd:  # diffusers would go on with random numbers in their place
            raise AntError(
                f"{self.weights} is of another model than its config.json ({odd[0]} differs)", hint
            )
        frozen: UNet2DModel = unet.requires_grad_(False).eval()
        return frozen


def find_source(name: str) -> Source:
    """Look a source up and check its files, without loading its weights.

    `name` is a known name, a diffusers folder (weights at the root or in `unet/`) or a hub id.
    Raises `AntError` where it is unknown, not whole, or of a kind that cannot be adapted yet.
    """
    folder = locate(name)
    unet_folder = folder / "unet" if (folder / "unet" / "config.json").exists() else folder
    config = _read_config(unet_folder / "config.json", name)
    scheduler_folder = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    scheduler = _read_config(scheduler_folder / "scheduler_config.json", name)
    _check_kind(name, config, scheduler)
    weights = next((unet_folder / w for w in WEIGHTS if (unet_folder / w).exists()), None)
    if weights is None:
        raise AntError(
            f"source {name} has no weights in {unet_folder}", f"it needs one of {WEIGHTS}"
        )
    if weights.suffix == ".safetensors":
        load_metadata(weights)  # reads the header, which tells a file that was cut short
    return Source(name, folder, unet_folder, config, scheduler, weights)


def _read_config(path: Path, name: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AntError(
            f"source {name} is no diffusers folder: {path} is missing",
            "give a folder that DDPMPipeline.save_pretrained wrote, or a known name: "
            "`ant fetch-source` lists them",
        ) from error
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise AntError(f"{path} is no valid JSON object", "fetch or write the source again")
    return config


def _check_kind(name: str, unet: dict[str, Any], scheduler: dict[str, Any]) -> None:
    hint = "`ant fetch-source` lists sources that can be adapted"
    if unet.get("_class_name") != "UNet2DModel":
        raise AntError(f"source {name} is a {unet.get('_class_name')}, not a UNet2DModel", hint)
    if scheduler.get("prediction_type", "epsilon") != "epsilon":
        kind = scheduler["prediction_type"]
        raise AntError(f"source {name} predicts {kind}; only epsilon can be adapted", hint)
    if scheduler.get("beta_start", scheduler.get("trained_betas")) is None:
        kind = scheduler.get("_class_name")
        raise AntError(f"source {name} has a {kind}, not a schedule of betas", hint)
    if unet.get("in_channels") != 3 or unet.get("out_channels") != 3:
        raise AntError(f"source {name} does not make RGB images of three channels", hint)
    if unet.get("class_embed_type") or unet.get("num_class_embeds"):
        raise AntError(
            f"source {name} wants class labels, which a folder of images does not give", hint
        )
    size = unet.get("sample_size")
    if not isinstance(size, int) and not (isinstance(size, list) and len(set(size)) == 1):
        raise AntError(f"source {name} makes no square images (sample_size is {size})", hint)
