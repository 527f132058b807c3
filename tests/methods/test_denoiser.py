from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DModel

from antcli.diffusion.convention import Convention
from antcli.diffusion.path import BetaPath
from antcli.methods.trainable.denoiser import Denoiser
from antcli.methods.trainable.tuned import TunedDenoiser

X_T = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
T = torch.tensor([100, 900])
MakeUnet = Callable[..., UNet2DModel]


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
def test_guidance_leads_away_from_what_nothing_asks_for(scale: float, make_unet: MakeUnet) -> None:
    unet = make_unet(num_class_embeds=3)
    asked, nothing = ({"class_labels": torch.tensor([label])} for label in (0, 2))
    network = Denoiser(unet, Convention(BetaPath.linear(), "epsilon", asked, nothing, scale))
    with torch.no_grad():
        for_asked, for_nothing = (unet(X_T, T, torch.full((2,), label)).sample for label in (0, 2))
        torch.testing.assert_close(network(X_T, T), for_asked)
        expected = for_nothing + scale * (for_asked - for_nothing)
        torch.testing.assert_close(network.guided(X_T, T), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(network(X_T, T), for_asked)
    assert (for_asked - for_nothing).abs().max() > 0.01


def test_above_a_limit_in_t_all_weights_leave_the_source(make_unet: MakeUnet) -> None:
    network = TunedDenoiser(make_unet(), t_limit=0.6)
    with torch.no_grad():
        source = make_unet()(X_T, T).sample
        for parameter in network.trained().values():
            parameter.add_(0.01)
        found = network(X_T, T)
        torch.testing.assert_close(network.source(X_T, T), source)
    torch.testing.assert_close(found[1], source[1])
    assert (found[0] - source[0]).abs().max() > 0.01
    assert network.trained().keys() == {f"unet.{n}" for n, _ in make_unet().named_parameters()}
    assert all(p.requires_grad for p in network.parameters())
