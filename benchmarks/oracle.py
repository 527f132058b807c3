"""What ten images allow: people of the source's variety, what is new taken from one of the ten."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy
import torch
from torch import Tensor

from antcli.drawn_faces.domains import attributes, render

FIRST_SHOT = 900_000
"""Of the seeds of the ten, as examples/draw_10shots.py draws them."""
SHOTS = 10
FIRST_PERSON = 6_000_000
NEW: dict[str, tuple[str, ...]] = {
    "sunglasses": ("lenses", "lens"),
    "babies": (
        "hair_style",
        "head_y",
        "head_width",
        "head_height",
        "eye_size",
        "eye_gap",
        "eye_height",
        "nose",
        "mouth_width",
    ),
    "hats": ("hat", "hat_colour"),
    "face-paint": ("face_paint", "paint"),
    "beards": ("beard",),
    "masks": ("mask", "mask_colour"),
    "scarves": ("scarf", "scarf_colour"),
    "pirates": ("bandana", "patch"),
    "vampires": ("skin_rgb", "cape"),
    "divers": ("diving_mask",),
    "clowns": ("clown", "hair_style", "hair_rgb"),
    "aliens": (
        "hair_style",
        "antennae",
        "skin_rgb",
        "eye_size",
        "eye_gap",
        "head_width",
        "nose",
        "mouth_width",
    ),
}
"""Attributes that only the target has; a finish has none: its oracle is the domain itself."""


def oracle_of_ten(domain: str, count: int, draw: int, size: int = 32) -> Tensor:
    """Images in [-1, 1], [count, 3, size, size], of people that no other `draw` has."""
    shots = [attributes(FIRST_SHOT + i, domain) for i in range(SHOTS)]
    choose = random.Random(draw)
    images = []
    for seed in range(FIRST_PERSON + draw * count, FIRST_PERSON + (draw + 1) * count):
        shot, person = choose.choice(shots), attributes(seed, domain)
        person = replace(person, **{name: getattr(shot, name) for name in NEW.get(domain, ())})
        pixels = numpy.asarray(render(person, size, domain))
        images.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
    return torch.stack(images).float() / 127.5 - 1
