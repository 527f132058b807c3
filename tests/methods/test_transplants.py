"""Transplants: how much of a place is new, which hosts fit, and what a step is given."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from antcli.diffusion.examples import Latents, Pixels
from antcli.methods import transplants as module
from antcli.methods.alignment import shifted
from antcli.methods.counterparts import Counterparts
from antcli.methods.transplants import (
    ALIKE,
    CHANGED,
    Transplants,
    filled,
    fitting,
    newness,
    put_on,
    unexplained,
)

SIDE, COUNT, HOSTS = 16, 10, 64
THING = slice(4, 9)


def colours(count: int, seed: int) -> Tensor:
    """[N, 3, 1, 1], far apart."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(20, 236, (count, 3, 1, 1), generator=draw).to(torch.uint8)


def plain(count: int, seed: int) -> Tensor:
    """Images of a colour, with a band of another on the right."""
    images = colours(count, seed).expand(-1, -1, SIDE, SIDE).clone()
    images[..., 12:] = colours(count, seed + 1)
    return images


def wearing(images: Tensor, of: Tensor) -> Tensor:
    """With a thing of some colours in the same place of each."""
    images = images.clone()
    images[:, :, THING, THING] = of
    return images


def around_the_thing(count: int = 1) -> Tensor:
    changed = torch.zeros(count, 1, SIDE, SIDE)
    changed[:, :, 3:10, 3:10] = 1
    return changed


# --- how much of a place is new ------------------------------------------------------------


def test_of_an_image_the_thing_is_new_and_nothing_else() -> None:
    bare = plain(COUNT, 0)
    images = wearing(bare, 255 - bare[:, :, :1, :1])
    found = newness(images, bare.repeat_interleave(3, 0), around_the_thing())
    assert found.shape == (COUNT, 1, SIDE, SIDE)
    expected = torch.zeros_like(found)
    expected[:, :, THING, THING] = 1
    assert torch.equal(found, expected)


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_a_pixel_is_as_new_as_some_on_each_of_its_sides(reach: int) -> None:
    new = torch.rand(2, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    expected = new.clone()
    for n, y, x in itertools.product(range(2), range(9), range(7)):
        sides = [
            [
                float(new[n, 0, y + i * dy, x + i * dx])
                for i in range(1, reach + 1)
                if 0 <= y + i * dy < 9 and 0 <= x + i * dx < 7
            ]
            for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))
        ]
        least = min(max(side, default=0.0) for side in sides)
        expected[n, 0, y, x] = max(float(new[n, 0, y, x]), least)
    assert torch.equal(filled(new, reach), expected)


def test_where_the_source_drew_the_same_in_a_thing_it_has_no_hole() -> None:
    bare = plain(COUNT, 0)
    images = wearing(bare, 255 - bare[:, :, :1, :1])
    drawn = bare.clone()
    drawn[:, :, 6, 6] = images[:, :, 6, 6]
    found = newness(images, drawn.repeat_interleave(3, 0), around_the_thing())
    assert (found[:, :, THING, THING] == 1).all()


def test_what_lies_between_thin_lines_stays() -> None:
    """A whisker is put on others without the cheek that it lies on."""
    bare = torch.full((1, 3, SIDE, SIDE), 200, dtype=torch.uint8)
    images = bare.clone()
    images[:, :, 4:9:2, 4:9] = 40
    found = newness(images, bare, around_the_thing())[0, 0]
    assert (found[4:9:2, 4:9] == 1).all()
    assert (found[5:9:2] == 0).all()


def test_of_more_pixels_than_places_what_lies_around_counts_as_much() -> None:
    """A gap of a pixel in a thing of many is no hole."""
    bare = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    images = bare.clone()
    images[:, :, 20:40, 20:40] = 40
    images[:, :, 30, 30] = 200
    found = newness(images, bare, torch.ones(1, 1, 64, 64))[0, 0]
    assert (found[20:40, 20:40] > 0.7).all()
    assert (found[:16] == 0).all() and (found[44:] == 0).all()


def test_half_of_the_largest_difference_is_all_and_less_is_less() -> None:
    bare = torch.full((1, 3, SIDE, SIDE), 100, dtype=torch.uint8)
    images = bare.clone()
    for row, brighter in ((4, 80), (5, 80), (6, 80), (7, 80), (10, 10)):
        images[:, :, row, 4:9] = 100 + brighter
    found = newness(images, bare, torch.ones(1, 1, SIDE, SIDE))[0, 0]
    assert (found[4:8, 4:9] == 1).all()
    torch.testing.assert_close(found[10, 4:9], torch.full((5,), 10 / (CHANGED * 80)))
    assert (found[[8, 9, 14]] == 0).all()


def test_one_draw_that_went_wrong_does_not_count() -> None:
    bare = plain(COUNT, 0)
    images = wearing(bare, 255 - bare[:, :, :1, :1])
    drawn = bare.repeat_interleave(3, 0)
    expected = newness(images, drawn, around_the_thing())
    drawn[::3] = 255 - drawn[::3]
    torch.testing.assert_close(newness(images, drawn, around_the_thing()), expected)


def test_what_never_differs_is_nowhere_new() -> None:
    images = plain(COUNT, 0)
    found = newness(images, images.repeat_interleave(2, 0), torch.ones(1, 1, SIDE, SIDE))
    assert (found == 0).all()


@pytest.mark.parametrize("count", [1, 3, COUNT, 2 * HOSTS])
def test_what_is_new_explains_a_domain_or_a_part_of_it(count: int) -> None:
    """Of things in two places, on images of the source, one or both."""
    hosts, images = plain(HOSTS, 0), plain(count, 2)
    new = torch.zeros(count, 1, SIDE, SIDE)
    new[:, :, THING, THING] = 1
    places = new[0, 0] > 0
    images = wearing(images, colours(count, 4))
    assert unexplained(images, new, hosts, places) == 0
    images[:, :, 10:15, 4:9] = 128  # of one colour, which a source of all colours may have
    images[:, :, 10:15:2, 4:9:2] = 0  # but not dotted
    other = torch.zeros_like(new)
    other[:, :, 10:15, 4:9] = 1
    both = places | (other[0, 0] > 0)
    assert unexplained(images, new, hosts, both) == pytest.approx(0.5, abs=0.15)
    assert unexplained(images, new.maximum(other), hosts, both) < 0.1
    assert unexplained(images, torch.zeros_like(new), hosts, other[0, 0] > 0) > 0.9


# --- hosts that fit ------------------------------------------------------------------------


def fits(images: Tensor, hosts: Tensor) -> Tensor:
    new = torch.zeros(len(images), 1, SIDE, SIDE)
    new[:, :, THING, THING] = 1
    return fitting(images, new, around_the_thing(len(images)), hosts)


def test_a_thing_of_the_colour_of_the_band_goes_where_the_band_has_it() -> None:
    bare, hosts = plain(COUNT, 0), plain(HOSTS, 7)
    darker = (bare[:, :, :1, 15:].float() * 0.9).to(torch.uint8)
    found = fits(wearing(bare, darker), hosts)
    assert found.shape == (COUNT, HOSTS)
    for image, row in zip(bare, found, strict=True):
        apart = (hosts[:, :, 0, 15].float() - image[:, 0, 15].float()).norm(dim=1)
        assert set(row.tolist()) == set(apart.argsort()[: HOSTS // ALIKE].tolist())


def test_chance_is_taken_for_more_no_more_often_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ORDERS", 200)
    hosts, tries = plain(HOSTS, 7), 100
    bound = 0  # to some hosts; of any colour, a thing goes anywhere
    for seed in range(tries):
        images = wearing(plain(COUNT, 3 * seed), colours(COUNT, 3 * seed + 2))
        bound += int((fits(images, hosts) != torch.arange(HOSTS)).any())
    # A binomial of .05: more than twelve of a hundred are seen in one of a thousand tests.
    assert bound <= 12


def test_a_thing_that_is_the_same_in_all_goes_anywhere() -> None:
    images = wearing(plain(COUNT, 0), torch.tensor([10, 200, 90]).view(1, 3, 1, 1).byte())
    assert (fits(images, plain(HOSTS, 7)) == torch.arange(HOSTS)).all()


def test_where_nothing_is_new_in_one_image_or_everything_in_all_nothing_is_tested() -> None:
    bare, hosts = plain(COUNT, 0), plain(5, 7)
    images = wearing(bare, bare[:, :, :1, 15:])
    new = torch.zeros(COUNT, 1, SIDE, SIDE)
    new[1:, :, THING, THING] = 1
    found = fitting(images, new, around_the_thing(COUNT), hosts)
    assert (found == torch.arange(5)).all()
    new[0] = new[1]
    assert (fitting(images, new, torch.ones_like(new), hosts) == torch.arange(5)).all()
    # Of five hosts one is left.
    assert (fits(images, hosts).diff(dim=1) == 0).all()


# --- what a step is given ------------------------------------------------------------------


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("latent", [True, False])
def test_pairs_against_a_slow_loop(latent: bool, moved: bool) -> None:
    draws, hosts, kept = 3, plain(5, 0), plain(4 * 3, 2)
    draw = torch.Generator().manual_seed(0)
    new = torch.rand(4, 1, SIDE, SIDE, generator=draw)
    fits = torch.tensor([[0, 1, 2, 3, 4], [2] * 5, [-1] * 5, [4, 3, 2, 1, 0]])

    def examples(x: Tensor) -> Pixels | Latents:
        return Latents(x.float(), x.float() + 0.5) if latent else Pixels(x)

    shifts = torch.randint(-4, 5, (4, 5, 2), generator=draw) if moved else None
    transplants = Transplants(examples(hosts), new, fits, t_least=100, shifts=shifts)
    pairs = Counterparts(examples(kept), draws, 0.5, 1.0, transplants)
    images = torch.tensor([0, 1, 2, 3, 3, 0])
    mirrored = torch.tensor([False, True, True, True, False, True])
    t = torch.tensor([100, 400, 300, 250, 99, 0])
    chance = torch.rand(6, 2, generator=draw)
    x_0 = torch.randn(6, 3, SIDE, SIDE, generator=draw)
    *found, same = pairs.pairs(x_0, images, mirrored, t, chance)
    assert same is None  # of the third image nothing is known
    of_all = replace(transplants, fitting=fits.clamp(min=0))
    _, _, same = replace(pairs, transplants=of_all).pairs(x_0, images, mirrored, t, chance)
    for k, (i, flip) in enumerate(zip(images.tolist(), mirrored.tolist(), strict=True)):
        one, turned = torch.tensor([0]), mirrored[k : k + 1]
        expected = (
            x_0[k],
            examples(kept[i * draws + int(chance[k, 0] * draws)][None]).take(one, turned)[0],
        )
        which = int(chance[k, 1] * 5)
        host = int(fits[i, which])
        if int(t[k]) >= 100 and host >= 0:
            other = examples(hosts[host][None]).take(one, turned)[0]
            much, thing = new[i].flip(-1) if flip else new[i], x_0[k]
            if shifts is not None:  # moved, and mirrored then
                axes, by = [-1] if flip else [], shifts[i, which][None]
                much, thing = (shifted(x.flip(axes)[None], by)[0].flip(axes) for x in (much, thing))
            expected = (1 - much) * other + much * thing, other
            torch.testing.assert_close(same[k], 1 - much)
        for one_found, one_expected in zip(found, expected, strict=True):
            torch.testing.assert_close(one_found[k], one_expected)


def test_of_latents_the_autoencoder_has_seen_what_is_put_on_what() -> None:
    fits = torch.tensor([[3, 1], [0, 4], [2, 2]])
    images, hosts = wearing(plain(3, 0), colours(3, 5)), plain(5, 7)
    new = around_the_thing(3) / 2
    made = put_on(images, new, hosts, fits)
    for k, one in enumerate(made):
        expected = (1 - new[k // 2]) * hosts[fits.flatten()[k]] + new[k // 2] * images[k // 2]
        assert (one - expected).abs().max() <= 0.5  # but for rounding
    codes, mirrored = made.float(), torch.tensor([True, False, True])
    each = [x.repeat_interleave(2, 0) for x in (images, new)]
    assert torch.equal(put_on(*each, hosts, fits), made)
    coarse = torch.rand(6, 1, 4, 4)
    worn = Latents(codes[..., ::4, ::4], codes[..., ::4, ::4] + 0.5)
    at = Latents(hosts[..., ::4, ::4].float(), hosts[..., ::4, ::4] + 0.5)
    pairs = Counterparts(worn, 2, 0.5, 1.0, Transplants(at, coarse, fits, 10, worn))
    chance = torch.tensor([[0.1, 0.7], [0.1, 0.2], [0.1, 0.9]])
    i, x_0 = torch.arange(3), torch.zeros(3, 3, 4, 4)
    found, other, kept = pairs.pairs(x_0, i, mirrored, torch.tensor([10, 10, 9]), chance)
    torch.testing.assert_close(found[0], codes[1, :, ::4, ::4] + 0.5)
    torch.testing.assert_close(found[1], codes[2, :, ::4, ::4])
    torch.testing.assert_close(other[0], at.x_0[1] + 0.5)
    torch.testing.assert_close(other[1], at.x_0[0])
    assert (found[2] == 0).all() and kept is not None
    torch.testing.assert_close(kept[0], 1 - coarse[1].flip(-1))
    torch.testing.assert_close(kept[1], 1 - coarse[2])


def test_without_transplants_an_image_stays_as_it_is() -> None:
    kept = plain(6, 0)
    x_0 = torch.randn(3, 3, SIDE, SIDE)
    i, t = torch.arange(3), torch.full((3,), 900)
    pairs = Counterparts(Pixels(kept), 2, 0.5, 1.0)
    found, _, known = pairs.pairs(x_0, i, i > 3, t, torch.rand(3, 2))
    assert found is x_0 and known is None
