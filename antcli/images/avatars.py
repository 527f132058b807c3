"""The drawn `avatars` domain: faces rendered with Pillow, every attribute from one seed.

A drawn domain is what lets few-shot adaptation be measured instead of guessed at: any number
of held-out images of a target exists, and the truth about each of them (its hair, its skin,
its glasses) is known. `avatars` is the source; the other domains draw the same people
differently.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from antcli.images.face import paint
from antcli.images.pen import Colour, byte, shade, vary
from antcli.images.people import (
    BACKGROUNDS,
    CLOTHES,
    FACE_PAINTS,
    HAIR_COLOURS,
    HAIR_STYLES,
    HAT_COLOURS,
    HATS,
    IRIS_COLOURS,
    LENS_COLOURS,
    LENSES,
    MOUTHS,
    PAINT_COLOURS,
    SKIN_TONES,
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


def _sketch(image: Image.Image, person: Attributes) -> Image.Image:
    """Pencil on paper: the drawing's edges as grey strokes over a faint tone."""
    unit = image.width / 128
    grey = ImageOps.grayscale(image)
    soft = grey.filter(ImageFilter.GaussianBlur(1.2 * unit))
    edges = ImageChops.difference(soft, grey.filter(ImageFilter.GaussianBlur(3.2 * unit)))
    strokes = edges.point(lambda v: max(0, 255 - 7 * v))
    tone = grey.point(lambda v: 176 + v * 72 // 255)
    paper = ImageChops.multiply(strokes, tone)
    return ImageOps.colorize(paper, (44, 42, 48), (250, 248, 240))


OILS: tuple[Colour, ...] = (
    (28, 30, 74),
    (36, 84, 120),
    (58, 128, 112),
    (122, 40, 52),
    (190, 78, 40),
    (222, 140, 44),
    (240, 196, 92),
    (246, 230, 178),
)
"""From dark to light: what a painting keeps of a drawing's tones."""


def _oil_painting(image: Image.Image, person: Attributes) -> Image.Image:
    """Broad strokes of a few oil colours: each dab a shade of the colour where it lies."""
    side = image.width
    unit = side / 128
    painted = image.filter(ImageFilter.ModeFilter(2 * round(2.5 * unit) + 1))
    ramp = [OILS[v * len(OILS) // 256] for v in range(256)]
    grey = ImageOps.autocontrast(ImageOps.grayscale(painted))
    oils = Image.merge("RGB", [grey.point([colour[c] for colour in ramp]) for c in range(3)])
    canvas = Image.blend(painted, oils, 0.72)
    strokes = random.Random(f"strokes/{person.head_x}/{person.head_y}")
    draw = ImageDraw.Draw(canvas)
    for _ in range(260):
        x, y = strokes.uniform(0, side), strokes.uniform(0, side)
        angle = 0.7 + strokes.gauss(0, 0.35)
        dx, dy = 5 * unit * math.cos(angle), 5 * unit * math.sin(angle)
        colour = canvas.getpixel((int(x), int(y)))
        assert isinstance(colour, tuple)
        lighter = strokes.randint(-26, 26)
        red, green, blue = (byte(value + lighter) for value in colour[:3])
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=(red, green, blue), width=round(3 * unit))
    return canvas


CELLS = 32
"""Blocks along a side of pixel art, whatever the image's size."""
OUTLINE: Colour = (24, 20, 44)


def _pixel_art(image: Image.Image, person: Attributes) -> Image.Image:
    """Square blocks of a dozen colours, the figure outlined on a backdrop of two bands."""
    cells = (CELLS, CELLS)
    # Nothing but the background reaches the left edge.
    background = image.crop((0, 0, 1, image.height)).resize(image.size)
    apart = ImageChops.difference(image, background).convert("L").point(lambda v: 255 * (v > 0))
    figure = apart.resize(cells, Image.Resampling.BOX).point(lambda v: 255 * (v > 127))
    bands = [BACKGROUNDS[person.background], shade(BACKGROUNDS[person.background], 0.75)]
    blocks = Image.new("RGB", cells, bands[0])
    blocks.paste(bands[1], (0, round(0.6 * CELLS), *cells))
    painted = image.resize(cells, Image.Resampling.BOX)
    few = painted.quantize(palette=_few_colours(person), dither=Image.Dither.NONE)
    blocks.paste(few.convert("RGB"), mask=figure)
    outline = ImageChops.subtract(figure.filter(ImageFilter.MaxFilter(3)), figure)
    blocks.paste(OUTLINE, mask=outline)
    return blocks.resize(image.size, Image.Resampling.NEAREST)


def _few_colours(person: Attributes) -> Image.Image:
    """The palette of one figure: its colours as they are named, and a shadow of each."""
    flat = (SKIN_TONES[person.skin], HAIR_COLOURS[person.hair], CLOTHES[person.clothes])
    colours = [OUTLINE, (250, 250, 248), (176, 40, 52), IRIS_COLOURS[person.iris]]
    colours += [tone for colour in flat for tone in (colour, shade(colour, 0.72))]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in colours for value in colour])
    return palette


DOMAINS: dict[str, Domain] = {
    "avatars": Domain(),
    "sunglasses": Domain(change=_put_on_sunglasses),
    "babies": Domain(change=_make_younger),
    "sketches": Domain(finish=_sketch),
    "paintings": Domain(finish=_oil_painting),
    "hats": Domain(change=_put_on_a_hat),
    "face-paint": Domain(change=_paint_the_face),
    "pixel-art": Domain(finish=_pixel_art),
}
TARGETS = ("sunglasses", "babies", "sketches", "paintings")
"""Those that lie under examples."""
HELD_OUT = ("hats", "face-paint", "pixel-art")
"""Those that lie nowhere: kept for choosing settings on."""
