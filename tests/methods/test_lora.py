from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from antcli.config import AdaptConfig, adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.errors import AntError
from antcli.methods.build import build_network
from antcli.methods.trainable.lora import LoraDenoiser, LoraSettings
from antcli.methods.trainable.low_rank import LowRank, low_rank
from antcli.sources.source import find_source

MakeUnet = Callable[..., UNet2DModel]
X_T = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
T = torch.tensor([0, 500, 900])


def spoken(network: LoraDenoiser) -> LoraDenoiser:
    """With additions that are not zero any more."""
    for parameter in network.trained().values():
        nn.init.normal_(parameter, std=0.1)
    return network


def out(network: nn.Module) -> Tensor:
    with torch.no_grad():
        return network(X_T, T)


def test_untrained_it_is_the_source(make_unet: MakeUnet) -> None:
    network = LoraDenoiser(make_unet(), LoraSettings())
    with torch.no_grad():
        torch.testing.assert_close(out(network), make_unet()(X_T, T).sample, rtol=0, atol=0)


def test_it_is_the_source_with_the_products_added_to_its_weights(make_unet: MakeUnet) -> None:
    """W + B A in the place of W, convolutions included, by their own formula."""
    network = spoken(LoraDenoiser(make_unet(), LoraSettings(rank=4)))
    merged = make_unet()
    for name, layer in merged.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            down, up = (part.weight.detach() for part in network.lora[name.replace(".", "-")])
            product = torch.einsum("or...,ri...->oi...", up, down)
            layer.weight.data += product.view_as(layer.weight)
    with torch.no_grad():
        expected = merged(X_T, T).sample
    assert (expected - make_unet()(X_T, T).sample).abs().max() > 0.1
    # Two sums in another order through some twenty layers of float32.
    torch.testing.assert_close(out(network), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("geometry", [(3, 1, 1, 1), (3, 2, 0, 1), (1, 1, 0, 1), (3, 1, 2, 2)])
def test_a_convolution_keeps_its_geometry(geometry: tuple[int, int, int, int]) -> None:
    layer, x = nn.Conv2d(6, 10, *geometry), torch.randn(2, 6, 9, 9)
    down, up = added = low_rank(layer, rank=4)
    assert isinstance(down, nn.Conv2d) and isinstance(up, nn.Conv2d)
    assert (down.out_channels, up.kernel_size) == (4, (1, 1))
    assert added(x).shape == layer(x).shape
    assert (up.weight == 0).all() and (down.weight != 0).any()


def test_only_the_additions_train_and_their_rank_is_never_above_the_layers(
    make_unet: MakeUnet,
) -> None:
    network = LoraDenoiser(make_unet(), LoraSettings(rank=16))
    layers = [m for m in make_unet().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(network.trained()) == 2 * len(layers)
    assert all(name.startswith("lora.") for name in network.trained())
    assert network.trained()["lora.conv_in.0.weight"].shape == (3, 3, 3, 3)
    assert network.trained()["lora.conv_out.0.weight"].shape == (3, 16, 3, 3)


def test_above_the_limit_in_t_the_source_speaks(make_unet: MakeUnet) -> None:
    network = spoken(LoraDenoiser(make_unet(), LoraSettings(t_limit=0.6)))
    everywhere = spoken(LoraDenoiser(make_unet(), LoraSettings()))
    everywhere.load_state_dict(network.state_dict())
    with torch.no_grad():
        source = make_unet()(X_T, T).sample
    torch.testing.assert_close(out(network)[2], source[2], rtol=0, atol=0)
    torch.testing.assert_close(out(network)[:2], out(everywhere)[:2], rtol=0, atol=0)
    assert (out(network)[:2] - source[:2]).abs().amax((1, 2, 3)).min() > 0.01


def test_the_source_is_there_whatever_has_been_trained(make_unet: MakeUnet) -> None:
    network = spoken(LoraDenoiser(make_unet(), LoraSettings()))
    found, after = network.source(X_T, T), out(network)
    with torch.no_grad():
        source = make_unet()(X_T, T).sample
    torch.testing.assert_close(found, source, rtol=0, atol=0)
    assert (after - source).abs().max() > 0.01


def test_it_is_a_method_with_settings_of_its_own(make_unet: MakeUnet) -> None:
    names = {"source": "a", "target": "b", "method": "ant-lora"}
    config: AdaptConfig = adapt_config_from(names, {"lora": {"rank": 2, "t_limit": 0.5}})
    network = build_network(make_unet(), config, PLAIN)
    assert isinstance(network, LoraDenoiser)
    assert network.limit == 500
    assert network.trained()["lora.conv_out.0.weight"].shape[0] == 2
    with pytest.raises(AntError, match=r"lora\.rank is out of range"):
        adapt_config_from(names, {"lora": {"rank": 0}})


def test_it_merges_into_the_weights_at_every_t(make_unet: MakeUnet) -> None:
    network = spoken(LoraDenoiser(make_unet(), LoraSettings(rank=4, t_limit=0.6)))
    merged = network.merged()
    with torch.no_grad():
        found = merged(X_T, T).sample
        everywhere = spoken(LoraDenoiser(make_unet(), LoraSettings(rank=4)))
        everywhere.load_state_dict(network.state_dict())
        torch.testing.assert_close(found, everywhere(X_T, T), rtol=1e-3, atol=1e-4)
    assert merged.state_dict().keys() == make_unet().state_dict().keys()
    assert not any(module._forward_hooks for module in merged.modules())
    torch.testing.assert_close(
        dict(network.unet.state_dict()), dict(make_unet().state_dict()), rtol=0, atol=0
    )


def test_settled_a_pass_has_the_products_in_its_weights(
    make_unet: MakeUnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No addition is asked, the limit in t holds, and afterwards all is as it was."""
    network = spoken(LoraDenoiser(make_unet(), LoraSettings(rank=4, t_limit=0.6)))
    x_t, passes = X_T[:1], []
    below, above = T[1:2], T[2:]
    monkeypatch.setattr(LowRank, "forward", counted(LowRank.forward, passes))

    def said() -> tuple[Tensor, Tensor, Tensor]:
        passes.clear()
        with torch.no_grad():
            return network(x_t, below), network(x_t, above), network.source(x_t, below)

    before = said()
    assert len(passes) == len(network.lora)
    with network.settled(), network.settled():
        found = said()
    assert not passes
    torch.testing.assert_close(found[0], before[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[1:], before[1:], rtol=0, atol=0)
    torch.testing.assert_close(said(), before, rtol=0, atol=0)
    assert len(passes) == len(network.lora)


def test_settled_images_on_both_sides_of_the_limit_have_what_they_had(make_unet: MakeUnet) -> None:
    network = spoken(LoraDenoiser(make_unet(), LoraSettings(rank=4, t_limit=0.6)))
    before = out(network)
    with network.settled():
        torch.testing.assert_close(out(network), before, rtol=0, atol=0)


def test_samples_are_drawn_of_a_settled_network(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, passes = find_source(str(tiny_source)), []
    network = spoken(LoraDenoiser(source.load(), LoraSettings(), source.convention))
    expected = torch.cat([*source.sample(network.guided, range(3), steps=3)])
    monkeypatch.setattr(LowRank, "forward", counted(LowRank.forward, passes))
    found = torch.cat([*source.sample(network, range(3), steps=3)])
    assert not passes
    # Rounding of float32 through three passes of some twenty layers.
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)
    network(X_T, T)
    assert len(passes) == len(network.lora)


def counted(called: Callable[..., Tensor], calls: list[object]) -> Callable[..., Tensor]:
    """The same, and each of its calls is noted."""

    def noted(self: object, x: Tensor) -> Tensor:
        calls.append(self)
        return called(self, x)

    return noted
