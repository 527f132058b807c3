"""Counterparts: how far to noise, whether colours are new, and which of them a step is given."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from method_steps import as_step
from torch import Tensor

from antcli.diffusion.examples import Latents, Pixels
from antcli.diffusion.path import BetaPath, Path, StraightPath
from antcli.methods.counterparts import (
    NEW_FROM,
    Counterparts,
    colour_distance,
    joined,
    levels,
)

LINEAR = BetaPath.linear()
SIDES = (8, 16, 32, 64, 128, 256)


def coloured(count: int, seed: int, size: int = 8) -> Tensor:
    """Images of a colour of their own each, with some noise; uint8."""
    draw = torch.Generator().manual_seed(seed)
    colours = torch.randint(40, 216, (count, 3, 1, 1), generator=draw)
    noise = torch.randint(-40, 40, (count, 3, size, size), generator=draw)
    return (colours + noise).to(torch.uint8)


def grey(images: Tensor) -> Tensor:
    return images.float().mean(1, keepdim=True).expand(-1, 3, -1, -1).round().to(torch.uint8)


# --- colours -------------------------------------------------------------------------------


def slow_distance(images: Tensor, own: Tensor) -> float:
    """In float64, pair by pair, of 8x8 images with 2x2 pixels in a cell."""

    def cells(image: Tensor) -> list[float]:
        rows = image.double().tolist()
        return [
            sum(channel[2 * y + dy][2 * x + dx] for dy in (0, 1) for dx in (0, 1)) / 4
            for channel in rows
            for y in range(4)
            for x in range(4)
        ]

    a, b = [cells(image) for image in images], [cells(image) for image in own]
    means = [sum(column) / len(b) for column in zip(*b, strict=True)]
    spread = [
        (sum((v - mean) ** 2 for v in column) / (len(b) - 1)) ** 0.5
        for column, mean in zip(zip(*b, strict=True), means, strict=True)
    ]
    least = sum(spread) / len(spread) / 10

    def apart(one: list[float], two: list[float]) -> float:
        scaled = ((x - y) / max(s, least) for x, y, s in zip(one, two, spread, strict=True))
        return sum(d * d for d in scaled) ** 0.5

    def within(all_of: list[list[float]]) -> float:
        pairs = [(i, j) for i in range(len(all_of)) for j in range(i)]
        return sum(apart(all_of[i], all_of[j]) for i, j in pairs) / len(pairs)

    between = sum(apart(x, y) for x in a for y in b) / (len(a) * len(b))
    inside = within(a) if len(a) > 1 else within(b)
    return (2 * between - inside - within(b)) / within(b)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("change", [lambda images: images, grey])
def test_the_distance_of_colours_against_a_slow_loop(
    count: int, change: Callable[[Tensor], Tensor]
) -> None:
    images, own = change(coloured(count, 1)), coloured(7, 2)
    # Distances of about 1 in float32, a few subtracted.
    expected = pytest.approx(slow_distance(images, own), abs=1e-4)
    assert colour_distance(images, own) == expected


def test_a_cell_that_never_changes_counts_in_units_that_are_not_zero() -> None:
    images, own = coloured(4, 1), coloured(7, 2)
    own[:, :, :2, :2] = 100
    expected = pytest.approx(slow_distance(images, own), rel=1e-4)
    assert colour_distance(images, own) == expected


@pytest.mark.parametrize("count", [1, 10])
def test_images_of_the_source_itself_are_at_no_distance(count: int) -> None:
    """Unbiased: the mean over many draws is 0, and few images stay below what counts as new."""
    everything = coloured(64 + 40 * count, 3)
    own, others = everything[:64], everything[64:].split(count)
    found = torch.tensor([colour_distance(images, own) for images in others])
    assert found.mean().abs() < 4 * found.std() / len(found) ** 0.5
    if count == 10:
        assert found.max() < NEW_FROM
        assert found.std() < 0.1


def test_grey_images_are_far_from_coloured_ones() -> None:
    """Where colours have a side to which they lean, as those of faces have."""
    warm = torch.tensor([30, 0, -30]).view(3, 1, 1)
    images, own = ((coloured(n, n).int() + warm).clamp(0, 255).byte() for n in (10, 64))
    assert colour_distance(grey(images), own) > NEW_FROM
    paper = 255 - coloured(10, 4) // 8
    assert colour_distance(grey(paper), own) > 3 * NEW_FROM
    assert colour_distance(images, own) < NEW_FROM


def test_the_order_of_images_does_not_matter() -> None:
    images, own = grey(coloured(10, 4)), coloured(64, 5)
    turned = colour_distance(images[torch.randperm(10)], own[torch.randperm(64)])
    assert turned == pytest.approx(colour_distance(images, own), rel=1e-5)


# --- how far to noise ----------------------------------------------------------------------


def test_levels_of_the_betas_that_they_were_found_on() -> None:
    """0.4 and 0.5 T of Ho et al.'s betas at 32 pixels, and 0.9 T where colours are new."""
    # To a thousandth of the path: the levels are written with three digits.
    assert levels(False, LINEAR, 32) == pytest.approx((0.4, 0.5), abs=1.1e-3)
    assert levels(True, LINEAR, 32) == pytest.approx((0.9, 0.9), abs=1.1e-3)


@pytest.mark.parametrize("path", [LINEAR, StraightPath()])
@pytest.mark.parametrize("new_colours", [True, False])
def test_larger_images_are_noised_more(path: Path, new_colours: bool) -> None:
    found = [levels(new_colours, path, side) for side in SIDES]
    for smaller, larger in itertools.pairwise(found):
        assert smaller[0] <= larger[0]
        assert smaller[1] <= larger[1]
    assert all(0 < resampled <= limit <= 1 for resampled, limit in found)
    assert len(set(found)) > 3


def test_twice_the_side_wants_twice_the_noise_over_the_image() -> None:
    def ratio(share: float) -> float:
        alpha, sigma = LINEAR.alpha_sigma(torch.tensor([LINEAR.at(share)]), torch.empty(1))
        return float(sigma / alpha)

    for small, large in zip(levels(False, LINEAR, 32), levels(False, LINEAR, 64), strict=True):
        # As near as a thousandth of the path is.
        assert ratio(large) == pytest.approx(2 * ratio(small), rel=0.02)


# --- what stays of an image ---------------------------------------------------------------


def slow_joined(x_0: Tensor, resampled: Tensor, reach: int) -> Tensor:
    """Pixel by pixel, of one image [C, H, W]."""
    _, height, width = x_0.shape
    places = [(y, x) for y in range(height) for x in range(width)]

    def around(y: int, x: int) -> list[tuple[int, int]]:
        near = range(-reach, reach + 1)
        there = [(y + dy, x + dx) for dy in near for dx in near]
        return [place for place in there if place in apart]

    apart = {(y, x): float((resampled - x_0)[:, y, x].abs().max()) for y, x in places}
    smooth = {}
    for y, x in places:
        near = [apart[place] for place in around(y, x)]
        smooth[y, x] = sum(near) / len(near)
    changed = {place: value >= max(smooth.values()) / 2 for place, value in smooth.items()}
    found = x_0.clone()
    for y, x in places:
        if any(changed[place] for place in around(y, x)):
            found[:, y, x] = resampled[:, y, x]
    return found


@pytest.mark.parametrize(("side", "reach"), [(8, 1), (64, 2)])
def test_an_image_is_kept_but_for_what_has_changed(side: int, reach: int) -> None:
    draw = torch.Generator().manual_seed(0)
    x_0 = torch.randn(2, 3, side, side, generator=draw, dtype=torch.float64)
    resampled = x_0 + 0.1 * torch.randn(x_0.shape, generator=draw, dtype=torch.float64)
    resampled[:, :, 2:5, 1:4] += 2  # glasses, say
    found = joined(x_0, resampled)
    expected = torch.stack([slow_joined(a, b, reach) for a, b in zip(x_0, resampled, strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (found[:, :, 2:5, 1:4] == resampled[:, :, 2:5, 1:4]).all()
    assert (found == x_0).float().mean() > 0.2


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
    counterparts = Counterparts(kept, draws, 0.5, 1.0, new_colours=False)
    images, chosen = torch.tensor([2, 0, 3, 3]), torch.tensor([0, 2, 1, 2])
    mirrored = torch.tensor([False, True, True, False])
    like = torch.zeros(4, 3, 4, 4, dtype=torch.float64)
    step = as_step(like, like, torch.tensor([1, 2, 3, 4]))
    within = torch.tensor([0, 0.5, 0.1, 0.99])
    chance = torch.stack([(chosen + within) / draws, torch.rand(4)], 1)
    step = replace(step, images=images, mirrored=mirrored, chance=chance)
    found = counterparts.of(step)
    expected = x_0[images * draws + chosen].double()
    if latent:
        expected = expected + 0.5 * mirrored.view(-1, 1, 1, 1)
    else:
        turned = [x.flip(-1) if m else x for x, m in zip(expected, mirrored, strict=True)]
        expected = (torch.stack(turned).float() / 127.5 - 1).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_chance_reaches_every_draw_and_none_beyond() -> None:
    like = torch.zeros(2, 3, 4, 4)
    step = as_step(like, like, torch.tensor([1, 2]))
    for draws in (1, 7, 10, 16):
        counterparts = Counterparts(Pixels(numbered(2, draws)), draws, 0.5, 1.0, False)
        most = torch.nextafter(torch.ones(2, 2), torch.zeros(2, 2))
        for chance, draw in ((torch.zeros(2, 2), 0), (most, draws - 1)):
            given = replace(step, chance=chance)
            found = ((counterparts.of(given)[:, 0, 0, 0] + 1) * 127.5).round().tolist()
            assert found == [draw, draws + draw]
