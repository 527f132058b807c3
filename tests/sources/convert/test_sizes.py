"""Published networks, from the names and shapes of their weights, on the meta device."""

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from antcli.sources.convert import adm, pesser
from antcli.sources.networks import NETWORKS

FOLDER = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize(
    ("format", "name", "parameters"),
    [
        (adm, "ffhq", 93_563_910),
        (adm, "ffhq-large", 552_814_086),
        (adm, "imagenet-64", 295_904_454),
        (adm, "imagenet-128", 421_529_606),
        (pesser, "lsun", 113_673_219),
        (pesser, "cifar10", 35_746_307),
        (pesser, "celeba", 78_700_803),
    ],
)
def test_a_published_network_converts_whole(format: ModuleType, name: str, parameters: int) -> None:
    file = FOLDER / f"{format.__name__.split('.')[-1]}_shapes.json"
    network = json.loads(file.read_text())[name]
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in network["shapes"].items()}
        unet = format.pipeline(state, network["options"]).parts["unet"]
        model = NETWORKS[unet.kind].from_config(unet.config)
    expected = {key: weight.shape for key, weight in model.state_dict().items()}
    assert {key: weight.shape for key, weight in unet.weights.items()} == expected
    assert sum(weight.numel() for weight in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("format", "name"),
    [
        *((adm, name) for name in ("ffhq", "ffhq-large", "imagenet-64", "imagenet-128")),
        *((pesser, name) for name in ("lsun", "cifar10", "celeba")),
    ],
)
def test_a_published_network_is_known_by_its_shapes(format: ModuleType, name: str) -> None:
    file = FOLDER / f"{format.__name__.split('.')[-1]}_shapes.json"
    network = json.loads(file.read_text())[name]
    state = {k: torch.empty(shape, device="meta") for k, shape in network["shapes"].items()}
    bare, stated = format.pipeline(state, {}), format.pipeline(state, network["options"])
    for part in ("unet", "scheduler"):
        assert bare.parts[part].config == stated.parts[part].config
    assert (
        bare.assumed.items()
        >= {
            option: value for option, value in network["options"].items() if option in format.NEEDED
        }.items()
    )


def test_of_a_known_network_something_else_can_be_stated() -> None:
    network = json.loads((FOLDER / "adm_shapes.json").read_text())["ffhq-large"]
    state = {k: torch.empty(shape, device="meta") for k, shape in network["shapes"].items()}
    made = adm.pipeline(state, {"num_heads": 4, "noise_schedule": "cosine"})
    assert made.parts["unet"].kind == "UNet2DModelOfEqualHeads"
    assert made.parts["unet"].config["attention_head_dim"] == [64, 64, 128, 128, 256, 256]
    assert made.parts["scheduler"].config["beta_schedule"] == "squaredcos_cap_v2"
    assert "num_head_channels" not in made.assumed


def test_the_config_is_that_of_google_ddpm_church_256() -> None:
    network = json.loads((FOLDER / "pesser_shapes.json").read_text())["lsun"]
    state = {k: torch.empty(shape, device="meta") for k, shape in network["shapes"].items()}
    config = pesser.pipeline(state, network["options"]).parts["unet"].config
    theirs = {
        "sample_size": 256,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [128, 128, 256, 256, 512, 512],
        "layers_per_block": 2,
        "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
        "attention_head_dim": None,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "norm_num_groups": 32,
    }
    assert {name: config[name] for name in theirs} == theirs
