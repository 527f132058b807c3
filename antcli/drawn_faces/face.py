"""One drawn face, from back to front."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from antcli.drawn_faces.accessories import (
    antennae,
    beard,
    cape,
    clown,
    diving_mask,
    face_paint,
    fangs,
    hat,
    mask,
    pirate,
    scarf,
    sunglasses,
)
from antcli.drawn_faces.pen import Pen, mix, shade
from antcli.drawn_faces.people import IRIS_COLOURS, Attributes


def paint(person: Attributes, side: int) -> Image.Image:
    image = _background(person, side)
    pen = Pen(ImageDraw.Draw(image), side)
    _hair_behind(pen, person)
    _body(pen, person)
    if person.cape:
        cape(pen, person)
    _head(pen, person)
    if person.face_paint:
        face_paint(pen, person)
    if person.beard:
        beard(pen, person)
    _hair_in_front(pen, person)
    _eyes(pen, person)
    _nose_and_mouth(pen, person)
    if person.cape:
        fangs(pen, person)
    if person.clown:
        clown(pen, person)
    if person.mask:
        mask(pen, person)
    if person.diving_mask:
        diving_mask(pen, person)
    if person.lenses:
        sunglasses(pen, person)
    if person.hat:
        hat(pen, person)
    if person.bandana:
        pirate(pen, person)
    if person.scarf:
        scarf(pen, person)
    if person.antennae:
        antennae(pen, person)
    return image


def _background(person: Attributes, side: int) -> Image.Image:
    top, bottom = person.background_rgb, shade(person.background_rgb, 0.72)
    column = Image.new("RGB", (1, side))
    for y in range(side):
        column.putpixel((0, y), mix(top, bottom, y / (side - 1)))
    return column.resize((side, side))


def _hair_behind(pen: Pen, person: Attributes) -> None:
    x, y, w, h = person.head_x, person.head_y, person.head_width, person.head_height
    shadow = shade(person.hair_rgb, 0.85)
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


def _body(pen: Pen, person: Attributes) -> None:
    x, bottom = person.head_x, person.head_y + person.head_height / 2
    pen.ellipse(0.5 + (x - 0.5) / 2, bottom + 0.26, 0.86, 0.42, person.clothes_rgb)
    pen.box(x, bottom, 0.18, 0.20, 0.05, shade(person.skin_rgb, 0.82))


def _head(pen: Pen, person: Attributes) -> None:
    x, y, w, h = person.head_x, person.head_y, person.head_width, person.head_height
    for side in (-1, 1):
        pen.ellipse(x + side * w / 2, y + 0.03, 0.09, 0.13, shade(person.skin_rgb, 0.86))
    pen.ellipse(x, y, w, h, person.skin_rgb)


def _hair_in_front(pen: Pen, person: Attributes) -> None:
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
        for step in range(0 if person.hat or person.bandana else 5):
            left = x - w / 2 + step * w / 5
            tip = (left + w / 10 + (step - 2) * 0.02, top - 0.12)
            pen.polygon([(left, top + 0.10), tip, (left + w / 5, top + 0.10)], colour)
    elif person.hair_style == "tuft":
        for lean in (-0.05, 0.0, 0.05):
            pen.line((x, top + 0.04), (x + lean, top - 0.07), 0.03, colour)
    elif person.hair_style == "down":
        pen.sector(x, top + 0.14, w * 0.8, 0.28, 180, 360, mix(colour, person.skin_rgb, 0.4))


def _eyes(pen: Pen, person: Attributes) -> None:
    y = person.head_y + person.eye_height
    size = person.eye_size
    brow = shade(person.hair_rgb, 0.7)
    for side in (-1, 1):
        x = person.head_x + side * person.eye_gap / 2
        pen.ellipse(x, y, size * 1.35, size * 1.1, (250, 250, 248))
        pen.ellipse(x, y, size * 0.8, size * 0.9, IRIS_COLOURS[person.iris])
        pen.ellipse(x, y, size * 0.4, size * 0.45, (16, 14, 16))
        lift = y - size - 0.005
        inner = (x - side * 0.05, lift + person.brow_tilt)
        outer = (x + side * 0.05, lift - person.brow_tilt)
        pen.line(inner, outer, 0.028, brow)


def _nose_and_mouth(pen: Pen, person: Attributes) -> None:
    x, w = person.head_x, person.mouth_width
    nose_y = person.head_y + person.eye_height + 0.04 + person.nose
    pen.ellipse(x, nose_y, 0.07, 0.05, shade(person.skin_rgb, 0.74))
    mouth_y = person.head_y + person.head_height * 0.30
    lips = mix((168, 44, 52), person.skin_rgb, 0.15)
    if person.mouth == "smile":
        pen.arc(x, mouth_y - 0.04, w, 0.12, 20, 160, lips)
    elif person.mouth == "open":
        pen.sector(x, mouth_y - 0.02, w, 0.13, 0, 180, (120, 26, 34))
    else:
        pen.line((x - w / 2.4, mouth_y), (x + w / 2.4, mouth_y), 0.028, lips)
