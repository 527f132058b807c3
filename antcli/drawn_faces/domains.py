"""The drawn `avatars` domain: faces rendered with Pillow, every attribute from one seed.

A drawn domain is what lets few-shot adaptation be measured instead of guessed at: any number
of held-out images of a target exists, and the truth about each of them (its hair, its skin,
its glasses) is known. `avatars` is the source; the other domains draw the same people
differently.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from antcli.drawn_faces.face import paint
from antcli.drawn_faces.finishes import mosaic, neon, oil_painting, pixel_art, sketch, stone
from antcli.drawn_faces.pen import vary
from antcli.drawn_faces.people import (
    ALIEN_SKINS,
    BACKGROUNDS,
    BEARDS,
    CAPES,
    CLOTHES,
    CLOWN_HAIR,
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
    PATCHES,
    RIMS,
    SCARVES,
    SKIN_TONES,
    VAMPIRE_SKIN,
    Attributes,
)

OVERSAMPLING = 4
"""Drawn this many times larger, then reduced: Pillow's own edges are not antialiased."""


def attributes(seed: int, domain: str = "avatars") -> Attributes:
    """Draw the attributes of one face of a domain from its seed.

    The same seed gives the same person in every domain. Raises `ValueError` for an unknown domain.
    """
    if domain not in DOMAINS:
        raise ValueError(f"unknown drawn domain {domain!r}; known are {', '.join(DOMAINS)}")
    draw = random.Random(f"avatars/{seed}")
    skin = draw.choice(list(SKIN_TONES))
    hair = draw.choice(list(HAIR_COLOURS))
    clothes = draw.choice(list(CLOTHES))
    background = draw.choice(list(BACKGROUNDS))
    person = Attributes(
        skin=skin,
        hair_style=draw.choice(HAIR_STYLES),
        hair=hair,
        clothes=clothes,
        background=background,
        iris=draw.choice(list(IRIS_COLOURS)),
        mouth=draw.choice(MOUTHS),
        lenses="",
        lens="",
        head_x=0.5 + draw.uniform(-0.05, 0.05),
        head_y=0.49 + draw.uniform(-0.03, 0.03),
        head_width=draw.uniform(0.44, 0.54),
        head_height=draw.uniform(0.54, 0.64),
        eye_size=draw.uniform(0.085, 0.11),
        eye_gap=draw.uniform(0.20, 0.24),
        eye_height=draw.uniform(-0.04, 0.0),
        brow_tilt=draw.uniform(-0.03, 0.03),
        nose=draw.uniform(0.06, 0.09),
        mouth_width=draw.uniform(0.15, 0.21),
        skin_rgb=vary(draw, SKIN_TONES[skin], 8),
        hair_rgb=vary(draw, HAIR_COLOURS[hair], 10),
        clothes_rgb=vary(draw, CLOTHES[clothes], 12),
        background_rgb=vary(draw, BACKGROUNDS[background], 12),
    )
    return DOMAINS[domain].change(person, draw)


def render(person: Attributes, size: int = 32, domain: str = "avatars") -> Image.Image:
    """Draw a face as an RGB image of `size` x `size` pixels."""
    large = size * OVERSAMPLING
    image = DOMAINS[domain].finish(paint(person, large), person)
    return image.resize((size, size), Image.Resampling.BOX)


def avatar(seed: int, size: int = 32, domain: str = "avatars") -> tuple[Image.Image, Attributes]:
    """One drawing of a domain and the truth about it, both from one seed."""
    person = attributes(seed, domain)
    return render(person, size, domain), person


@dataclass(frozen=True)
class Domain:
    """What sets a domain apart: other attributes, or another finish of the same drawing."""

    change: Callable[[Attributes, random.Random], Attributes] = lambda person, _draw: person
    finish: Callable[[Image.Image, Attributes], Image.Image] = lambda image, _person: image


def _put_on_sunglasses(person: Attributes, draw: random.Random) -> Attributes:
    return replace(person, lenses=draw.choice(LENSES), lens=draw.choice(list(LENS_COLOURS)))


def _put_on_a_hat(person: Attributes, draw: random.Random) -> Attributes:
    return replace(person, hat=draw.choice(HATS), hat_colour=draw.choice(list(HAT_COLOURS)))


def _paint_the_face(person: Attributes, draw: random.Random) -> Attributes:
    return replace(
        person, face_paint=draw.choice(FACE_PAINTS), paint=draw.choice(list(PAINT_COLOURS))
    )


def _grow_a_beard(person: Attributes, draw: random.Random) -> Attributes:
    return replace(person, beard=draw.choice(BEARDS))


def _put_on_a_mask(person: Attributes, draw: random.Random) -> Attributes:
    return replace(person, mask=draw.choice(MASKS), mask_colour=draw.choice(list(MASK_COLOURS)))


def _come_from_elsewhere(person: Attributes, draw: random.Random) -> Attributes:
    return replace(
        person,
        hair_style="bald",
        antennae=True,
        skin_rgb=vary(draw, draw.choice(ALIEN_SKINS), 8),
        eye_size=draw.uniform(0.15, 0.18),
        eye_gap=draw.uniform(0.25, 0.29),
        head_width=draw.uniform(0.52, 0.60),
        nose=0.05,
        mouth_width=draw.uniform(0.10, 0.13),
    )


def _put_on_a_scarf(person: Attributes, draw: random.Random) -> Attributes:
    return replace(person, scarf=draw.choice(SCARVES), scarf_colour=draw.choice(list(HAT_COLOURS)))


def _join_the_circus(person: Attributes, draw: random.Random) -> Attributes:
    hair = vary(draw, draw.choice(CLOWN_HAIR), 10)
    return replace(person, clown=True, hair_style="curly", hair_rgb=hair)


def _go_to_sea(person: Attributes, draw: random.Random) -> Attributes:
    return replace(person, bandana=draw.choice(list(HAT_COLOURS)), patch=draw.choice(PATCHES))


def _rise_at_night(person: Attributes, draw: random.Random) -> Attributes:
    return replace(person, skin_rgb=vary(draw, VAMPIRE_SKIN, 8), cape=draw.choice(list(CAPES)))


def _go_diving(person: Attributes, draw: random.Random) -> Attributes:
    return replace(person, diving_mask=draw.choice(list(RIMS)))


def _make_younger(person: Attributes, draw: random.Random) -> Attributes:
    return replace(
        person,
        hair_style=draw.choice(("bald", "tuft", "down")),
        head_y=person.head_y + 0.03,
        head_width=draw.uniform(0.60, 0.68),
        head_height=draw.uniform(0.56, 0.62),
        eye_size=draw.uniform(0.125, 0.15),
        eye_gap=draw.uniform(0.26, 0.30),
        eye_height=draw.uniform(0.03, 0.06),
        nose=0.04,
        mouth_width=draw.uniform(0.10, 0.14),
    )


DOMAINS: dict[str, Domain] = {
    "avatars": Domain(),
    "sunglasses": Domain(change=_put_on_sunglasses),
    "babies": Domain(change=_make_younger),
    "sketches": Domain(finish=sketch),
    "paintings": Domain(finish=oil_painting),
    "hats": Domain(change=_put_on_a_hat),
    "face-paint": Domain(change=_paint_the_face),
    "pixel-art": Domain(finish=pixel_art),
    "beards": Domain(change=_grow_a_beard),
    "masks": Domain(change=_put_on_a_mask),
    "aliens": Domain(change=_come_from_elsewhere),
    "neon": Domain(finish=neon),
    "scarves": Domain(change=_put_on_a_scarf),
    "clowns": Domain(change=_join_the_circus),
    "statues": Domain(finish=stone),
    "pirates": Domain(change=_go_to_sea),
    "mosaics": Domain(finish=mosaic),
    "vampires": Domain(change=_rise_at_night),
    "divers": Domain(change=_go_diving),
}
TARGETS = ("sunglasses", "babies", "sketches", "paintings")
"""Those that lie under examples."""
HELD_OUT = (
    *("hats", "face-paint", "pixel-art", "beards", "masks", "aliens", "neon", "clowns"),
    *("scarves", "pirates"),
)
"""Those that lie nowhere: kept for choosing settings on."""
TEST = ("statues", "mosaics", "vampires", "divers")
"""Those that nothing is chosen on: what the default is worth on a domain that it has not met. Once
something is, they belong to the others, and new ones are to be drawn."""
