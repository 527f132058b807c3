"""What a face of some domains has besides, from sunglasses to antennae."""

from __future__ import annotations

from antcli.drawn_faces.pen import Pen, mix, shade
from antcli.drawn_faces.people import (
    CAPES,
    HAT_COLOURS,
    LENS_COLOURS,
    MASK_COLOURS,
    PAINT_COLOURS,
    RIMS,
    Attributes,
)


def sunglasses(pen: Pen, person: Attributes) -> None:
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
        pen.line(glint, (glint[0] + 0.045, glint[1]), 0.022, mix(colour, (255, 255, 255), 0.45))


def hat(pen: Pen, person: Attributes) -> None:
    x, w = person.head_x, person.head_width
    top, brim = person.head_y - person.head_height / 2, person.head_y - 0.2
    colour = HAT_COLOURS[person.hat_colour]
    band = mix(colour, (255, 255, 255), 0.7)
    if person.hat == "beanie":
        pen.ellipse(x, max(top - 0.13, 0.07), 0.14, 0.14, band)
        pen.sector(x, brim, w + 0.08, 2 * (brim - top) + 0.2, 180, 360, colour)
        pen.box(x, brim, w + 0.1, 0.1, 0.04, band)
    elif person.hat == "top":
        height = brim - top + 0.15
        pen.box(x, brim - height / 2, w * 0.86, height, 0.03, colour)
        pen.box(x, brim - 0.06, w * 0.86, 0.07, 0, band)
        pen.box(x, brim, w + 0.24, 0.075, 0.035, shade(colour, 0.7))
    else:
        left, right, tip = (x - w * 0.46, brim + 0.02), (x + w * 0.46, brim + 0.02), (x, top - 0.2)
        pen.polygon([left, tip, right], colour)
        pen.line(left, right, 0.07, band)


def face_paint(pen: Pen, person: Attributes) -> None:
    x, y, w, h = person.head_x, person.head_y, person.head_width, person.head_height
    colour = PAINT_COLOURS[person.paint]
    if person.face_paint == "half":
        pen.sector(x, y, w, h, 90, 270, colour)
    elif person.face_paint == "mask":
        pen.box(x, y + person.eye_height, w * 0.98, 0.2, 0.1, colour)
    else:
        for side in (-1, 1):
            for step in range(2):
                below = 0.08 + 0.085 * step
                inner, outer = (x + side * w * 0.2, y + below), (x + side * w * 0.46, y + below)
                pen.line(inner, outer, 0.05, colour)
        pen.line((x, y - h * 0.4), (x, y - h * 0.05), 0.05, colour)


def beard(pen: Pen, person: Attributes) -> None:
    x, y, w, h = person.head_x, person.head_y, person.head_width, person.head_height
    colour, mouth_y = shade(person.hair_rgb, 0.88), person.head_y + person.head_height * 0.30
    if person.beard == "full":
        pen.sector(x, y + 0.02, w * 1.02, h * 1.12, 8, 172, colour)
        pen.ellipse(x, y + 0.03, w * 0.82, h * 0.42, person.skin_rgb)
    elif person.beard == "goatee":
        pen.ellipse(x, mouth_y + 0.06, person.mouth_width + 0.04, 0.17, colour)
    for side in (-1, 1):
        pen.line((x, mouth_y - 0.045), (x + side * 0.1, mouth_y - 0.02), 0.05, colour)


def mask(pen: Pen, person: Attributes) -> None:
    x, y, w, h = person.head_x, person.head_y, person.head_width, person.head_height
    colour = MASK_COLOURS[person.mask_colour]
    top, fold = y + 0.09, shade(colour, 0.8)
    for side in (-1, 1):
        pen.line((x + side * w / 2, y + 0.02), (x + side * w * 0.36, top + 0.03), 0.025, fold)
    if person.mask == "surgical":
        pen.box(x, top + 0.11, w * 0.8, 0.22, 0.05, colour)
        for step in range(3):
            across = top + 0.05 + 0.055 * step
            pen.line((x - w * 0.36, across), (x + w * 0.36, across), 0.016, fold)
    else:
        pen.sector(x, top - 0.02, w * 0.92, h * 0.84, 0, 180, colour)
        for step in range(3 if person.mask == "spotted" else 0):
            pen.ellipse(x + (step - 1) * 0.12, top + 0.08 + 0.03 * (step % 2), 0.06, 0.06, fold)


def antennae(pen: Pen, person: Attributes) -> None:
    x, top = person.head_x, person.head_y - person.head_height / 2
    for side in (-1, 1):
        tip = (x + side * 0.17, max(top - 0.13, 0.05))
        pen.line((x + side * 0.08, top + 0.03), tip, 0.03, shade(person.skin_rgb, 0.8))
        pen.ellipse(tip[0], tip[1], 0.08, 0.08, mix(person.skin_rgb, (255, 255, 120), 0.6))


def scarf(pen: Pen, person: Attributes) -> None:
    x, y = person.head_x, person.head_y + person.head_height / 2 + 0.06
    colour = HAT_COLOURS[person.scarf_colour]
    light = mix(colour, (255, 255, 255), 0.6)
    if person.scarf == "long":
        pen.box(x + 0.16, y + 0.14, 0.13, 0.3, 0.02, shade(colour, 0.85))
    pen.box(x, y, 0.44, 0.13, 0.06, colour)
    for step in range(4 if person.scarf == "striped" else 0):
        across = x + (step - 1.5) * 0.1
        pen.line((across, y - 0.06), (across, y + 0.06), 0.035, light)


def pirate(pen: Pen, person: Attributes) -> None:
    x, y, w, h = person.head_x, person.head_y, person.head_width, person.head_height
    colour, brim, ink = HAT_COLOURS[person.bandana], person.head_y - person.head_height * 0.2, 26
    side = -1 if person.patch == "left" else 1
    eye = (x + side * person.eye_gap / 2, y + person.eye_height)
    pen.line((x - side * w * 0.4, brim), (x + side * w / 2, eye[1] + 0.05), 0.025, (ink, ink, ink))
    pen.ellipse(*eye, 0.17, 0.15, (ink, ink, ink))
    pen.sector(x, brim, w + 0.07, h * 0.72, 180, 360, colour)
    pen.line((x - w / 2 - 0.02, brim), (x + w / 2 + 0.02, brim), 0.06, shade(colour, 0.75))
    pen.ellipse(x + w / 2 + 0.04, brim + 0.03, 0.1, 0.13, shade(colour, 0.85))


def clown(pen: Pen, person: Attributes) -> None:
    x, mouth_y = person.head_x, person.head_y + person.head_height * 0.30
    pen.ellipse(x, mouth_y, person.mouth_width + 0.1, 0.15, (250, 248, 244))
    pen.ellipse(x, mouth_y, person.mouth_width, 0.06, (206, 30, 40))
    nose_y = person.head_y + person.eye_height + 0.04 + person.nose
    pen.ellipse(x, nose_y, 0.13, 0.12, (222, 34, 44))


def cape(pen: Pen, person: Attributes) -> None:
    """A collar that stands up on both sides of the neck; before the head is drawn."""
    x, bottom, w = person.head_x, person.head_y + person.head_height / 2, person.head_width
    colour = CAPES[person.cape]
    for side in (-1, 1):
        tip = (x + side * (w / 2 + 0.12), bottom - 0.24)
        outer, inner = (x + side * (w / 2 + 0.16), bottom + 0.2), (x + side * 0.06, bottom + 0.12)
        pen.polygon([tip, outer, (x, bottom + 0.24), inner], colour)
        pen.polygon([tip, inner, (x + side * 0.12, bottom + 0.02)], mix(colour, (255, 0, 0), 0.5))


def fangs(pen: Pen, person: Attributes) -> None:
    x, y = person.head_x, person.head_y + person.head_height * 0.30
    for side in (-1, 1):
        at = x + side * person.mouth_width * 0.28
        pen.polygon([(at - 0.03, y), (at + 0.03, y), (at, y + 0.08)], (255, 255, 255))


def diving_mask(pen: Pen, person: Attributes) -> None:
    """A rim around glass that whatever is behind shines through, and a snorkel beside the head."""
    x, w, y = person.head_x, person.head_width, person.head_y + person.head_height * 0.30
    eyes, rim = person.head_y + person.eye_height, RIMS[person.diving_mask]
    pen.frame(x, eyes + 0.01, w * 0.86, 0.21, 0.035, rim)
    pen.line((x - w / 2 - 0.01, eyes), (x - w * 0.4, eyes), 0.04, shade(rim, 0.7))
    pen.line((x + w * 0.4, eyes), (x + w / 2 + 0.02, eyes), 0.04, shade(rim, 0.7))
    tube = x + w / 2 + 0.05
    pen.line((tube, eyes - 0.26), (tube, y), 0.05, rim)
    pen.line((tube + 0.02, y), (x + person.mouth_width * 0.3, y), 0.05, shade(rim, 0.85))
