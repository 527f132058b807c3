import hashlib
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from antcli.drawn_faces.domains import DOMAINS, attributes, avatar, render
from antcli.drawn_faces.finishes import CELLS, GAP, GROUT, OILS, OUTLINE, TILE, TILES, mosaic
from antcli.drawn_faces.pen import Colour
from antcli.drawn_faces.people import (
    BACKGROUNDS,
    BEARDS,
    CAPES,
    CLOTHES,
    FACE_PAINTS,
    HAIR_COLOURS,
    HAIR_STYLES,
    HAT_COLOURS,
    HATS,
    IRIS_COLOURS,
    LENS_COLOURS,
    LENSES,
    MASK_COLOURS,
    MASKS,
    MOUTHS,
    PAINT_COLOURS,
    RIMS,
    SCARVES,
    SKIN_TONES,
    Attributes,
)

Pixels = npt.NDArray[np.int64]
COLOURED = ("avatars", "sunglasses", "babies", "hats")
"""Domains that are painted in the person's own colours."""
DRAWN_BEFORE = {
    "avatars": "b2f2acc9a531056f",
    "sunglasses": "489816c02267945a",
    "babies": "13c747b26728e7e0",
    "sketches": "eafda2a19a29cbd3",
    "paintings": "de3005c4ef317fde",
}
"""SHA-256 of the drawings that the carried sources and the benchmarks were made with."""
SHARED = (
    *("skin", "hair", "clothes", "background", "iris", "mouth", "head_x", "brow_tilt"),
    *("skin_rgb", "hair_rgb", "clothes_rgb", "background_rgb"),
)


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image).astype(np.int64)


def patch(image: Pixels, x: float, y: float, width: float, height: float) -> Pixels:
    """The pixels of a box; its centre and sides are fractions of the image's side."""
    side = len(image)
    rows = slice(round((y - height / 2) * side), round((y + height / 2) * side))
    return image[rows, round((x - width / 2) * side) : round((x + width / 2) * side)]


def share_of(image: Pixels, colour: Colour) -> float:
    """The share of pixels that are of a colour, give or take a rounding."""
    return float((np.abs(image - colour).max(axis=-1) <= 2).mean())


# --- seeds ---------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_seed_is_one_drawing(domain: str) -> None:
    drawings = [avatar(seed, 32, domain) for seed in (0, 1, 2, 3)]
    again = [avatar(seed, 32, domain) for seed in (3, 2, 1, 0)][::-1]
    assert [image.tobytes() for image, _ in drawings] == [image.tobytes() for image, _ in again]
    assert [person for _, person in drawings] == [person for _, person in again]
    assert len({image.tobytes() for image, _ in drawings}) == 4


@pytest.mark.parametrize(("domain", "expected"), DRAWN_BEFORE.items())
def test_drawings_stay_as_they_were(domain: str, expected: str) -> None:
    images = [avatar(seed, 32, domain)[0] for seed in range(8)] + [avatar(8, 64, domain)[0]]
    drawn = hashlib.sha256(b"".join(image.tobytes() for image in images))
    assert drawn.hexdigest()[:16] == expected


PAINTED = {"aliens": {"skin_rgb"}, "vampires": {"skin_rgb"}, "clowns": {"hair_rgb"}}
"""What is of another colour than the person's own."""


@pytest.mark.parametrize("domain", [domain for domain in DOMAINS if domain != "avatars"])
def test_a_seed_is_the_same_person_in_every_domain(domain: str) -> None:
    for seed in range(20):
        source, target = attributes(seed), attributes(seed, domain)
        for name in set(SHARED) - PAINTED.get(domain, set()):
            assert getattr(target, name) == getattr(source, name)


def test_a_drawing_comes_with_its_attributes() -> None:
    image, person = avatar(11, 32, "sunglasses")
    assert person == attributes(11, "sunglasses")
    assert image.tobytes() == render(person, 32, "sunglasses").tobytes()
    values = json.loads(json.dumps(person.as_dict()))
    assert values["skin"] == person.skin
    assert tuple(values["hair_rgb"]) == person.hair_rgb


def test_an_unknown_domain_is_refused() -> None:
    for draw in (attributes, lambda seed, domain: avatar(seed, 32, domain)):
        with pytest.raises(ValueError, match=r"'goggles'.*avatars, sunglasses, babies"):
            draw(0, "goggles")


def test_everything_occurs() -> None:
    people = [attributes(seed) for seed in range(300)]
    for name, kinds in (
        ("skin", SKIN_TONES),
        ("hair_style", HAIR_STYLES),
        ("hair", HAIR_COLOURS),
        ("clothes", CLOTHES),
        ("iris", IRIS_COLOURS),
        ("mouth", MOUTHS),
    ):
        counts = Counter(getattr(person, name) for person in people)
        assert set(counts) == set(kinds)
        # As often as each other: 5 standard deviations of a fair draw.
        fair = 300 / len(kinds)
        assert all(abs(count - fair) < 5 * fair**0.5 for count in counts.values())
    shaded = [attributes(seed, "sunglasses") for seed in range(100)]
    assert {person.lenses for person in shaded} == set(LENSES)
    assert {person.lens for person in shaded} == set(LENS_COLOURS)
    hatted = [attributes(seed, "hats") for seed in range(100)]
    assert {(person.hat, person.hat_colour) for person in hatted} == {
        (hat, colour) for hat in HATS for colour in HAT_COLOURS
    }
    painted = [attributes(seed, "face-paint") for seed in range(100)]
    assert {(person.face_paint, person.paint) for person in painted} == {
        (pattern, colour) for pattern in FACE_PAINTS for colour in PAINT_COLOURS
    }
    assert {attributes(seed, "beards").beard for seed in range(60)} == set(BEARDS)
    for domain, names, kinds, colours in (
        ("masks", ("mask", "mask_colour"), MASKS, MASK_COLOURS),
        ("scarves", ("scarf", "scarf_colour"), SCARVES, HAT_COLOURS),
    ):
        worn = [attributes(seed, domain) for seed in range(150)]
        found = {tuple(getattr(person, name) for name in names) for person in worn}
        assert found == {(kind, colour) for kind in kinds for colour in colours}
    babies = {attributes(seed, "babies").hair_style for seed in range(100)}
    assert babies == {"bald", "tuft", "down"}


# --- sizes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_any_size_shows_the_same_drawing(domain: str) -> None:
    side = 128 if domain == "paintings" else 256  # its broad strokes take seconds at 256
    large = avatar(4, side, domain)[0]
    assert large.size == (side, side)
    for size in (32, 50, 64):
        image = avatar(4, size, domain)[0]
        assert image.mode == "RGB"
        assert image.size == (size, size)
        reduced = large.resize((size, size), Image.Resampling.BOX)
        # Widths of lines round to other pixels: 3 at most. Another seed is 10 and more away.
        assert np.abs(pixels(image) - pixels(reduced)).mean() < 5


# --- the truth in the pixels ---------------------------------------------------------------


@pytest.mark.parametrize("domain", COLOURED)
def test_named_colours_are_where_they_belong(domain: str) -> None:
    for seed in range(30):
        image, person = avatar(seed, 128, domain)
        drawn = pixels(image)
        cheek_x = person.head_x + 0.3 * person.head_width
        cheek = patch(drawn, cheek_x, person.head_y + 0.175, 0.02, 0.02)
        assert share_of(cheek, person.skin_rgb) == 1
        assert share_of(patch(drawn, person.head_x, 0.98, 0.04, 0.02), person.clothes_rgb) == 1
        assert share_of(drawn[:1, :3], person.background_rgb) == 1


def test_every_iris_has_its_colour() -> None:
    for seed in range(20):
        image, person = avatar(seed, 256)
        eye_x = person.head_x + person.eye_gap / 2 + 0.3 * person.eye_size
        iris = patch(pixels(image), eye_x, person.head_y + person.eye_height, 0.01, 0.01)
        assert share_of(iris, IRIS_COLOURS[person.iris]) > 0.5


def test_sunglasses_darken_the_eyes_and_nothing_below() -> None:
    for seed in range(30):
        bare, person = avatar(seed, 64)
        shaded = pixels(avatar(seed, 64, "sunglasses")[0])
        eyes_y = person.head_y + person.eye_height
        for side in (-1, 1):
            box = (person.head_x + side * person.eye_gap / 2, eyes_y, 0.12, 0.10)
            before, after = patch(pixels(bare), *box).mean(), patch(shaded, *box).mean()
            assert after < 75
            assert after < before - 40
        below = round((eyes_y + 0.13) * 64)
        np.testing.assert_array_equal(shaded[below:], pixels(bare)[below:])


def with_pink_hair(seed: int, hair_style: str) -> Attributes:
    """No other part of a drawing has this colour."""
    return replace(attributes(seed), hair_style=hair_style, hair_rgb=(226, 104, 160))


def hair_at(person: Attributes) -> tuple[float, float, float]:
    """The share of hair on the crown, beside the ears and beside the mouth of a drawing."""
    drawn = pixels(render(person, 64))
    shadow: Colour = (192, 88, 136)
    places = [patch(drawn, person.head_x, person.head_y - person.head_height / 2 + 0.02, 0.2, 0.08)]
    for below in (-0.06, 0.14):
        x = person.head_x + person.head_width / 2 + 0.045
        places.append(patch(drawn, x, person.head_y + below, 0.04, 0.06))
    crown, ears, mouth = (share_of(p, person.hair_rgb) + share_of(p, shadow) for p in places)
    return crown, ears, mouth


def test_hair_is_where_its_style_says() -> None:
    for seed in range(20):
        hair = {style: hair_at(with_pink_hair(seed, style)) for style in HAIR_STYLES}
        assert hair["bald"] == (0, 0, 0)
        assert min(crown for style, (crown, _, _) in hair.items() if style != "bald") > 0.3
        assert hair["short"][1:] == hair["spiky"][1:] == (0, 0)
        assert min(hair[style][1] for style in ("curly", "bob", "long")) > 0.5
        assert min(hair[style][2] for style in ("bob", "long")) == 1


def test_hair_styles_are_told_apart_by_their_pixels() -> None:
    drawn = [pixels(render(with_pink_hair(3, style), 32)) for style in HAIR_STYLES]
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            assert (np.abs(first - second).max(axis=-1) > 30).mean() > 0.02


def test_babies_have_larger_eyes_in_rounder_heads() -> None:
    for seed in range(50):
        adult, baby = attributes(seed), attributes(seed, "babies")
        assert baby.eye_size > adult.eye_size
        assert baby.head_width / baby.head_height > adult.head_width / adult.head_height
        assert baby.eye_height > adult.eye_height


def test_sketches_are_grey_on_light_paper() -> None:
    for seed in range(30):
        drawn = pixels(avatar(seed, 64, "sketches")[0])
        assert (drawn.max(axis=-1) - drawn.min(axis=-1)).max() <= 12
        assert np.median(drawn) > 150
        assert drawn.min() < 140


def test_paintings_are_in_oil_colours() -> None:
    def distance(drawn: Pixels) -> float:
        apart = np.abs(drawn[:, :, None] - np.array(OILS)).sum(axis=-1)
        return float(apart.min(axis=-1).mean())

    for seed in range(10):
        painted, plain = (pixels(avatar(seed, 64, d)[0]) for d in ("paintings", "avatars"))
        assert distance(painted) < 0.8 * distance(plain)


def test_hats_are_on_the_crown_and_nothing_is_below_the_brim() -> None:
    for seed in range(40):
        bare = pixels(avatar(seed, 128)[0])
        image, person = avatar(seed, 128, "hats")
        drawn, colour = pixels(image), HAT_COLOURS[person.hat_colour]
        above = person.head_y - person.head_height / 2 - 0.05
        crown = patch(drawn, person.head_x, above, 0.06, 0.04)
        assert share_of(crown, colour) > 0.6
        # Spikes of hair are pressed flat; what is below the brim stays.
        brows = round((person.head_y - 0.13) * 128)
        np.testing.assert_array_equal(drawn[brows:], bare[brows:])


def test_paint_is_on_the_face_alone() -> None:
    shares = {pattern: set() for pattern in FACE_PAINTS}
    for seed in range(60):
        bare = pixels(avatar(seed, 64)[0])
        image, person = avatar(seed, 64, "face-paint")
        drawn, colour = pixels(image), PAINT_COLOURS[person.paint]
        shares[person.face_paint].add(share_of(drawn, colour))
        changed = np.argwhere((drawn != bare).any(axis=-1)) / 64
        assert (np.abs(changed[:, 1] - person.head_x) <= person.head_width / 2 + 1 / 64).all()
        assert (np.abs(changed[:, 0] - person.head_y) <= person.head_height / 2 + 1 / 64).all()
    assert min(min(found) for found in shares.values()) > 0.01
    assert min(shares["half"]) > max(shares["stripes"])


@pytest.mark.parametrize("size", [32, 64, 128])
def test_pixel_art_is_outlined_blocks_of_few_colours(size: int) -> None:
    for seed in range(10):
        image, person = avatar(seed, size, "pixel-art")
        drawn, side = pixels(image), size // CELLS
        blocks = drawn.reshape(CELLS, side, CELLS, side, 3).swapaxes(1, 2)
        assert (blocks == blocks[:, :, :1, :1]).all()
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) <= 12
        assert 0.05 < share_of(drawn, OUTLINE) < 0.25
        assert share_of(drawn[:1, :3], BACKGROUNDS[person.background]) == 1
        assert share_of(drawn, SKIN_TONES[person.skin]) > 0.1
        plain = pixels(avatar(seed, size)[0])
        assert np.abs(drawn - plain).mean() > 10


WORN = {
    # Rows of the head that it leaves alone, in head heights from its centre: above, below.
    "beards": (-0.6, 0.0),
    "masks": (-0.6, 0.0),
    "scarves": (-0.6, 0.4),
    "pirates": (0.15, 0.6),
}


@pytest.mark.parametrize("domain", WORN)
def test_what_is_worn_leaves_the_rest_of_the_person(domain: str) -> None:
    first, last = WORN[domain]
    for seed in range(30):
        bare, (image, person) = avatar(seed, 64)[0], avatar(seed, 64, domain)
        changed = np.argwhere((pixels(image) != pixels(bare)).any(axis=-1))[:, 0] / 64
        assert len(changed) > 20
        above, below = (person.head_y + rows * person.head_height for rows in (first, last))
        assert not ((changed > above) & (changed < below - 1 / 64)).any()


def test_aliens_and_clowns_keep_clothes_and_background() -> None:
    for domain in ("aliens", "clowns"):
        for seed in range(10):
            bare, other = attributes(seed), attributes(seed, domain)
            assert (other.clothes_rgb, other.background_rgb) == (
                bare.clothes_rgb,
                bare.background_rgb,
            )
            changed = (pixels(avatar(seed, 64, domain)[0]) != pixels(avatar(seed, 64)[0])).any(-1)
            assert changed.mean() > 0.05 and not changed[-4:].any()


def test_vampires_are_pale_with_a_cape_behind_them_and_divers_see_through_glass() -> None:
    for seed in range(10):
        person = attributes(seed, "vampires")
        plain, vampire, diver = (
            pixels(avatar(seed, 64, domain)[0]) for domain in ("avatars", "vampires", "divers")
        )
        assert share_of(vampire, person.skin_rgb) > 0.05
        assert share_of(vampire, CAPES[person.cape]) > 0.005
        # In front of the head there is no cape.
        at = slice(int(64 * person.head_y) - 8, int(64 * person.head_y) + 8)
        middle = slice(int(64 * person.head_x) - 10, int(64 * person.head_x) + 10)
        assert share_of(vampire[at, middle], CAPES[person.cape]) == 0
        rim = RIMS[attributes(seed, "divers").diving_mask]
        assert share_of(plain, rim) == 0 and share_of(diver, rim) > 0.01
        for side in (-1, 1):  # the eyes, behind glass
            y = round(64 * (person.head_y + person.eye_height))
            x = round(64 * (person.head_x + side * person.eye_gap / 2))
            assert (diver[y, x] == plain[y, x]).all()


def test_neon_is_dark_with_light_and_stone_has_no_colours() -> None:
    for seed in range(10):
        plain, neon, stone = (
            pixels(avatar(seed, 64, domain)[0]).astype(float)
            for domain in ("avatars", "neon", "statues")
        )
        assert np.median(neon) < 80 < 140 < neon.max() and np.median(neon) < np.median(plain)
        assert (stone.max(-1) - stone.min(-1)).max() < 16
        assert 100 < stone.mean() < 180 and stone.std() > 5


def test_a_mosaic_is_of_tiles_in_grout() -> None:
    for seed in range(10):
        plain, person = avatar(seed, 256)
        tiles = pixels(mosaic(plain, person)).reshape(TILES, TILE, TILES, TILE, 3).swapaxes(1, 2)
        inside = tiles[:, :, : TILE - GAP, : TILE - GAP]
        assert (inside == inside[:, :, :1, :1]).all()
        assert (tiles[:, :, TILE - GAP :] == GROUT).all()
        assert (tiles[:, :, :, TILE - GAP :] == GROUT).all()
        # They have the drawing's colours, but for what makes each lighter or darker.
        few = pixels(plain.resize((TILES, TILES), Image.Resampling.BOX)).astype(int)
        assert np.abs(inside[:, :, 0, 0].astype(int) - few).max() <= 22
