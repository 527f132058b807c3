"""Writing a diffusers pipeline folder from configs and tensors, no model built in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from antcli.artifacts import replacing, save_tensors, write_json
from antcli.errors import AntError
from antcli.sources import networks
from antcli.weights import misfit

WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Part:
    """A model or a scheduler of a pipeline."""

    kind: str
    """Its class, in diffusers or in `antcli.sources.networks`."""
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor] | None = None
    """None for a scheduler."""

    @property
    def module(self) -> str:
        """Where its class is."""
        own = self.kind == networks.UNet2DModelOfEqualHeads.__name__
        return networks.__name__ if own else "diffusers"


@dataclass(frozen=True)
class Pipeline:
    """What a diffusers folder has: the class of the pipeline, and its parts by their names."""

    kind: str
    parts: Mapping[str, Part]
    assumed: Mapping[str, Any] = field(default_factory=dict)
    """Options that no weight tells, as they were stated or taken from a published network."""


def write_pipeline(out: Path, pipeline: Pipeline) -> None:
    """Write the folder `out` that `kind.from_pretrained` opens: whole, or not at all.

    Raises `AntError` where weights are not those of their config, or the disk is full.
    """
    with replacing(out) as temporary:
        for name, part in pipeline.parts.items():
            _write_part(temporary / name, part)
        classes = {name: [part.module, part.kind] for name, part in pipeline.parts.items()}
        head = {"_class_name": pipeline.kind, "_diffusers_version": diffusers.__version__}
        write_json(temporary / "model_index.json", head | classes)


def _write_part(folder: Path, part: Part) -> None:
    with torch.device("meta"):
        built = getattr(import_module(part.module), part.kind).from_config(dict(part.config))
    if part.weights is not None:
        _check(built, part.weights)
        save_tensors(folder / WEIGHTS, part.weights, {})
    built.save_config(folder)


def _check(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    odd = next((f"{name} is one too many" for name in weights if name not in expected), "")
    reason = misfit(weights, expected) or odd
    if reason:
        raise AntError(
            f"the weights are of no such network: {reason}",
            "the file is not whole, or of another kind than its names tell",
        )
