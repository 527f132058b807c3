"""How the example counts, and that its two GANs differ in the noise alone."""

from __future__ import annotations

import diffusion_gan_25_gaussians as example
import pytest
import torch
from diffusion_gan_25_gaussians import MODES, NOISE, SPREAD, Found, Gan
from torch import Tensor

from antcli.distilling.diffusion_noise import DiffusionNoise


def around(modes: Tensor, far: float) -> Tensor:
    """A hundred points for each mode, so far from it."""
    angle = torch.linspace(0, 6.28, 100)
    circle = far * torch.stack([angle.cos(), angle.sin()], 1)
    return (modes[:, None] + circle).flatten(0, 1)


@pytest.mark.parametrize(("far", "near"), [(2.9, 1.0), (3.1, 0.0)])
def test_a_sample_counts_within_three_standard_deviations(far: float, near: float) -> None:
    found = Found(around(MODES[:7], far * SPREAD), ())
    assert found.near == near
    assert found.modes == 7 * near
    assert found.counts.tolist() == [100 * near] * 7 + [0] * 18


def test_both_start_alike_and_the_noise_sets_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "SAMPLES", 50)
    plain, again = Gan(1, None), Gan(1, None)
    noised = Gan(1, DiffusionNoise(NOISE, 1))
    torch.testing.assert_close(plain.sample(), noised.sample(), rtol=0, atol=0)
    untrained = plain.sample()
    found = [gan.train(8) for gan in (plain, again, noised)]
    torch.testing.assert_close(found[0].samples, found[1].samples, rtol=0, atol=0)
    assert not torch.equal(found[0].samples, untrained)
    assert not torch.equal(found[0].samples, found[2].samples)
    assert [len(one.history) for one in found] == [0, 0, 2]
