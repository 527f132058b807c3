"""Pillow's drawing calls in fractions of an image's side, and the mixing of colours."""

from __future__ import annotations

import random

from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Pen:
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

    def frame(
        self, x: float, y: float, width: float, height: float, thickness: float, colour: Colour
    ) -> None:
        self._draw.rounded_rectangle(
            self._box(x, y, width, height),
            2 * thickness * self._side,
            outline=colour,
            width=max(1, round(thickness * self._side)),
        )

    def polygon(self, points: list[Point], fill: Colour) -> None:
        self._draw.polygon([(x * self._side, y * self._side) for x, y in points], fill=fill)

    def line(self, start: Point, end: Point, width: float, fill: Colour) -> None:
        ends = [(x * self._side, y * self._side) for x, y in (start, end)]
        self._draw.line(ends, fill=fill, width=max(1, round(width * self._side)))

    def _box(self, x: float, y: float, width: float, height: float) -> list[float]:
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return [corner * self._side for corner in corners]


def byte(value: float) -> int:
    return max(0, min(255, round(value)))


def vary(draw: random.Random, colour: Colour, spread: int) -> Colour:
    shift = draw.randint(-spread, spread)
    red, green, blue = (byte(c + shift + draw.randint(-spread // 2, spread // 2)) for c in colour)
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    return byte(colour[0] * factor), byte(colour[1] * factor), byte(colour[2] * factor)


def mix(a: Colour, b: Colour, share_of_b: float) -> Colour:
    red, green, blue = (
        byte((1 - share_of_b) * p + share_of_b * q) for p, q in zip(a, b, strict=True)
    )
    return red, green, blue
