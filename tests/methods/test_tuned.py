from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from antcli.config import AdaptConfig, adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.errors import AntError
from antcli.methods.build import build_network
from antcli.methods.trainable.tuned import TunedDenoiser

MakeUnet = Callable[..., UNet2DModel]
X_T = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
T = torch.tensor([100, 900])
TUNED = ("all", "encoder-decoder", "attention", "norm", "bias")


def network_of(trains: str, unet: UNet2DModel, **settings: Any) -> TunedDenoiser:
    names = {"source": "a", "target": "b", "choices": {"trains": trains}}
    config: AdaptConfig = adapt_config_from(names, settings)
    network = build_network(unet, config, PLAIN)
    assert isinstance(network, TunedDenoiser)
    return network


def out(network: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    with torch.no_grad():
        return network(X_T, T)


def trained(network: TunedDenoiser) -> set[str]:
    return {name.removeprefix("unet.") for name in network.trained()}


@pytest.mark.parametrize("trains", TUNED)
def test_untrained_it_is_the_source_and_afterwards_the_source_is_there(
    trains: str, make_unet: MakeUnet
) -> None:
    network = network_of(trains, make_unet())
    with torch.no_grad():
        source = make_unet()(X_T, T).sample
    torch.testing.assert_close(out(network), source, rtol=0, atol=0)
    network.keep_source()
    with torch.no_grad():
        for parameter in network.trained().values():
            parameter.add_(0.05)
    torch.testing.assert_close(out(network.source), source, rtol=0, atol=0)
    assert (out(network) - source).abs().amax((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("trains", TUNED)
def test_above_the_limit_in_t_the_source_speaks(trains: str, make_unet: MakeUnet) -> None:
    table = {"all": "full"}.get(trains, trains.replace("-", "_"))
    network = network_of(trains, make_unet(), **{table: {"t_limit": 0.6}})
    source = out(network)
    with torch.no_grad():
        for parameter in network.trained().values():
            parameter.add_(0.05)
    found = out(network)
    torch.testing.assert_close(found[1], source[1], rtol=0, atol=0)
    assert (found[0] - source[0]).abs().max() > 1e-3


@pytest.mark.parametrize("trains", TUNED)
def test_what_does_not_train_receives_no_gradient(trains: str, make_unet: MakeUnet) -> None:
    network = network_of(trains, make_unet())
    network(X_T, T).square().mean().backward()
    given = {name for name, p in network.unet.named_parameters() if p.grad is not None}
    assert given == trained(network)
    assert network.whole == (trains == "all")


def test_norms_and_biases_are_what_their_names_say(make_unet: MakeUnet) -> None:
    unet = make_unet()
    norms = {
        f"{name}.{part}"
        for name, module in unet.named_modules()
        if isinstance(module, nn.GroupNorm | nn.LayerNorm)
        for part in ("weight", "bias")
    }
    assert trained(network_of("norm", make_unet())) == norms
    biases = {name for name, _ in unet.named_parameters() if name.endswith(".bias")}
    assert trained(network_of("bias", make_unet())) == biases
    assert "time_embedding.linear_1.bias" in biases


def test_attention_is_the_attention_blocks(make_unet: MakeUnet) -> None:
    names = {name for name, _ in make_unet().named_parameters() if ".attentions." in name}
    assert trained(network_of("attention", make_unet())) == names


def test_a_network_without_attention_has_none_to_train(make_unet: MakeUnet) -> None:
    plain = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = make_unet(**plain, add_attention=False)
    with pytest.raises(AntError, match="nothing of what is to train: the attention layers"):
        network_of("attention", unet)


def test_the_ends_are_the_papers_four_layers_each_way(make_unet: MakeUnet) -> None:
    """Of two blocks a level, as the U-Net of the paper: 2 ResNets, a change of size, 1 ResNet."""
    network = network_of("encoder-decoder", make_unet(layers_per_block=2))
    modules = {name.rpartition(".")[0] for name in trained(network)}
    layers = {".".join(name.split(".")[:4]) for name in modules if name.startswith(("down", "up"))}
    assert layers == {
        "down_blocks.0.resnets.0",
        "down_blocks.0.resnets.1",
        "down_blocks.0.downsamplers.0",
        "down_blocks.1.resnets.0",
        "down_blocks.1.attentions.0",
        "up_blocks.0.upsamplers.0",
        "up_blocks.1.resnets.0",
        "up_blocks.1.resnets.1",
        "up_blocks.1.resnets.2",
    }
    others = {name for name in modules if not name.startswith(("down", "up"))}
    assert others == {"conv_in", "conv_norm_out", "conv_out"}


def test_more_layers_than_there_are_is_all_of_them(make_unet: MakeUnet) -> None:
    more = network_of("encoder-decoder", make_unet(), encoder_decoder={"layers": 99})
    names = {name for name, _ in make_unet().named_parameters()}
    left = {name.split(".")[0] for name in names - trained(more)}
    assert left == {"mid_block", "time_embedding"}
