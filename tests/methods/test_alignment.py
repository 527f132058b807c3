"""Alignment: how far one image's contrasts lie from another's, and what is moved by it."""

import itertools

import pytest
import torch
from torch import Tensor

from antcli.methods.alignment import (
    FARTHEST,
    alignment,
    contrasts,
    goes_along,
    offsets,
    shifted,
)

SIDE = 32
PLACES = [(0, 0), (2, -1), (-3, 4), (1, 3), (-2, -2), (4, 0)]


def faces(places: list[tuple[int, int]], seed: int = 0, scale: int = 1) -> Tensor:
    """Heads with eyes, each of its own colours, so far down and to the right, uint8."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for down, right in places:
        wall, skin, eyes = torch.randint(0, 256, (3, 3, 1, 1), generator=draw)
        image = wall.expand(3, SIDE, SIDE).clone()
        image[:, 8 + down : 24 + down, 9 + right : 23 + right] = skin
        for left in (12, 18):
            image[:, 13 + down : 15 + down, left + right : left + 2 + right] = eyes
        found.append(image.repeat_interleave(scale, 1).repeat_interleave(scale, 2))
    return torch.stack(found).to(torch.uint8)


def glasses(places: list[tuple[int, int]], scale: int = 1) -> Tensor:
    new = torch.zeros(len(places), 1, SIDE, SIDE)
    for one, (down, right) in zip(new, places, strict=True):
        one[:, 12 + down : 16 + down, 11 + right : 21 + right] = 1
    return new.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def frames(count: int) -> Tensor:
    new = torch.ones(count, 1, SIDE, SIDE)
    new[..., 3:-3, 3:-3] = 0
    return new


def test_offsets_against_a_slow_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 16, 12, generator=draw)
    found = offsets(a, b)
    rows, columns = range(-(16 // FARTHEST), 3), range(-(12 // FARTHEST), 2)
    for i, k in itertools.product(range(3), range(3)):
        best: tuple[float, tuple[int, int]] = (-2.0, (0, 0))
        for down, right in itertools.product(rows, columns):
            pairs = [
                (float(a[i, y - down, x - right]), float(b[k, y, x]))
                for y, x in itertools.product(range(16), range(12))
                if 0 <= y - down < 16 and 0 <= x - right < 12
            ]
            alike = float(torch.corrcoef(torch.tensor(pairs, dtype=torch.float64).T)[0, 1])
            best = max(best, (alike, (down, right)))
        assert tuple(found[i, k].tolist()) == best[1]


def test_faces_of_all_colours_are_found_where_they_are() -> None:
    found = offsets(contrasts(faces(PLACES)), contrasts(faces(PLACES, seed=1)))
    lies = torch.tensor(PLACES)
    within = lies[None] - lies[:, None]
    reached = (within.abs() <= SIDE // FARTHEST).all(-1)
    assert reached.sum() > len(PLACES)
    assert torch.equal(found[reached], within[reached])


def test_where_there_is_nothing_to_be_seen_nothing_is_moved() -> None:
    plain, other = torch.full((2, 16, 16), 3.0), torch.rand(3, 16, 16)
    assert (offsets(plain, other) == 0).all()
    assert (offsets(other, plain) == 0).all()


def test_what_only_some_of_the_draws_have_is_faint() -> None:
    drawn = faces(PLACES, seed=2)
    assert torch.equal(contrasts(drawn), contrasts(drawn.repeat_interleave(4, 0), 4))
    plain = torch.full_like(drawn[:1], 9)
    both = contrasts(torch.cat([drawn[:1], plain]), 2)
    torch.testing.assert_close(both, contrasts(drawn[:1]) / 2)


def test_moved_images_go_on_at_their_edges() -> None:
    x = torch.rand(4, 2, 5, 7)
    by = torch.tensor([[0, 0], [2, -3], [-1, 6], [-4, 1]])
    found = shifted(x, by)
    for n, c, row, column in itertools.product(range(4), range(2), range(5), range(7)):
        down, right = by[n].tolist()
        source = min(max(row - down, 0), 4), min(max(column - right, 0), 6)
        assert found[n, c, row, column] == x[n, c, *source]


@pytest.mark.parametrize("scale", [1, 2])
def test_glasses_go_to_the_eyes(scale: int) -> None:
    """By pixels, of which there are as many as places, or more."""
    hosts = [(1, 1), (-2, 0)]
    draws = faces(PLACES, scale=scale).repeat_interleave(3, 0)
    by = alignment(draws, glasses(PLACES, scale), faces(hosts, seed=1, scale=scale))
    assert by.shape == (len(PLACES), len(hosts), 2)
    reached = 0
    for (i, place), (k, host) in itertools.product(enumerate(PLACES), enumerate(hosts)):
        expected = torch.tensor(host) - torch.tensor(place)
        if expected.abs().max() <= SIDE // FARTHEST:
            reached += 1
            assert torch.equal(by[i, k], expected * scale)
            lies = shifted(glasses([place], scale), by[i, k][None])
            assert torch.equal(lies, glasses([host], scale))
    assert reached > len(PLACES)


def test_a_frame_stays_whoever_is_in_it() -> None:
    draws, hosts = faces(PLACES), faces([(1, 1), (-2, 0)], seed=1)
    assert (alignment(draws, frames(len(PLACES)), hosts) == 0).all()
    within = torch.tensor(PLACES)[None] - torch.tensor(PLACES)[:, None]
    assert goes_along(glasses(PLACES), within)
    assert not goes_along(frames(len(PLACES)), within)


def test_of_one_image_nothing_says_that_it_stays() -> None:
    by = alignment(faces([(0, 0)]), glasses([(0, 0)]), faces([(2, 1)], seed=1))
    assert by.tolist() == [[[2, 1]]]
