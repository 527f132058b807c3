"""What is refused, and what is left behind: nothing."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from antcli.errors import AntError
from antcli.sources.convert import adm, convert, pesser
from antcli.sources.options import parse_options
from antcli.weights import read_checkpoint

Weights = dict[str, Tensor]


@pytest.fixture
def one_block(original: Callable[[str], Any]) -> Any:
    return original("adm_one_block")


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., AntError]:
    """The error of a conversion that leaves nothing behind."""

    def refuse(
        weights: Any, architecture: dict[str, Any] | None = None, format: Any = "adm"
    ) -> AntError:
        file = tmp_path / "a.pt"
        torch.save(weights, file)
        with pytest.raises(AntError) as raised:
            convert(file, format, tmp_path / "out", architecture)
        assert raised.value.hint
        assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
        return raised.value

    return refuse


# --- the folder ----------------------------------------------------------------------------


def test_an_ordinary_folder(one_block: Any, tmp_path: Path) -> None:
    torch.save(one_block.weights, tmp_path / "a.pt")
    out = tmp_path / "new" / "out"
    convert(tmp_path / "a.pt", "adm", out, one_block.options("legacy"))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    index = json.loads((out / "model_index.json").read_text())
    assert index["_class_name"] == "DDPMPipeline"
    assert index["unet"] == ["diffusers", "UNet2DModel"]
    with safe_open(out / "unet" / "diffusion_pytorch_model.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt"


def test_an_output_that_exists(one_block: Any, tmp_path: Path) -> None:
    torch.save(one_block.weights, tmp_path / "a.pt")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    with pytest.raises(AntError, match="out exists already"):
        convert(tmp_path / "a.pt", "adm", out, one_block.options("legacy"))
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


@contextmanager
def files_no_longer_than(limit: int) -> Iterator[None]:
    """A write past `limit` bytes fails, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing(one_block: Any, tmp_path: Path) -> None:
    torch.save(one_block.weights, tmp_path / "a.pt")
    with files_no_longer_than(10_000), pytest.raises(AntError, match="cannot write"):
        convert(tmp_path / "a.pt", "adm", tmp_path / "out", one_block.options("legacy"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


# --- the file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": {k: v + 1 for k, v in weights.items()}, "ema": weights},
        lambda weights: {"model": {"state_dict": weights}, "optimizer": {"state": {}}},
        lambda weights: {f"module.{k}": v for k, v in weights.items()},
        lambda weights: {"state_dict": {f"module.{k}": v for k, v in weights.items()}},
        lambda weights: {**weights, "step": 5},
    ],
)
def test_weights_are_found_in_what_they_are_wrapped_in(
    wrap: Callable[[Weights], Any], tmp_path: Path
) -> None:
    weights = {"a.weight": torch.randn(2), "b.module.bias": torch.randn(3)}
    torch.save(wrap(weights), tmp_path / "a.pt")
    torch.testing.assert_close(read_checkpoint(tmp_path / "a.pt"), weights, rtol=0, atol=0)


def test_a_safetensors_file_converts_to_the_same(one_block: Any, tmp_path: Path) -> None:
    torch.save(one_block.weights, tmp_path / "a.pt")
    save_file(one_block.weights, tmp_path / "a.safetensors")
    for suffix in ("pt", "safetensors"):
        file = tmp_path / f"a.{suffix}"
        convert(file, "adm", tmp_path / f"of_{suffix}", one_block.options("legacy"))
    made, again = (
        load_file(tmp_path / f"of_{suffix}" / "unet" / "diffusion_pytorch_model.safetensors")
        for suffix in ("pt", "safetensors")
    )
    torch.testing.assert_close(made, again, rtol=0, atol=0)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "empty.pt").read_bytes()[:100])
    for name, message in {
        "empty.pt": "has no weights",
        "list.pt": "has no weights",
        "cut.pt": "not a whole PyTorch weights file",
        "none.pt": "there is no file",
    }.items():
        with pytest.raises(AntError, match=message):
            convert(tmp_path / name, "adm", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- the weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["adm", "pesser"])
def test_a_checkpoint_of_another_kind(format: str, refused: Callable[..., AntError]) -> None:
    stable_diffusion = {
        "model.diffusion_model.time_embed.0.weight": torch.zeros(8, 2),
        "first_stage_model.decoder.conv_in.weight": torch.zeros(8, 4, 3, 3),
        "cond_stage_model.transformer.embeddings": torch.zeros(8, 8),
    }
    error = refused(stable_diffusion, format=format)
    assert "this is no whole checkpoint of" in error.message
    assert "adm, pesser or ldm" in error.hint


@pytest.mark.parametrize(
    ("format", "name"), [("adm", "time_embed.0.weight"), ("pesser", "temb.dense.0.weight")]
)
def test_a_single_tensor(format: str, name: str, refused: Callable[..., AntError]) -> None:
    assert "no whole checkpoint" in refused({name: torch.zeros(128, 32)}, format=format).message


def test_a_noisy_classifier(one_block: Any, refused: Callable[..., AntError]) -> None:
    """It is the half of a U-Net that goes down."""
    half = {k: v for k, v in one_block.weights.items() if not k.startswith("output_blocks.")}
    assert "it has no output_blocks.0" in refused(half, one_block.options("legacy")).message


@pytest.mark.parametrize(
    ("name", "shape"),
    [("middle_block.1.qkv.weight", (100, 64, 1)), ("time_embed.0.weight", (128,))],
)
def test_tensors_of_odd_shapes(
    name: str, shape: tuple[int, ...], one_block: Any, refused: Callable[..., AntError]
) -> None:
    error = refused(one_block.weights | {name: torch.zeros(shape)}, one_block.options("legacy"))
    assert "weights of no adm network" in error.message


def test_another_networks_blocks_under_the_same_names(
    one_block: Any, refused: Callable[..., AntError]
) -> None:
    """As a bare Stable Diffusion U-Net has them, with transformers for attention."""
    name = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    error = refused({**one_block.weights, name: torch.zeros(32, 32)}, one_block.options("legacy"))
    assert f"{name} has no place" in error.message


@pytest.mark.parametrize("name", ["adm_one_block", "adm_plain", "pesser_lsun"])
def test_every_tensor_is_needed(
    name: str, original: Callable[[str], Any], refused: Callable[..., AntError]
) -> None:
    first = original(name)
    options = first.options(next(iter(first.runs)))
    optional = {"label_emb.weight"}  # without it, it is a network without classes
    for missing in sorted(first.weights.keys() - optional)[::6]:
        rest = {key: tensor for key, tensor in first.weights.items() if key != missing}
        refused(rest, options, first.format)


def test_a_tensor_of_another_shape(one_block: Any, refused: Callable[..., AntError]) -> None:
    name = "middle_block.0.in_layers.2.weight"
    error = refused(
        one_block.weights | {name: torch.zeros(64, 64, 1, 1)}, one_block.options("legacy")
    )
    assert "mid_block.resnets.0.conv1.weight is [64, 64, 1, 1]" in error.message


def test_networks_that_no_unet2dmodel_equals(
    one_block: Any, original: Callable[[str], Any], refused: Callable[..., AntError]
) -> None:
    weights = one_block.weights
    narrow = weights | {"time_embed.0.weight": torch.zeros(128, 64)}
    assert "no UNet2DModel can have both" in refused(narrow).message
    larger = weights | {"input_blocks.0.0.weight": torch.zeros(32, 6, 3, 3)}
    assert "6 channels out of 6" in refused(larger).message


# --- what no weight tells -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "name", "missing"),
    [
        ("adm", "adm_one_block", [*adm.NEEDED]),
        ("pesser", "pesser_lsun", [*pesser.NEEDED]),
    ],
)
def test_a_network_that_is_not_known_is_not_guessed_at(
    format: str,
    name: str,
    missing: list[str],
    original: Callable[[str], Any],
    refused: Callable[..., AntError],
) -> None:
    """A wrong guess loads, and nothing but numbers would tell."""
    first = original(name)
    whole = first.options(next(iter(first.runs)))
    error = refused(first.weights, None, format)
    assert f"weights do not tell {', '.join(missing)}" in error.message
    for option in missing:
        assert f"`option` {option}=" in error.hint
        rest = {key: value for key, value in whole.items() if key != option}
        assert f"do not tell {option}" in refused(first.weights, rest, format).message


def test_a_name_typed_wrongly_is_told_before_what_is_missing(
    one_block: Any, refused: Callable[..., AntError]
) -> None:
    error = refused(one_block.weights, {"num_heeds": 4})
    assert error.message == "there is no option 'num_heeds'"
    assert "num_heads" in error.hint or "num_head_channels" in error.hint


def test_what_was_taken_is_told(original: Callable[[str], Any], tmp_path: Path) -> None:
    first = original("adm_equal_heads")
    torch.save(first.weights, tmp_path / "a.pt")
    taken = convert(tmp_path / "a.pt", "adm", tmp_path / "out", first.options("new"))
    assert taken == {
        "image_size": 8,
        "num_heads": 4,
        "use_new_attention_order": True,
        "noise_schedule": "linear",
        "diffusion_steps": 1000,
        "dropout": 0.0,
    }


def test_options_as_they_are_typed() -> None:
    typed = [
        "image_size=64",
        "use_new_attention_order=True",
        "learn_sigma=false",
        "noise_schedule=cosine",
        "channel_mult=1,2",
        "unet_config.num_heads = 8",
    ]
    assert parse_options(typed) == {
        "image_size": 64,
        "use_new_attention_order": True,
        "learn_sigma": False,
        "noise_schedule": "cosine",
        "channel_mult": "1,2",
        "unet_config": {"num_heads": 8},
    }
    for text in ("num_heads", "=4", "num_heads=", "a..b=1"):
        with pytest.raises(AntError, match="states no option") as raised:
            parse_options([text])
        assert raised.value.exit_code == 2


# --- the architecture ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"num_channels": 64}, "have num_channels 32, not 64 as stated"),
        ({"channel_mult": "1,1"}, "have channel_mult 1,2, not 1,1 as stated"),
        ({"channel_mult": [1, 2, 2]}, "not 1,2,2 as stated"),
        ({"num_res_blocks": 2}, "have num_res_blocks 1, not 2"),
        ({"attention_resolutions": "8,4"}, "have attention_resolutions 4, not 8,4"),
        ({"attention_resolutions": [4], "image_size": 16}, "attention_resolutions 8, not 4"),
        ({"use_scale_shift_norm": False}, "have use_scale_shift_norm True"),
        ({"resblock_updown": False}, "have resblock_updown True"),
        ({"learn_sigma": False}, "have learn_sigma True"),
        ({"class_cond": True}, "have class_cond False"),
        ({"num_chanels": 32}, "no option 'num_chanels'"),
        ({"num_channels": "many"}, "num_channels cannot be 'many'"),
        ({"image_size": None}, "image_size cannot be None"),
        ({"channel_mult": "1,x"}, "channel_mult cannot be '1,x'"),
        ({"learn_sigma": 1}, "learn_sigma cannot be 1"),
        ({"diffusion_steps": 0}, "diffusion_steps cannot be 0"),
        ({"num_head_channels": -1}, "num_head_channels cannot be -1"),
        ({"noise_schedule": "quadratic"}, "noise_schedule cannot be 'quadratic'"),
        ({"num_head_channels": 48}, "does not part into heads of 48 channels"),
        ({"num_heads": 3}, "does not part into 3 heads"),
    ],
)
def test_an_architecture_that_does_not_fit(
    stated: dict[str, Any], message: str, one_block: Any, refused: Callable[..., AntError]
) -> None:
    fits = one_block.options("legacy")
    if "num_heads" in stated:
        del fits["num_head_channels"]
    assert message in refused(one_block.weights, fits | stated).message


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"ch": 64}, "have ch 32, not 64"),
        ({"ch_mult": [1, 2]}, "have ch_mult 1,1,1, not 1,2"),
        ({"num_res_blocks": 1}, "have num_res_blocks 2, not 1"),
        ({"attn_resolutions": [16]}, "have attn_resolutions 4, not 16"),
        ({"var_type": "learned"}, "var_type cannot be 'learned'"),
        ({"beta_start": "small"}, "beta_start cannot be 'small'"),
    ],
)
def test_an_architecture_of_pytorch_diffusion_that_does_not_fit(
    stated: dict[str, Any],
    message: str,
    original: Callable[[str], Any],
    refused: Callable[..., AntError],
) -> None:
    first = original("pesser_lsun")
    assert message in refused(first.weights, first.network | stated, "pesser").message


def test_lists_as_the_original_commands_take_them(one_block: Any, tmp_path: Path) -> None:
    stated = {"channel_mult": "1,2", "attention_resolutions": "4", "dropout": 0.1}
    torch.save(one_block.weights, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", "adm", tmp_path / "out", one_block.options("legacy") | stated)
    config = json.loads((tmp_path / "out" / "unet" / "config.json").read_text())
    assert config["block_out_channels"] == [32, 64]
    assert config["dropout"] == 0.1


def test_an_unknown_format(one_block: Any, refused: Callable[..., AntError]) -> None:
    assert "'edm'" in refused(one_block.weights, format="edm").message
