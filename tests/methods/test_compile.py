"""What trains is compiled as one graph, with all that is added to the network's blocks."""

from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from antcli.config import adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.methods.build import build_network
from antcli.methods.table import CHOICES


@pytest.mark.parametrize("trains", CHOICES["trains"])
def test_a_network_is_one_graph(trains: str, make_unet: Callable[..., UNet2DModel]) -> None:
    chosen = {"trains": trains, "noise": "gaussian", "target": "noise"}
    config = adapt_config_from({"source": "a", "target": "b", "choices": chosen})
    network = build_network(make_unet(8, (8, 16)), config, PLAIN, 0.6)
    for parameter in network.trained().values():  # so that what is added says something
        nn.init.normal_(parameter.data, std=0.1)
    x_t, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 500])
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with network.below_limit():
        found, expected = compiled(x_t, t), network(x_t, t)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        found.square().mean().backward()
    assert all(p.grad is not None for p in network.trained().values())


@pytest.mark.parametrize("trains", ["adaptors", "all"])
def test_a_compiled_unet_still_samples_beyond_the_limit(
    trains: str, make_unet: Callable[..., UNet2DModel]
) -> None:
    """Where t has to be looked at, and the source speaks."""
    chosen = {"trains": trains, "noise": "gaussian", "target": "noise"}
    config = adapt_config_from({"source": "a", "target": "b", "choices": chosen})
    network = build_network(make_unet(8, (8, 16)), config, PLAIN, 0.6)
    for parameter in network.trained().values():
        nn.init.normal_(parameter.data, std=0.1)
    x_t = torch.randn(2, 3, 8, 8)
    times = [torch.tensor(t) for t in ([3, 500], [3, 900], [900, 901])]
    with torch.no_grad():
        expected = [network(x_t, t) for t in times]
        torch.compiler.reset()
        network.unet.compile(backend="eager", fullgraph=True)
        found = [network(x_t, t) for t in times]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
