"""Where a domain is new: four numbers of each place, their energy distance, what chance does."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from antcli.methods import places
from antcli.methods.places import (
    ALMOST,
    GROUPS,
    NEW,
    PLAIN,
    Places,
    around,
    changes,
    features,
)
from antcli.randomness import generator


def images(count: int, seed: int, size: int = 32) -> Tensor:
    """Each of a colour of its own, with some noise; uint8 [N, 3, H, W]."""
    draw = torch.Generator().manual_seed(seed)
    colours = torch.randint(40, 216, (count, 3, 1, 1), generator=draw)
    noise = torch.randint(-40, 40, (count, 3, size, size), generator=draw)
    return (colours + noise).to(torch.uint8)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four places across an image, for slow loops."""
    monkeypatch.setattr(places, "CELLS", 4)


# --- what is compared ----------------------------------------------------------------------


def slow_features(image: Tensor, cells: int) -> Tensor:
    """Pixel by pixel, in float64, of an image [3, H, W] as numbers [4, cells, cells]."""
    x = image.tolist()
    height, width = image.shape[-2:]

    def contrast(row: int, column: int) -> float:
        here = [channel[row][column] for channel in x]
        right = [channel[row][min(column + 1, width - 1)] for channel in x]
        below = [channel[min(row + 1, height - 1)][column] for channel in x]
        across = max(abs(a - b) for a, b in zip(right, here, strict=True))
        return float(across + max(abs(a - b) for a, b in zip(below, here, strict=True)))

    def pixels(cell: int, size: int) -> range:
        return range(cell * size // cells, math.ceil((cell + 1) * size / cells))

    def cell(number: int, row: int, column: int) -> float:
        there = [(r, c) for r in pixels(row, height) for c in pixels(column, width)]
        values = [contrast(r, c) if number == 3 else float(x[number][r][c]) for r, c in there]
        return sum(values) / len(values)

    def inside(place: int) -> int:
        return min(max(place, 0), cells - 1)

    found = torch.zeros(4, cells, cells, dtype=torch.float64)
    for number in range(4):
        for row in range(cells):
            for column in range(cells):
                near = [(row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1)]
                values = [cell(number, inside(r), inside(c)) for r, c in near]
                found[number, row, column] = sum(values) / 9
    return found


@pytest.mark.parametrize("size", [8, 10])
def test_features_against_a_slow_loop(size: int, coarse: None) -> None:
    given = images(3, 1, size)
    expected = torch.stack([slow_features(image, 4) for image in given])
    # Numbers up to 510 in float32.
    torch.testing.assert_close(features(given).double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("size", "across"), [(8, 8), (16, 16), (32, 32), (80, 32)])
def test_small_images_have_as_many_places_as_pixels(size: int, across: int) -> None:
    assert features(images(2, 1, size)).shape == (2, 4, across, across)


# --- how far apart -------------------------------------------------------------------------


def numbers_of(given: Tensor) -> list[list[list[float]]]:
    """By place and image."""
    return features(given).double().permute(2, 3, 0, 1).flatten(0, 1).tolist()


def slow_distances(given: Tensor, own: Tensor) -> list[float]:
    """In float64, place by place and pair by pair."""
    others = numbers_of(own)

    def spread(place: list[list[float]], number: int) -> float:
        values = [vector[number] for vector in place]
        mean = sum(values) / len(values)
        return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))

    spreads = [[spread(place, number) for number in range(4)] for place in others]
    means = [sum(s[number] for s in spreads) / len(spreads) for number in range(4)]
    found = []
    for a, b, own_spread in zip(numbers_of(given), others, spreads, strict=True):
        unit = [s + PLAIN * mean for s, mean in zip(own_spread, means, strict=True)]

        def apart(one: list[float], two: list[float], unit: list[float] = unit) -> float:
            return math.dist(*([v / u for v, u in zip(x, unit, strict=True)] for x in (one, two)))

        def within(all_of: list[list[float]], apart: Callable[..., float] = apart) -> float:
            pairs = [(i, j) for i in range(len(all_of)) for j in range(i)]
            return sum(apart(all_of[i], all_of[j]) for i, j in pairs) / len(pairs)

        between = sum(apart(one, two) for one in a for two in b) / (len(a) * len(b))
        inside = within(a) if len(a) > 1 else within(b)
        found.append((2 * between - inside - within(b)) / within(b))
    return found


@pytest.mark.parametrize("count", [1, 2, 5])
def test_distances_against_a_slow_loop(count: int, coarse: None) -> None:
    given, own = images(count, 1, 8), images(7, 2, 8)
    given[:, 2, :4, :4] = 200
    found = Places.of(own).distances(given)
    assert found.shape == (4, 4)
    # Distances of about 1 in float32, of which cdist of so few keeps five digits.
    assert found.flatten().tolist() == pytest.approx(slow_distances(given, own), abs=1e-4)


def test_a_place_that_never_changes_has_units_that_are_not_zero(coarse: None) -> None:
    given, own = images(4, 1, 8), images(7, 2, 8)
    own[:, :, :5, :5] = given[:, :, :5, :5] = 100
    assert Places.of(own).distances(given)[0, 0] == 0
    given[:, :, :5, :5] = 110
    found = Places.of(own).distances(given)
    assert torch.isfinite(found).all()
    assert found[0, 0] > found[2:, 2:].max()


@pytest.mark.parametrize("count", [1, 5])
def test_images_of_the_source_itself_are_at_no_distance(count: int, coarse: None) -> None:
    """Unbiased: the mean over many sets of both is 0."""
    everything = images((24 + count) * 60, 3, 4).split(24 + count)
    found = torch.stack([Places.of(x[count:]).distances(x[:count]).mean() for x in everything])
    assert found.mean().abs() < 4 * found.std() / len(found) ** 0.5
    assert found.std() / len(found) ** 0.5 < 0.05  # counting an image with itself: 0.2


def test_the_order_of_images_does_not_matter() -> None:
    given, own = images(10, 4), images(64, 5)
    turned = Places.of(own[torch.randperm(64)]).distances(given[torch.randperm(10)])
    torch.testing.assert_close(turned, Places.of(own).distances(given), rtol=0, atol=1e-4)


# --- what chance does ----------------------------------------------------------------------


@pytest.mark.parametrize(("count", "taken"), [(1, 1), (3, 3), (4, 4), (40, 4)])
@pytest.mark.parametrize("share", [NEW, 0.5])
def test_chance_against_drawing_the_groups_themselves(
    count: int, taken: int, share: float, coarse: None
) -> None:
    """Each group of the source's own against the rest; half of them at most."""
    found = Places.of(images(9, 6, 8))
    own, distances = found.own.double(), []
    for group in range(GROUPS):
        order = torch.randperm(9, generator=generator(group, "places"))
        for place in own:
            some, rest = place[order[:taken]], place[order[taken:]]
            within = torch.pdist(rest).mean()
            inside = torch.pdist(some).mean() if taken > 1 else within
            distances.append((2 * torch.cdist(some, rest).mean() - inside - within) / within)
    expected = float(torch.stack(distances).quantile(share))
    assert found.by_chance(count, share) == pytest.approx(expected, abs=1e-4)


def test_more_images_differ_less_by_chance() -> None:
    found = Places.of(images(64, 7))
    levels = [found.by_chance(count) for count in (1, 2, 5, 10, 30)]
    assert levels == sorted(levels, reverse=True)
    assert found.by_chance(10, 0.9) < found.by_chance(10, 0.975) < found.by_chance(10)


def new_places(given: Tensor, own: Tensor) -> Tensor:
    return Places.of(own).new(given)[0]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_what_is_put_on_at_one_place_is_found_there_and_hardly_elsewhere(size: int) -> None:
    given, own = images(10, 8, size), images(64, 9, size)
    top, bottom, left, right = size // 4, size // 2, size // 8, size // 2
    given[:, :, top:bottom, left:right] = 20
    new = new_places(given, own)
    scale = new.shape[-1] / size
    rows, columns = (
        slice(round(a * scale), round(b * scale)) for a, b in ((top, bottom), (left, right))
    )
    assert new[rows, columns].all()
    near = torch.zeros_like(new)
    near[max(rows.start - 2, 0) : rows.stop + 2, max(columns.start - 2, 0) : columns.stop + 2] = 1
    assert new[~near].float().mean() < 0.1


@pytest.mark.parametrize("count", [1, 10])
def test_another_finish_is_found_everywhere(count: int) -> None:
    given, own = images(count, 8).float(), images(64, 9)
    paper = (215 + given.mean(1, keepdim=True) / 8).expand(-1, 3, -1, -1).to(torch.uint8)
    assert new_places(paper, own).float().mean() > 0.95


@pytest.mark.parametrize("count", [1, 2, 10])
def test_images_of_the_source_itself_are_new_hardly_anywhere(count: int) -> None:
    own = images(64, 9)
    shares = [new_places(images(count, seed), own).float().mean() for seed in range(10, 15)]
    assert torch.stack(shares).median() < 0.05


def test_what_is_almost_new_counts_beside_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    given, found = images(10, 8), Places.of(images(64, 9))
    new, almost = found.by_chance(10), found.by_chance(10, ALMOST)
    assert almost < new
    far = torch.zeros(32, 32)
    far[4:6, 4:6] = new + 0.1
    far[6, 6:20] = far[7:12, 20] = far[20:22, 20:22] = (new + almost) / 2
    far[12:15, 20] = almost - 0.01
    far[31, 0] = new + 0.1
    monkeypatch.setattr(Places, "distances", lambda places, images: far)
    surely, joined = found.new(given)
    assert torch.equal(surely, far > new)
    expected = surely.clone()  # and a way that turns, but nothing beyond a gap
    expected[6, 6:20] = expected[7:12, 20] = True
    assert torch.equal(joined, expected)


# --- what is drawn anew --------------------------------------------------------------------


def test_changes_are_where_an_image_differs_from_what_was_drawn_and_may() -> None:
    given = torch.full((2, 3, 32, 32), 120, dtype=torch.uint8)
    given[0, :, 4:10, 4:10] = 20
    given[1, 0, 20:26, 20:26] = 220
    given[1, :, 2:8, 24:30] = 110  # a tenth of the largest difference
    drawn = torch.full((2, 3, 3, 32, 32), 120, dtype=torch.uint8)
    drawn[:, 1, :, 12:18, 12:18] = 240  # one of three draws is no median
    among = torch.ones(32, 32, dtype=torch.bool)
    found = changes(given, drawn.flatten(0, 1), among)
    expected = torch.zeros(2, 32, 32, dtype=torch.bool)
    expected[0, 4:10, 4:10] = expected[1, 20:26, 20:26] = True
    # The mean of nine places blurs a corner.
    assert (found ^ expected).sum() <= 8 and not (found & ~expected).any()
    among[:, :16] = False
    found = changes(given, drawn.flatten(0, 1), among)
    assert not found[0].any() and found[1].any()


def at(*where: tuple[int, int], across: int = 16) -> Tensor:
    new = torch.zeros(across, across, dtype=torch.bool)
    for row, column in where:
        new[row, column] = True
    return new


def test_one_place_around_what_is_new_is_drawn_anew() -> None:
    found = around(torch.stack([at((5, 3)), at((9, 12))]), 1, (16, 16))
    expected = torch.zeros(2, 1, 16, 16)
    expected[0, :, 4:7, 2:5] = expected[1, :, 8:11, 11:14] = 1
    assert torch.equal(found, expected)


def test_with_more_reach_there_is_a_rim() -> None:
    found = around(at((16, 8), across=32)[None], 4, (32, 32))[0, 0]
    assert (found[14:19, 6:11] == 1).all()
    assert (found[:10] == 0).all() and (found[23:] == 0).all() and (found[:, :2] == 0).all()
    row = found[16, 0:9]  # from without to the place itself: a rim five wide
    torch.testing.assert_close(row, torch.tensor([0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1]))


@pytest.mark.parametrize("reach", [1, 4])
@pytest.mark.parametrize("size", [(8, 8), (16, 16), (40, 40), (64, 48)])
def test_it_is_made_for_images_of_any_size(reach: int, size: tuple[int, int]) -> None:
    found = around(at((0, 0), (7, 6))[None], reach, size)
    assert found.shape == (1, 1, *size)
    assert found.min() >= 0 and found.max() <= 1 + 1e-6
    mirrored = around(at((0, 0), (7, 6))[None].flip(-1), reach, size)
    torch.testing.assert_close(found, mirrored.flip(-1), rtol=0, atol=1e-6)
    assert found[0, 0, 0, 0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("reach", [1, 4])
def test_nothing_new_leaves_all_and_all_new_leaves_nothing(reach: int) -> None:
    for fill in (False, True):
        found = around(torch.full((1, 16, 16), fill), reach, (32, 32))
        torch.testing.assert_close(found, torch.full_like(found, fill), rtol=0, atol=1e-6)
