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
from dataclasses import asdict, dataclass, replace

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

OVERSAMPLING = 4
"""Drawn this many times larger, then reduced: Pillow's own edges are not antialiased."""

Colour = tuple[int, int, int]
Point = tuple[float, float]

SKIN_TONES: dict[str, Colour] = {
    "porcelain": (250, 222, 200),
    "light": (240, 196, 160),
    "tan": (214, 160, 114),
    "olive": (186, 132, 84),
    "brown": (140, 90, 56),
    "dark": (92, 58, 40),
}
HAIR_COLOURS: dict[str, Colour] = {
    "black": (34, 28, 30),
    "brown": (94, 58, 34),
    "auburn": (150, 66, 32),
    "ginger": (220, 120, 44),
    "blond": (236, 204, 112),
    "grey": (170, 170, 176),
    "pink": (226, 104, 160),
}
CLOTHES: dict[str, Colour] = {
    "red": (204, 52, 52),
    "green": (46, 140, 84),
    "blue": (44, 92, 180),
    "yellow": (238, 190, 60),
    "white": (238, 238, 234),
    "charcoal": (62, 62, 72),
}
BACKGROUNDS: dict[str, Colour] = {
    "sky": (150, 204, 240),
    "mint": (168, 226, 190),
    "lilac": (200, 178, 236),
    "peach": (250, 202, 168),
    "sand": (236, 224, 184),
    "slate": (122, 138, 158),
}
IRIS_COLOURS: dict[str, Colour] = {
    "brown": (86, 52, 30),
    "blue": (48, 110, 190),
    "green": (60, 130, 70),
    "grey": (110, 120, 130),
}
HAIR_STYLES = ("bald", "short", "spiky", "curly", "bob", "long")
MOUTHS = ("smile", "open", "flat")
LENSES = ("round", "square", "wide")
LENS_COLOURS: dict[str, Colour] = {
    "black": (22, 22, 26),
    "brown": (66, 38, 22),
    "navy": (24, 34, 74),
}


@dataclass(frozen=True)
class Attributes:
    """The truth about one drawing. Lengths are fractions of the side, colours RGB 0..255."""

    skin: str
    hair_style: str
    hair: str
    clothes: str
    background: str
    iris: str
    mouth: str
    lenses: str
    """Shape of the sunglasses; empty where there are none."""
    lens: str
    head_x: float
    head_y: float
    head_width: float
    head_height: float
    eye_size: float
    eye_gap: float
    eye_height: float
    """Of the eyes below the head's centre."""
    brow_tilt: float
    nose: float
    mouth_width: float
    skin_rgb: Colour
    hair_rgb: Colour
    clothes_rgb: Colour
    background_rgb: Colour

    def as_dict(self) -> dict[str, object]:
        """All attributes as plain values, ready for JSON."""
        return asdict(self)


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
        skin_rgb=_vary(draw, SKIN_TONES[skin], 8),
        hair_rgb=_vary(draw, HAIR_COLOURS[hair], 10),
        clothes_rgb=_vary(draw, CLOTHES[clothes], 12),
        background_rgb=_vary(draw, BACKGROUNDS[background], 12),
    )
    return DOMAINS[domain].change(person, draw)


def render(person: Attributes, size: int = 32, domain: str = "avatars") -> Image.Image:
    """Draw a face as an RGB image of `size` x `size` pixels."""
    large = size * OVERSAMPLING
    image = DOMAINS[domain].finish(_paint(person, large), person)
    return image.resize((size, size), Image.Resampling.BOX)


def avatar(seed: int, size: int = 32, domain: str = "avatars") -> tuple[Image.Image, Attributes]:
    """One drawing of a domain and the truth about it, both from one seed."""
    person = attributes(seed, domain)
    return render(person, size, domain), person


# --- the domains ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Domain:
    """What sets a domain apart: other attributes, or another finish of the same drawing."""

    change: Callable[[Attributes, random.Random], Attributes] = lambda person, _draw: person
    finish: Callable[[Image.Image, Attributes], Image.Image] = lambda image, _person: image


def _put_on_sunglasses(person: Attributes, draw: random.Random) -> Attributes:
    return replace(person, lenses=draw.choice(LENSES), lens=draw.choice(list(LENS_COLOURS)))


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
        shade = strokes.randint(-26, 26)
        paint = (_byte(colour[0] + shade), _byte(colour[1] + shade), _byte(colour[2] + shade))
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=paint, width=round(3 * unit))
    return canvas


DOMAINS: dict[str, Domain] = {
    "avatars": Domain(),
    "sunglasses": Domain(change=_put_on_sunglasses),
    "babies": Domain(change=_make_younger),
    "sketches": Domain(finish=_sketch),
    "paintings": Domain(finish=_oil_painting),
}
TARGETS = tuple(name for name in DOMAINS if name != "avatars")


# --- one face, from back to front ----------------------------------------------------------


def _paint(person: Attributes, side: int) -> Image.Image:
    image = _background(person, side)
    pen = _Pen(ImageDraw.Draw(image), side)
    _hair_behind(pen, person)
    _body(pen, person)
    _head(pen, person)
    _hair_in_front(pen, person)
    _eyes(pen, person)
    _nose_and_mouth(pen, person)
    if person.lenses:
        _sunglasses(pen, person)
    return image


class _Pen:
    """Pillow's drawing calls in fractions of the image's side."""

    def __init__(self, draw: ImageDraw.ImageDraw, side: int) -> None:
        self._draw = draw
        self._side = side

    def ellipse(self, x: float, y: float, width: float, height: float, fill: Colour) -> None:
        self._draw.ellipse(self._box(x, y, width, height), fill=fill)

    def sector(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        start: float,
        end: float,
        fill: Colour,
    ) -> None:
        self._draw.pieslice(self._box(x, y, width, height), start, end, fill=fill)

    def arc(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        start: float,
        end: float,
        fill: Colour,
    ) -> None:
        thickness = max(1, round(0.028 * self._side))
        self._draw.arc(self._box(x, y, width, height), start, end, fill=fill, width=thickness)

    def box(
        self, x: float, y: float, width: float, height: float, radius: float, fill: Colour
    ) -> None:
        self._draw.rounded_rectangle(self._box(x, y, width, height), radius * self._side, fill=fill)

    def polygon(self, points: list[Point], fill: Colour) -> None:
        self._draw.polygon([(x * self._side, y * self._side) for x, y in points], fill=fill)

    def line(self, start: Point, end: Point, width: float, fill: Colour) -> None:
        ends = [(x * self._side, y * self._side) for x, y in (start, end)]
        self._draw.line(ends, fill=fill, width=max(1, round(width * self._side)))

    def _box(self, x: float, y: float, width: float, height: float) -> list[float]:
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return [corner * self._side for corner in corners]


def _background(person: Attributes, side: int) -> Image.Image:
    top, bottom = person.background_rgb, _shade(person.background_rgb, 0.72)
    column = Image.new("RGB", (1, side))
    for y in range(side):
        column.putpixel((0, y), _mix(top, bottom, y / (side - 1)))
    return column.resize((side, side))


def _hair_behind(pen: _Pen, person: Attributes) -> None:
    x, y, w, h = person.head_x, person.head_y, person.head_width, person.head_height
    shadow = _shade(person.hair_rgb, 0.85)
    if person.hair_style == "long":
        pen.ellipse(x, y - 0.08, w + 0.16, h + 0.04, person.hair_rgb)
        pen.box(x, y + 0.22, w + 0.16, 0.62, 0.08, shadow)
    elif person.hair_style == "bob":
        pen.ellipse(x, y - 0.05, w + 0.17, h + 0.08, person.hair_rgb)
        pen.box(x, y + 0.08, w + 0.17, 0.34, 0.08, person.hair_rgb)
    elif person.hair_style == "curly":
        radius = 0.17
        for step in range(11):
            angle = math.pi * (0.92 + 1.16 * step / 10)
            reach = (w / 2 + 0.02, h / 2 - 0.01)
            pen.ellipse(
                x + reach[0] * math.cos(angle),
                y + reach[1] * math.sin(angle),
                radius,
                radius,
                person.hair_rgb,
            )


def _body(pen: _Pen, person: Attributes) -> None:
    x, bottom = person.head_x, person.head_y + person.head_height / 2
    pen.ellipse(0.5 + (x - 0.5) / 2, bottom + 0.26, 0.86, 0.42, person.clothes_rgb)
    pen.box(x, bottom, 0.18, 0.20, 0.05, _shade(person.skin_rgb, 0.82))


def _head(pen: _Pen, person: Attributes) -> None:
    x, y, w, h = person.head_x, person.head_y, person.head_width, person.head_height
    for side in (-1, 1):
        pen.ellipse(x + side * w / 2, y + 0.03, 0.09, 0.13, _shade(person.skin_rgb, 0.86))
    pen.ellipse(x, y, w, h, person.skin_rgb)


def _hair_in_front(pen: _Pen, person: Attributes) -> None:
    x, y, w = person.head_x, person.head_y, person.head_width
    colour, top = person.hair_rgb, person.head_y - person.head_height / 2
    if person.hair_style in ("short", "bob"):
        pen.sector(x, top + 0.20, w + 0.05, 0.46, 180, 360, colour)
    elif person.hair_style == "long":
        pen.polygon([(x, top - 0.01), (x + w / 2 + 0.03, y - 0.02), (x, top + 0.13)], colour)
        pen.polygon([(x, top - 0.01), (x - w / 2 - 0.03, y - 0.02), (x, top + 0.13)], colour)
    elif person.hair_style == "curly":
        for step in range(5):
            pen.ellipse(x + (step - 2) * w / 5, top + 0.05, 0.15, 0.15, colour)
    elif person.hair_style == "spiky":
        pen.sector(x, top + 0.18, w + 0.03, 0.36, 180, 360, colour)
        for step in range(5):
            left = x - w / 2 + step * w / 5
            tip = (left + w / 10 + (step - 2) * 0.02, top - 0.12)
            pen.polygon([(left, top + 0.10), tip, (left + w / 5, top + 0.10)], colour)
    elif person.hair_style == "tuft":
        for lean in (-0.05, 0.0, 0.05):
            pen.line((x, top + 0.04), (x + lean, top - 0.07), 0.03, colour)
    elif person.hair_style == "down":
        pen.sector(x, top + 0.14, w * 0.8, 0.28, 180, 360, _mix(colour, person.skin_rgb, 0.4))


def _eyes(pen: _Pen, person: Attributes) -> None:
    y = person.head_y + person.eye_height
    size = person.eye_size
    brow = _shade(person.hair_rgb, 0.7)
    for side in (-1, 1):
        x = person.head_x + side * person.eye_gap / 2
        pen.ellipse(x, y, size * 1.35, size * 1.1, (250, 250, 248))
        pen.ellipse(x, y, size * 0.8, size * 0.9, IRIS_COLOURS[person.iris])
        pen.ellipse(x, y, size * 0.4, size * 0.45, (16, 14, 16))
        lift = y - size - 0.005
        inner = (x - side * 0.05, lift + person.brow_tilt)
        outer = (x + side * 0.05, lift - person.brow_tilt)
        pen.line(inner, outer, 0.028, brow)


def _nose_and_mouth(pen: _Pen, person: Attributes) -> None:
    x, w = person.head_x, person.mouth_width
    nose_y = person.head_y + person.eye_height + 0.04 + person.nose
    pen.ellipse(x, nose_y, 0.07, 0.05, _shade(person.skin_rgb, 0.74))
    mouth_y = person.head_y + person.head_height * 0.30
    lips = _mix((168, 44, 52), person.skin_rgb, 0.15)
    if person.mouth == "smile":
        pen.arc(x, mouth_y - 0.04, w, 0.12, 20, 160, lips)
    elif person.mouth == "open":
        pen.sector(x, mouth_y - 0.02, w, 0.13, 0, 180, (120, 26, 34))
    else:
        pen.line((x - w / 2.4, mouth_y), (x + w / 2.4, mouth_y), 0.028, lips)


def _sunglasses(pen: _Pen, person: Attributes) -> None:
    x, y, gap = person.head_x, person.head_y + person.eye_height, person.eye_gap
    colour = LENS_COLOURS[person.lens]
    temple = person.head_width / 2
    pen.line((x - temple, y - 0.03), (x + temple, y - 0.03), 0.03, colour)
    for side in (-1, 1):
        centre = x + side * gap / 2
        if person.lenses == "round":
            pen.ellipse(centre, y, 0.19, 0.19, colour)
        elif person.lenses == "square":
            pen.box(centre, y, 0.19, 0.15, 0.03, colour)
        else:
            pen.ellipse(centre, y + 0.01, 0.23, 0.16, colour)
        glint = (centre - 0.035, y - 0.035)
        pen.line(glint, (glint[0] + 0.045, glint[1]), 0.022, _mix(colour, (255, 255, 255), 0.45))


# --- colour --------------------------------------------------------------------------------


def _byte(value: float) -> int:
    return max(0, min(255, round(value)))


def _vary(draw: random.Random, colour: Colour, spread: int) -> Colour:
    shift = draw.randint(-spread, spread)
    red, green, blue = (_byte(c + shift + draw.randint(-spread // 2, spread // 2)) for c in colour)
    return red, green, blue


def _shade(colour: Colour, factor: float) -> Colour:
    return _byte(colour[0] * factor), _byte(colour[1] * factor), _byte(colour[2] * factor)


def _mix(a: Colour, b: Colour, share_of_b: float) -> Colour:
    red, green, blue = (
        _byte((1 - share_of_b) * p + share_of_b * q) for p, q in zip(a, b, strict=True)
    )
    return red, green, blue
