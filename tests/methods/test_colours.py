"""Colours that the source never has in a place, and what of an image goes with them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from antcli.methods import places
from antcli.methods.colours import STRANGE, Colours

RED, GREEN = (220, 20, 30), (30, 160, 40)
PALE, SKIN, DARK = (240, 210, 190), (195, 155, 130), (150, 100, 70)
SIZE = 16


def people(count: int) -> Tensor:
    """Plain images of skin, from dark to pale, with some noise: uint8 [N, 3, SIZE, SIZE]."""
    draw = torch.Generator().manual_seed(0)
    share = torch.rand(count, 1, 1, 1, generator=draw)
    pale, dark = (torch.tensor(c).view(1, 3, 1, 1) for c in (PALE, DARK))
    noise = 4 * torch.randn(count, 3, SIZE, SIZE, generator=draw)
    return (dark + share * (pale - dark) + noise).round().clamp(0, 255).to(torch.uint8)


def painted(colour: tuple[int, int, int], where: Tensor) -> Tensor:
    """A person with a colour in some places: uint8 [1, 3, SIZE, SIZE]."""
    image = torch.tensor(SKIN, dtype=torch.uint8).view(3, 1, 1).repeat(1, SIZE, SIZE)
    image[:, where] = torch.tensor(colour, dtype=torch.uint8)[:, None]
    return image[None]


def box(top: int, left: int, bottom: int, right: int) -> Tensor:
    """True inside."""
    found = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    found[top:bottom, left:right] = True
    return found


@pytest.fixture(scope="module")
def known() -> Colours:
    return Colours.of(people(32))


def test_what_is_strange_against_a_slow_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "CELLS", 4)
    own = people(5)
    # Sixteen pixels a place.
    means = own.double().unfold(2, 4, 4).unfold(3, 4, 4).mean((-2, -1))

    def around(image: int, row: int, column: int) -> list[list[float]]:
        near = [(row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1)]
        inside = [(min(max(r, 0), 3), min(max(c, 0), 3)) for r, c in near]
        return [means[image, :, r, c].tolist() for r, c in inside]

    apart = sorted(
        min(
            math.dist(means[image, :, row, column], colour)
            for other in range(5)
            if other != image
            for colour in around(other, row, column)
        )
        for image in range(5)
        for row in range(4)
        for column in range(4)
    )
    at = STRANGE * (len(apart) - 1)
    low, share = int(at), at - int(at)
    expected = apart[low] + share * (apart[low + 1] - apart[low])
    # Colours up to 255 in float32.
    assert Colours.of(own).apart == pytest.approx(expected, rel=1e-4)


def test_skin_that_has_changed_is_not_new_beside_a_mask_of_a_strange_colour(known: Colours) -> None:
    mask, face = box(6, 3, 10, 13), box(2, 2, 14, 14)
    found = known.new(painted(RED, mask), face[None])
    assert torch.equal(found[0], mask)


def test_all_changes_are_new_where_no_colour_is_strange(known: Colours) -> None:
    face = box(2, 2, 14, 14)
    images = torch.cat([painted(SKIN, face), painted(RED, box(6, 3, 10, 13))])
    found = known.new(images, torch.stack([face, face]))
    assert torch.equal(found[0], face) and int(found[1].sum()) == 40


def test_a_colour_that_is_only_strange_elsewhere_goes_with_it() -> None:
    own = people(32)
    own[:, :, :4] = torch.tensor(RED, dtype=torch.uint8)[:, None, None]  # hair
    hat = box(1, 3, 8, 13)
    found = Colours.of(own).new(painted(RED, hat), hat[None])
    assert torch.equal(found[0], hat)


def test_it_goes_on_where_nothing_was_known_to_change_but_not_across_a_gap(known: Colours) -> None:
    ribbon, apart = box(4, 2, 6, 14), box(10, 2, 12, 6)
    image = painted(RED, ribbon | apart)
    found = known.new(image, box(3, 2, 7, 6)[None])
    assert torch.equal(found[0], ribbon)


def test_another_strange_colour_that_has_not_changed_stays(known: Colours) -> None:
    image = painted(RED, box(4, 2, 6, 8))
    image[0, :, 4:6, 8:14] = torch.tensor(GREEN, dtype=torch.uint8)[:, None, None]
    found = known.new(image, box(4, 2, 6, 8)[None])
    assert torch.equal(found[0], box(4, 2, 6, 8))
