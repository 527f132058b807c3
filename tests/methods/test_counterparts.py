"""Counterparts: ways to draw them, how far to noise, and which of them a step is given."""

import itertools

import pytest
import torch
from torch import Tensor

from antcli.diffusion.examples import Latents, Pixels
from antcli.diffusion.path import BetaPath, Path, StraightPath
from antcli.methods.counterparts import (
    LADDER,
    Counterparts,
    CounterpartSettings,
    Rung,
    asked_for,
    draws_of_each,
    shares,
)

LINEAR = BetaPath.linear()
SIDES = (8, 16, 32, 64, 128, 256)
SHARES = ((5, 5), (6, 5), (6, 5), (5, 5), (6, 6), (7, 9), (8, 9), (9, 9))
"""Of the ladder, in tenths of the path of Ho et al.'s betas at 32 pixels."""


# --- how far to noise ----------------------------------------------------------------------


def test_the_ladder_on_the_betas_that_it_was_found_on() -> None:
    for rung, tenths in zip(LADDER, SHARES, strict=True):
        # To a thousandth of the path: the levels are written with three digits.
        expected = pytest.approx([tenth / 10 for tenth in tenths], abs=1.1e-3)
        assert shares(rung, LINEAR, 32) == expected


def test_the_ladder_leaves_less_and_less_of_an_image() -> None:
    """First a part is drawn anew, then more of it, of more noise; then all of it is."""
    parts = [rung for rung in LADDER if rung.reach is not None]
    wholes = [rung for rung in LADDER if rung.reach is None]
    assert [*parts, *wholes] == list(LADDER)
    for rungs in (parts, wholes):
        levels = [(rung.noise, rung.reach or 0) for rung in rungs]
        limits, reach = [rung.limit for rung in rungs], [rung.reach or 0 for rung in rungs]
        assert levels == sorted(set(levels)) and limits == sorted(limits)
        assert reach == sorted(reach)
    assert all(rung.noise <= rung.limit for rung in wholes)


@pytest.mark.parametrize("path", [LINEAR, StraightPath()])
@pytest.mark.parametrize("rung", LADDER)
def test_larger_images_are_noised_more(path: Path, rung: Rung) -> None:
    found = [shares(rung, path, side) for side in SIDES]
    for smaller, larger in itertools.pairwise(found):
        assert smaller[0] <= larger[0]
        assert smaller[1] <= larger[1]
    assert all(0 < noise <= 1 and 0 < limit <= 1 for noise, limit in found)
    assert len(set(found)) > 3


def test_twice_the_side_wants_twice_the_noise_over_the_image() -> None:
    def ratio(share: float) -> float:
        alpha, sigma = LINEAR.alpha_sigma(torch.tensor([LINEAR.at(share)]), torch.empty(1))
        return float(sigma / alpha)

    small, large = (shares(LADDER[0], LINEAR, side) for side in (32, 64))
    for one, other in zip(small, large, strict=True):
        # As near as a thousandth of the path is.
        assert ratio(other) == pytest.approx(2 * ratio(one), rel=0.02)


@pytest.mark.parametrize(
    ("noise", "t_limit"), [(0.1, 0.1), (0.4, 0.4), (0.6, 0.6), (0.7, 0.9), (0.9, 0.9), (1.0, 1.0)]
)
def test_noise_that_is_asked_for_is_taken(noise: float, t_limit: float) -> None:
    """The source predicts alone above it; or, where colours do not outlast it, above 0.9 T."""
    found, limit = asked_for(noise, LINEAR, 32)
    assert found == noise
    assert limit == pytest.approx(t_limit, abs=1.1e-3)


@pytest.mark.parametrize("path", [LINEAR, StraightPath()])
@pytest.mark.parametrize("side", [16, 64])
def test_what_a_rung_without_a_part_says_may_be_asked_for(path: Path, side: int) -> None:
    for rung in LADDER:
        if rung.reach is not None:
            continue
        noise, limit = shares(rung, path, side)
        assert asked_for(noise, path, side) == (noise, limit)


@pytest.mark.parametrize("path", [LINEAR, StraightPath()])
def test_any_share_may_be_asked_for(path: Path) -> None:
    for side in (16, 256):
        for place in (1, 10, 20):
            noise, limit = asked_for(place / 20, path, side)
            assert 0 < noise == place / 20 <= limit <= 1


# --- which of them -------------------------------------------------------------------------


def numbered(images: int, draws: int) -> Tensor:
    """Images [N, 3, 4, 4] of their own number, the rightmost column 0."""
    x_0 = torch.arange(images * draws).view(-1, 1, 1, 1).repeat(1, 3, 4, 4)
    x_0[..., -1] = 0
    return x_0.to(torch.uint8)


@pytest.mark.parametrize("latent", [True, False])
def test_a_step_is_given_draw_k_of_image_i_mirrored_as_it_is(latent: bool) -> None:
    draws, x_0 = 3, numbered(4, 3)
    kept = Latents(x_0.double(), x_0.double() + 0.5) if latent else Pixels(x_0)
    counterparts = Counterparts(kept, draws, 0.5, 1.0)
    images, chosen = torch.tensor([2, 0, 3, 3]), torch.tensor([0, 2, 1, 2])
    mirrored = torch.tensor([False, True, True, False])
    like = torch.zeros(4, 3, 4, 4, dtype=torch.float64)
    within = torch.tensor([0, 0.5, 0.1, 0.99])
    chance = torch.stack([(chosen + within) / draws, torch.rand(4)], 1)
    _, found, _ = counterparts.pairs(like, images, mirrored, torch.arange(4), chance)
    expected = x_0[images * draws + chosen].double()
    if latent:
        expected = expected + 0.5 * mirrored.view(-1, 1, 1, 1)
    else:
        turned = [x.flip(-1) if m else x for x, m in zip(expected, mirrored, strict=True)]
        expected = (torch.stack(turned).float() / 127.5 - 1).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_chance_reaches_every_draw_and_none_beyond() -> None:
    like, images = torch.zeros(2, 3, 4, 4), torch.arange(2)
    for draws in (1, 7, 10, 16):
        counterparts = Counterparts(Pixels(numbered(2, draws)), draws, 0.5, 1.0)
        most = torch.nextafter(torch.ones(2, 2), torch.zeros(2, 2))
        for chance, draw in ((torch.zeros(2, 2), 0), (most, draws - 1)):
            _, found, _ = counterparts.pairs(like, images, images > 1, images, chance)
            numbers = ((found[:, 0, 0, 0] + 1) * 127.5).round().tolist()
            assert numbers == [draw, draws + draw]


def test_many_images_have_fewer_draws_each() -> None:
    settings = CounterpartSettings(draws=16)
    found = {count: draws_of_each(settings, count) for count in (1, 10, 20, 40, 50, 1000)}
    assert found == {1: 16, 10: 16, 20: 16, 40: 8, 50: 6, 1000: 2}
    assert draws_of_each(CounterpartSettings(draws=1), 1000) == 1
