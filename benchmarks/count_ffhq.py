"""Count what a pass through the network of `ffhq` (256x256 pixels) takes, without computing it.

    python benchmarks/count_ffhq.py

Operations and bytes of one image, on tensors without contents; what becomes of a run on given cards
is worked out from these by hand in benchmarks/results/plan-ffhq-256.md. An operation is half a
multiply-add; those of norms and activations are not counted, their bytes are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from antcli.config import adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.methods.build import build_network, evaluations_per_step
from antcli.methods.classifier import new_classifier
from antcli.methods.trainable.denoiser import Denoiser

SIZE = 256
PARAMETERS = 93_563_910
DOWN, UP = "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"
METHODS = ("bridge", "ant", "adaptor", "finetune")


def ffhq() -> UNet2DModel:
    """The network of `ffhq`, as it is converted."""
    return UNet2DModel(
        sample_size=SIZE,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(128, 128, 256, 256, 512, 512),
        down_block_types=(DOWN,) * 4 + ("AttnDownBlock2D", DOWN),
        up_block_types=(UP, "AttnUpBlock2D") + (UP,) * 4,
        attention_head_dim=64,
        resnet_time_scale_shift="scale_shift",
        attn_norm_num_groups=32,
        downsample_type="resnet",
        upsample_type="resnet",
    )


def operations(work: Callable[[], object]) -> float:
    """In units of 10^9."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def kept(work: Callable[[], object]) -> float:
    """GB in float32 that the way back needs of the way there; the weights are not among them."""
    storages: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if not isinstance(x, nn.Parameter):
            storages[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        work()
    return sum(storages.values()) / 1e9


def count(network: Denoiser) -> tuple[float, float, float, float]:
    """Operations there, operations back, GB kept, millions of weights that train."""
    x_t = torch.empty(1, 3, SIZE, SIZE, device="meta")
    t = torch.zeros(1, device="meta")

    def asked() -> Tensor:
        told = network.unet(x_t, t, return_dict=False)[0]
        return told[:, :3].square().mean()

    with torch.no_grad():
        there = operations(asked)
    held: list[Tensor] = []
    gigabytes = kept(lambda: held.append(asked()))
    back = operations(lambda: held[0].backward())
    return there, back, gigabytes, sum(p.numel() for p in network.trained().values()) / 1e6


def main() -> None:
    """Print the table."""
    with torch.device("meta"):
        unet = ffhq()
    found = sum(p.numel() for p in unet.parameters())
    print(f"weights: {found} ({found - PARAMETERS:+d} against the published file)")
    print("| method | there, 10^9 | back, 10^9 | kept, GB of float32 | trains, 10^6 | passes |")
    for method in METHODS:
        config = adapt_config_from({"source": "a", "target": "b", "method": method})
        with torch.device("meta"):
            network = build_network(ffhq(), config, PLAIN)
        numbers = " | ".join(f"{x:.2f}" for x in count(network))
        passes = ", ".join(f"{n} {what}" for what, n in evaluations_per_step(config).items())
        print(f"| {method} | {numbers} | {passes} |", flush=True)
    with torch.device("meta"):
        classifier = new_classifier(SIZE, 0)
    x_t, t = torch.empty(1, 3, SIZE, SIZE, device="meta"), torch.zeros(1, device="meta")
    with torch.device("meta"):
        alone = Denoiser(ffhq())
    print(f"the source alone, there: {count(alone)[0]:.2f} 10^9", flush=True)
    print(f"classifier, there: {operations(lambda: classifier(x_t, t)):.2f} 10^9")


if __name__ == "__main__":
    main()
