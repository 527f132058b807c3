from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from antcli.methods.trainable.modulation import (
    ModulatedDenoiser,
    ModulationSettings,
    important,
)

MakeUnet = Callable[..., UNet2DModel]
X_T = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
T = torch.tensor([100, 900])


def out(network: nn.Module) -> Tensor:
    with torch.no_grad():
        return network(X_T, T)


def half_modulated(make_unet: MakeUnet, t_limit: float = 1.0) -> ModulatedDenoiser:
    """Every second filter, and nothing zero any more."""
    network = ModulatedDenoiser(make_unet(), ModulationSettings(t_limit=t_limit))
    network.modulate({n: torch.arange(len(c.v)) % 2 for n, c in network.changes.items()})
    for parameter in network.trained().values():
        nn.init.normal_(parameter, std=0.1)
    return network


def test_untrained_it_is_the_source(make_unet: MakeUnet) -> None:
    network = ModulatedDenoiser(make_unet(), ModulationSettings())
    with torch.no_grad():
        torch.testing.assert_close(out(network), make_unet()(X_T, T).sample, rtol=0, atol=0)
    assert all(name.startswith("changes.") for name in network.trained())


def test_it_is_the_source_with_modulated_and_tuned_filters(make_unet: MakeUnet) -> None:
    """W (1 + v u^T) of the one, W + D of the other, filter by filter."""
    network, merged = half_modulated(make_unet), make_unet()
    for name, layer in merged.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            change = network.changes[name.replace(".", "-")]
            for i in range(len(layer.weight)):
                if i % 2:
                    layer.weight.data[i] *= 1 + change.v[i].item() * change.u.data
                else:
                    layer.weight.data[i] += change.tuned.data[i]
    with torch.no_grad():
        expected, source = merged(X_T, T).sample, make_unet()(X_T, T).sample
    assert (expected - source).abs().max() > 0.1
    # Two sums in another order through some twenty layers of float32.
    torch.testing.assert_close(out(network), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(network.source(X_T, T), source, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(network.merged()(X_T, T).sample, expected, rtol=1e-4, atol=1e-5)


def test_above_the_limit_in_t_the_source_speaks(make_unet: MakeUnet) -> None:
    found = out(half_modulated(make_unet, t_limit=0.6))
    with torch.no_grad():
        source = make_unet()(X_T, T).sample
    torch.testing.assert_close(found[1], source[1], rtol=0, atol=0)
    assert (found[0] - source[0]).abs().max() > 0.01


def test_what_was_trained_needs_no_masks(make_unet: MakeUnet) -> None:
    """Where a filter is tuned, v stays 0; where it is modulated, D does."""
    network = ModulatedDenoiser(make_unet(), ModulationSettings())
    network.modulate({n: torch.arange(len(c.v)) % 2 for n, c in network.changes.items()})
    optimizer = torch.optim.AdamW(network.trained().values(), lr=0.01)
    for _ in range(2):
        network(X_T, T).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    for change in network.changes.values():
        assert (change.v[::2] == 0).all()
        assert (change.tuned[1::2] == 0).all()
    again = ModulatedDenoiser(make_unet(), ModulationSettings())
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(out(again), out(network), rtol=0, atol=0)
    assert (network.changes["conv_out"].v[1::2] != 0).all()
    assert (network.changes["conv_out"].tuned[::2] != 0).all()


@pytest.mark.parametrize(("quantile", "kept"), [(0.0, 6), (0.5, 3), (1.0, 0)])
def test_filters_above_the_quantile_of_all_layers_matter(quantile: float, kept: int) -> None:
    fisher = {"a": torch.tensor([1.0, 9.0, 3.0, 4.0]), "b": torch.tensor([8.0, 7.0])}
    found = important(fisher, quantile)
    assert sum(int(mask.sum()) for mask in found.values()) == kept
    if kept == 3:
        assert found["a"].tolist() == [0, 1, 0, 0]
        assert found["b"].tolist() == [1, 1]
