"""What a face of some domains wears besides: sunglasses, a hat, paint."""

from __future__ import annotations

from antcli.drawn_faces.pen import Pen, mix, shade
from antcli.drawn_faces.people import HAT_COLOURS, LENS_COLOURS, PAINT_COLOURS, Attributes


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
