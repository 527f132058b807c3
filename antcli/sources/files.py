"""The files of a diffusers folder: configs and weights, read with clear errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from antcli.artifacts import load_metadata
from antcli.errors import AntError

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


def read_config(path: Path, name: str) -> dict[str, Any]:
    """A JSON object of the source called `name`. Raises `AntError` where it is none."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AntError(
            f"source {name} is no diffusers folder: {path} is missing",
            "give a folder that a pipeline's save_pretrained wrote, or a known name: "
            "`ant fetch-source` lists them",
        ) from error
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise AntError(f"{path} is no valid JSON object", "fetch or write the source again")
    return config


def find_weights(folder: Path, name: str) -> Path:
    """The weight file in `folder`. Raises `AntError` where there is none, or half of one."""
    weights = next((folder / w for w in WEIGHTS if (folder / w).exists()), None)
    if weights is None:
        raise AntError(f"source {name} has no weights in {folder}", f"it needs one of {WEIGHTS}")
    if weights.suffix == ".safetensors":
        load_metadata(weights)  # reads the header, which tells a file that was cut short
    return weights


def load_frozen(kind: Any, weights: Path, **known: Any) -> Any:
    """The model of class `kind` beside its config.json: in float32, frozen, in eval mode.

    What is `known` counts for more than that config. Raises `AntError` where the weights are
    damaged or of another model.
    """
    hint = "fetch or write the source again"
    try:
        model, info = kind.from_pretrained(
            weights.parent,
            torch_dtype=torch.float32,
            use_safetensors=weights.suffix == ".safetensors",
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            **known,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise AntError(
            f"{weights} cannot be loaded: it is damaged or of another model than its config.json",
            hint,
        ) from error
    odd = [*info["missing_keys"], *info["unexpected_keys"]]
    if odd:  # diffusers would go on with random numbers in their place
        raise AntError(
            f"{weights} is of another model than its config.json ({odd[0]} differs)", hint
        )
    return model.requires_grad_(False).eval()
