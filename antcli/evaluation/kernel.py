"""Kernel distance between two sets of features: the squared maximum mean discrepancy.

M. Binkowski et al., "Demystifying MMD GANs", ICLR 2018 (arXiv 1801.01401), Sec. 4, with the cubic
kernel k(x, y) = (x.y / D + 1)^3. It is called KID where the features are those of the Inception
network. Its estimator is unbiased: it does not fall with the number of images, as the Frechet
distance does, and can be below 0 for sets that are alike.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from antcli.evaluation import cautions
from antcli.evaluation.checks import checked_pair
from antcli.randomness import generator

RESAMPLES = 1000
CONFIDENCE = 0.95
_ROWS = 512  # of a kernel matrix, held at a time


@dataclass(frozen=True)
class KernelDistance:
    """The result, with all that it takes to compare it with another."""

    value: float
    """The unbiased estimate of MMD^2 on all images."""
    low: float
    high: float
    """The ends of the 95 % bootstrap interval around it."""
    subset_mean: float
    """The mean over random subsets, which is what other programs report."""
    subset_std: float
    """Over the subsets (of a population, n), as others report; it is no error of the mean."""
    cautions: tuple[str, ...]
    definition: dict[str, object]

    def as_dict(self) -> dict[str, object]:
        """The result as JSON takes it."""
        return {"metric": "kernel-distance", **asdict(self)}


def kernel_distance(
    real: Tensor, fake: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Kernel distance between features real [M, D] and fake [N, D], in float64.

    - `value` is the unbiased estimate on all images: a mean of k over the pairs of different
      images within each set, minus twice its mean over the pairs across.
    - `low` and `high` are percentiles of 1,000 bootstrap resamples. Both sets are resampled with
      replacement, independently, so the interval covers the choice of the reference images as
      well. A pair of an image with itself, which the estimator leaves out and a resample holds,
      is left out there, too, and the mean is over the pairs that remain: the plain bootstrap
      would count k(x, x) and lie too high. A resample of one image alone has no pair and does
      not count. Where the sets are of one distribution the interval is too wide (the estimate
      is then degenerate: its variance falls with 1/N^2 and resampling overstates it), so 0
      outside the interval can be believed.
    - `subset_mean` is over `subsets` draws, without replacement, of `subset_size` images of each
      set, or of all images of the smaller set where it has fewer.

    All are means of k under weights on the images (ones; counts in a resample; members of a
    subset), so each kernel is computed once, in parts: memory grows with M + N, not with M N.

    Raises `AntError` for fewer than two images, for NaN and for two feature spaces.
    """
    real, fake = checked_pair(real, fake, least=2)
    size = min(subset_size, len(real), len(fake))
    members = _subsets(len(real), len(fake), size, subsets, seed)
    u = torch.cat([torch.ones(1, len(real)), members[0], _resamples(len(real), seed, 0)])
    v = torch.cat([torch.ones(1, len(fake)), members[1], _resamples(len(fake), seed, 1)])
    estimates = _weighted_mmd(real, fake, u.to(real), v.to(fake))
    value, of_subsets, of_resamples = estimates.split([1, subsets, RESAMPLES])
    tail = (1 - CONFIDENCE) / 2
    low, high = of_resamples.nanquantile(of_resamples.new_tensor([tail, 1 - tail])).tolist()
    return KernelDistance(
        value=float(value),
        low=low,
        high=high,
        subset_mean=float(of_subsets.mean()),
        subset_std=float(of_subsets.std(correction=0)),
        cautions=cautions.kernel(len(real), len(fake)),
        definition={
            "kernel": "(x.y / D + 1)^3",
            "estimator": "unbiased",
            "interval": f"{CONFIDENCE:.0%} percentile bootstrap, both sets, no image with itself",
            "resamples": RESAMPLES,
            "subsets": subsets,
            "subset_size": size,
            "seed": seed,
            "dimensions": real.shape[1],
            "reference_images": len(real),
            "generated_images": len(fake),
        },
    )


def _subsets(real: int, fake: int, size: int, subsets: int, seed: int) -> tuple[Tensor, Tensor]:
    """Ones for the members of each subset, zeros elsewhere: [subsets, real], [subsets, fake]."""
    u, v = torch.zeros(subsets, real), torch.zeros(subsets, fake)
    for i in range(subsets):
        draw = generator(seed, "kid-subsets", i)
        u[i, torch.randperm(real, generator=draw)[:size]] = 1
        v[i, torch.randperm(fake, generator=draw)[:size]] = 1
    return u, v


def _resamples(count: int, seed: int, which: int) -> Tensor:
    """How often each of `count` images occurs in each resample, [RESAMPLES, count]."""
    draw = generator(seed, "kid-bootstrap", which)
    chosen = torch.randint(count, (RESAMPLES, count), generator=draw)
    return torch.zeros(RESAMPLES, count).scatter_add_(1, chosen, torch.ones(RESAMPLES, count))


def _weighted_mmd(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """MMD^2 for B rows of weights, u [B, M] on x [M, D] and v [B, N] on y [N, D]; [B]."""
    return _mean_within(x, u) + _mean_within(y, v) - 2 * _mean_across(x, y, u, v)


def _mean_within(x: Tensor, u: Tensor) -> Tensor:
    """Sum of u_i u_j k(x_i, x_j) over i < j, divided by that of u_i u_j; [B]. NaN if that is 0."""
    total = u.new_zeros(len(u))
    for start in range(0, len(x), _ROWS):
        later = _kernel(x[start : start + _ROWS], x[start:]).triu(1)
        total += _form(later, u[:, start : start + _ROWS], u[:, start:])
    return total / ((u.sum(1).square() - u.square().sum(1)) / 2)


def _mean_across(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Sum of u_i v_j k(x_i, y_j) over all i and j, divided by that of u_i v_j; [B]."""
    total = u.new_zeros(len(u))
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        total += _form(_kernel(x[rows], y), u[:, rows], v)
    return total / (u.sum(1) * v.sum(1))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / D + 1)^3 for all pairs, [M, N]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _form(k: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Sum of u_i k_ij v_j for each row of u [B, M] with that of v [B, N]; [B]."""
    return torch.linalg.vecdot(u, v @ k.T)
