"""What a drawn face becomes when another hand finishes it, from pencil to tiles."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from antcli.drawn_faces.pen import Colour, byte, shade
from antcli.drawn_faces.people import (
    BACKGROUNDS,
    CLOTHES,
    HAIR_COLOURS,
    IRIS_COLOURS,
    SKIN_TONES,
    Attributes,
)


def sketch(image: Image.Image, person: Attributes) -> Image.Image:
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


def oil_painting(image: Image.Image, person: Attributes) -> Image.Image:
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


def pixel_art(image: Image.Image, person: Attributes) -> Image.Image:
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


NEON: tuple[Colour, ...] = ((60, 240, 255), (255, 70, 200), (120, 255, 120), (255, 190, 60))


def neon(image: Image.Image, person: Attributes) -> Image.Image:
    """Glowing tubes at night: the drawing's edges in one or two colours over a dark rest."""
    unit = image.width / 128
    chosen = random.Random(f"tubes/{person.head_x}/{person.head_y}").sample(NEON, 2)
    edges = ImageChops.difference(
        image.filter(ImageFilter.GaussianBlur(0.8 * unit)),
        image.filter(ImageFilter.GaussianBlur(2.8 * unit)),
    )
    light = ImageOps.grayscale(edges).point(lambda v: min(255, 9 * v))
    glow = ImageChops.lighter(light, light.filter(ImageFilter.GaussianBlur(3 * unit)))
    night = Image.eval(image, lambda v: 10 + v // 6)
    fade = Image.linear_gradient("L").resize(image.size)
    tubes = Image.composite(
        Image.new("RGB", image.size, chosen[0]), Image.new("RGB", image.size, chosen[1]), fade
    )
    return Image.composite(tubes, night, glow)


TILES, TILE, GAP = 16, 16, 2
"""Of a mosaic: tiles along a side, and of how many dots each is drawn and lies from the next."""
GROUT: Colour = (92, 84, 78)


def mosaic(image: Image.Image, person: Attributes) -> Image.Image:
    """Square tiles, each of one colour of the drawing and a little lighter or darker, in grout."""
    cut = random.Random(f"tiles/{person.head_x}/{person.head_y}")
    few = image.resize((TILES, TILES), Image.Resampling.BOX)
    laid = Image.new("RGB", (TILES * TILE, TILES * TILE), GROUT)
    for row in range(TILES):
        for column in range(TILES):
            colour = few.getpixel((column, row))
            assert isinstance(colour, tuple)
            lighter = cut.randint(-22, 22)
            red, green, blue = (byte(value + lighter) for value in colour[:3])
            left, top = column * TILE, row * TILE
            laid.paste((red, green, blue), (left, top, left + TILE - GAP, top + TILE - GAP))
    return laid.resize(image.size, Image.Resampling.BOX)


def stone(image: Image.Image, person: Attributes) -> Image.Image:
    """Carved: a relief of grey stone, lit from above on the left, with grains."""
    side, unit = image.width, image.width / 128
    grey = ImageOps.grayscale(image).filter(ImageFilter.GaussianBlur(0.8 * unit))
    lit = ImageChops.offset(grey, round(1.6 * unit), round(1.6 * unit))
    relief = ImageChops.subtract(grey, lit, scale=0.8, offset=128)
    tone = grey.point(lambda v: 96 + v * 80 // 255)
    carved = ImageChops.add(tone, relief, scale=1, offset=-128)
    grains = random.Random(f"grains/{person.head_x}/{person.head_y}")
    small = Image.new("L", (32, 32))
    small.putdata([grains.randint(116, 140) for _ in range(32 * 32)])
    rough = ImageChops.add(carved, small.resize((side, side)), scale=1, offset=-128)
    return ImageOps.colorize(rough, (40, 40, 46), (236, 234, 226))
