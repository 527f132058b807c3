"""Where there are too few images for what is asked: one plain line for each reason.

Pure functions of counts, so that they can speak before anything is computed.
"""

from __future__ import annotations

from antcli.evaluation.checks import GENERATED, REFERENCE

FEW_FOR_KERNEL = 10
FEW_TARGETS = 10
WIDE_BALL = 0.1
"""The largest share of a set that a ball should take in to tell where the set is."""
LOW_COVERAGE = 0.9
NEAR_DUPLICATES = 0.25
"""A threshold below this share of the median is the doing of two target images alone."""


def frechet(real: int | None, fake: int | None, dimensions: int) -> tuple[str, ...]:
    """For Gaussians fitted to so many images; None where the number is not known."""
    return tuple(
        f"{count} {name} are too few for {dimensions} features: their covariance is singular "
        "and the Frechet distance too high; compare it only at equal numbers of images"
        for count, name in ((real, REFERENCE), (fake, GENERATED))
        if count is not None and count <= dimensions
    )


def kernel(real: int, fake: int) -> tuple[str, ...]:
    """For the kernel distance of so many images; its interval says the rest."""
    return tuple(
        f"{count} {name} are too few for the kernel distance: neither its value nor its "
        f"interval is worth much below {FEW_FOR_KERNEL}"
        for count, name in ((real, REFERENCE), (fake, GENERATED))
        if count < FEW_FOR_KERNEL
    )


def prdc(real: int, fake: int, k: int, equal_coverage: float) -> tuple[str, ...]:
    """For balls up to the k-th neighbour; `equal_coverage` is what a perfect generator gets."""
    sets = (
        (real, REFERENCE, "precision, density and coverage"),
        (fake, GENERATED, "recall"),
    )
    lines = [
        f"{count} {name} are few for k = {k}: a ball around one of them takes in "
        f"{k / (count - 1):.0%} of the others, so {measured} may look better than it is"
        for count, name, measured in sets
        if k / (count - 1) > WIDE_BALL
    ]
    if equal_coverage < LOW_COVERAGE:
        lines.append(
            f"{fake} {GENERATED} are few for {real} {REFERENCE}: even a perfect "
            f"generator would cover {equal_coverage:.0%} of them only"
        )
    return tuple(lines)


def memorization(
    targets: int, distinct: int, chance: float, threshold: float, median: float
) -> tuple[str, ...]:
    """For `targets` images, `distinct` without repetitions, as `Memorization` describes them.

    `median` is that of the distances from each target image to the nearest other one.
    """
    lines = []
    if distinct < targets:
        lines.append(f"{targets - distinct} of the target images repeat others and do not count")
    if distinct < FEW_TARGETS:
        lines.append(
            f"{distinct} different target images are few: {chance:.0%} of new images of their "
            "own domain would pass for copies"
        )
    if threshold < NEAR_DUPLICATES * median:
        lines.append(
            f"two target images are nearly the same, which makes the threshold low "
            f"({threshold:.3g}, typical is {median:.3g}): only closer copies are counted"
        )
    return tuple(lines)
