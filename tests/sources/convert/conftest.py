"""What the original code computed, as tests/fixtures/README.md tells."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from antcli.sources.convert import Format, convert

DEFAULTS: dict[str, dict[str, Any]] = {
    "adm": {"use_new_attention_order": False, "noise_schedule": "linear"},
    "pesser": {},
}
FOLDER = Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True)
class Original:
    """A network of the original code, and what it gave with the options of each run."""

    format: Format
    network: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    tensors: dict[str, Tensor]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Its state dict."""
        named = {k: v for k, v in self.tensors.items() if k.startswith("weights.")}
        return {k.removeprefix("weights."): v.float() for k, v in named.items()}

    def options(self, run: str) -> dict[str, Any]:
        """The architecture of a run, as its code names it, with the defaults of that code."""
        return DEFAULTS[self.format] | self.network | self.runs[run]


@pytest.fixture(scope="session")
def original() -> Callable[[str], Original]:
    """Reads a fixture by the name of its file."""

    def read(name: str) -> Original:
        file = FOLDER / f"{name}.safetensors"
        with safe_open(file, framework="pt") as opened:
            told = opened.metadata()
        format: Any = name.split("_")[0]
        network, runs = json.loads(told["network"]), json.loads(told["runs"])
        return Original(format, network, runs, load_file(file))

    return read


@pytest.fixture
def converted(tmp_path: Path) -> Callable[..., DDPMPipeline]:
    """Converts a state dict, saved as its code saves it, and opens the result in one line."""

    def open_(
        weights: dict[str, Tensor], format: Format, architecture: dict[str, Any]
    ) -> DDPMPipeline:
        place = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        torch.save(weights, place.with_suffix(".pt"))
        convert(place.with_suffix(".pt"), format, place, architecture)
        return DDPMPipeline.from_pretrained(place)

    return open_
