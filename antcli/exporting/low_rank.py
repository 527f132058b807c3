"""Low-rank additions as the files that diffusers, ComfyUI and A1111 read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from diffusers.utils import convert_state_dict_to_kohya
from torch import Tensor
from torch.nn import functional

from antcli.errors import AntError
from antcli.methods.trainable.lora import LoraDenoiser
from antcli.sources.condition import TEXT
from antcli.sources.source import Source


def check_has_readers(source: Source) -> None:
    """Raise `AntError` unless other programs read low-rank files for such a network."""
    if TEXT not in source.condition:
        raise AntError(
            f"no program reads low-rank files for a {source.unet_config['_class_name']}: the "
            "loaders of diffusers and ComfyUI know networks conditional on text",
            "`ant export --format diffusers` writes the whole model, which opens in one line",
            exit_code=2,
        )


def lora_tensors(network: LoraDenoiser) -> dict[str, Tensor]:
    """By the names of diffusers and PEFT.

    All get the largest rank, by zeros: without alphas, not every reader scales layers of several
    ranks by their own.
    """
    return dict(_padded(network))


def kohya_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same by the names of kohya's scripts, with alphas that scale by 1."""
    kohya: dict[str, Tensor] = convert_state_dict_to_kohya(dict(tensors))
    return kohya


def _padded(network: LoraDenoiser) -> Iterator[tuple[str, Tensor]]:
    rank = max(len(down) for _, down, _ in network.products)
    for layer, down, up in network.products:
        missing, around = rank - len(down), [0, 0] * (up.ndim - 2)  # the kernel comes last
        yield f"unet.{layer}.lora_A.weight", functional.pad(down, [*around, 0, 0, 0, missing])
        yield f"unet.{layer}.lora_B.weight", functional.pad(up, [*around, 0, missing])
