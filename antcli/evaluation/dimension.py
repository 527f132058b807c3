"""In how many directions images vary, and how many target images theory would ask for.

E. Levina and P. Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension", NeurIPS 2004
(2005), averaged over the points as D. MacKay and Z. Ghahramani corrected it ("Comments on 'Maximum
Likelihood Estimation of Intrinsic Dimension'", 2005); of images by P. Pope et al., "The Intrinsic
Dimension of Images and Its Impact on Learning", ICLR 2021 (arXiv 2104.08894). The rule: R. Yang et
al., "Few-Shot Diffusion Models Escape the Curse of Dimensionality", NeurIPS 2024, Table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from antcli.evaluation.checks import checked, pairwise_distances

NEIGHBOURS = range(3, 21)
"""k of Pope et al., from the fewest to the most; the estimate is the mean over these."""
_ROWS = 512  # of a matrix of distances, held at a time


@dataclass(frozen=True)
class IntrinsicDimension:
    """An estimate, and how far it depends on how many neighbours are asked."""

    estimate: float
    by_k: tuple[float, ...]
    """For each k of `NEIGHBOURS`."""
    samples: int
    """Distinct ones. Few read low: 64 read 7 where 10 directions are, and 15 where there are 30."""

    @property
    def span(self) -> tuple[float, float]:
        """The least and the most that some k says."""
        return min(self.by_k), max(self.by_k)


def intrinsic_dimension(rows: Tensor) -> IntrinsicDimension:
    """Of points [N, D]: nearest-neighbour likelihood, in float64 on the CPU.

    With T_j(x) the distance of x to its j-th neighbour, 1/m_k is the mean of log(T_k(x) / T_j(x))
    over all x and j < k. Equal points count once.
    Raises `AntError` for no more distinct points than the most neighbours, and for NaN.
    """
    least = NEIGHBOURS[-1] + 1
    points = checked(rows, "samples", least)
    points = checked(points.unique(dim=0), "distinct samples", least)
    log_t = torch.cat([_nearest(part, points) for part in points.split(_ROWS)]).log()
    by_k = [float(1 / (log_t[:, k - 1 : k] - log_t[:, : k - 1]).mean()) for k in NEIGHBOURS]
    return IntrinsicDimension(sum(by_k) / len(by_k), tuple(by_k), len(points))


def _nearest(part: Tensor, points: Tensor) -> Tensor:
    """Distances [B, most] of some points to their nearest others, in order."""
    found = pairwise_distances(part, points).topk(NEIGHBOURS[-1] + 1, largest=False).values
    return found[:, 1:]  # the nearest of all is the point itself


def images_asked(source_images: int, dimension: float) -> float:
    """n_s^(4/d), the target images at which their part of the error bound is the source's.

    A rule of thumb (Yang et al., Table 1, which rounds up and has 5 at the least). It drops all
    constants, and is the limit of n_s without end: with the logarithms of the paper's own condition
    no data set there is meets it. The bound is on the score and says nothing of how images look.
    """
    return float(source_images ** (4 / dimension))
