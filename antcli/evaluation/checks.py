"""What every metric asks of the numbers it is given, said in one line where it is not so."""

from __future__ import annotations

import torch
from torch import Tensor

from antcli.errors import AntError

REFERENCE = "reference images"
GENERATED = "generated images"
TARGET = "target images"


def checked(rows: Tensor, what: str, least: int) -> Tensor:
    """Features or distances [N, D] as float64 on the CPU, at least `least` rows of finite numbers.

    `what` names them in the message. Raises `AntError` where they are too few, NaN or infinite.
    """
    check_enough(len(rows), what, least)
    check_finite(rows, what)
    return rows.cpu().double()


def check_finite(rows: Tensor, what: str) -> None:
    """Raise `AntError` where there is NaN or infinity in rows [N, D]."""
    broken = int((~rows.isfinite()).any(dim=1).sum())
    if broken:
        raise AntError(
            f"the network gave NaN or infinity for {broken} of {len(rows)} {what}",
            "numbers of 16 bits overflow easily: evaluate in 32 bits, and check the weights",
        )


def check_enough(count: int, what: str, least: int) -> None:
    """Raise `AntError` for fewer than `least`."""
    if count < least:
        raise AntError(
            f"too few {what}: {count}, where at least {least} are needed",
            "give more of them, or ask for what takes fewer",
        )


def checked_pair(real: Tensor, fake: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Features [M, D] of the reference and [N, D] of the generated images, both `checked`.

    Raises `AntError`, too, where they are of different feature spaces, as their D shows.
    """
    check_same_space(real.shape[1], fake.shape[1])
    return checked(real, REFERENCE, least), checked(fake, GENERATED, least)


def check_same_space(real: int, fake: int) -> None:
    """Raise `AntError` where the numbers of dimensions differ."""
    if real != fake:
        raise AntError(
            f"{real} features of {REFERENCE}, {fake} of {GENERATED}: not the same feature space",
            "compute both in the same one",
        )


def pairwise_distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances [M, N] between features x [M, D] and y [N, D]: by differences, exact for copies."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
