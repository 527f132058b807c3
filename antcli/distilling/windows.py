"""The windows of a student's steps, and what its teacher makes of them.

A step from t to s goes down the straight line on which x_0 and eps, as the network says them, put
x_t: in x / alpha it is x_0 + n eps, with n = sigma / alpha. It goes on to the n at which it ends,
and what is missing to the n of s is added as fresh noise. A student learns the line on which its
teacher, along many short steps without noise, would have come to the same end (PeRFlow, Yan et al.
2024; Salimans and Ho 2022, App. G, for a window of two steps).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from antcli.diffusion.path import Path
from antcli.diffusion.sampler import Sampler
from antcli.diffusion.sampling import Ddim, along
from antcli.methods.build import Objective
from antcli.methods.choice import Step

SMALL = 1e-3
"""An error below which the loss is a square: a tenth of a level of 255."""


@dataclass(frozen=True)
class Window:
    """Of one step."""

    t: float
    """Where the student is asked."""
    end: float
    """Where the line ends that its answer stands for."""


def windows(path: Path, sampler: Sampler) -> tuple[Window, ...]:
    """Of the steps of `ddim`, which adds no noise, or of `ddpm`.

    The posterior of `ddpm` keeps of eps what takes n from n_t to n_s^2 / n_t (Ho et al. 2020,
    Eq. 7): its line ends as far below s as s is below t.
    """
    times = path.steps(sampler.steps, sampler.limit(path)).tolist()
    ends = [s if sampler.scheduler == "ddim" else _below(path, t, s) for t, s in _steps(times)]
    return tuple(Window(t, end) for t, end in zip(times, [*ends, times[-1]], strict=False))


def _steps(times: list[float]) -> list[tuple[float, float]]:
    """From each t to the next, but for the last, which has no noise left to add."""
    return list(itertools.pairwise(times[:-1]))


def _below(path: Path, t: float, s: float) -> float:
    """Where the line of `ddpm` ends."""
    alpha, sigma = path.alpha_sigma(
        torch.tensor([t, s]), torch.empty(1, dtype=torch.float64, device="cpu")
    )
    n_t, n_s = (sigma / alpha).flatten().tolist()
    return path.at(path.share_where(n_s**2 / n_t))


def line(path: Path, x_t: Tensor, t: Tensor, x_s: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """The x_0 and eps, as x_t is, for which both x_t and x_s are alpha x_0 + sigma eps."""
    a_t, s_t = path.alpha_sigma(t, x_t)
    a_s, s_s = path.alpha_sigma(s, x_t)
    apart = s_t * a_s - s_s * a_t
    return (s_t * x_s - s_s * x_t) / apart, (a_s * x_t - a_t * x_s) / apart


def taught(
    predict: Callable[[Tensor, Tensor], Tensor],
    path: Path,
    x_t: Tensor,
    window: Window,
    steps: int,
    *,
    clip: bool,
) -> tuple[Tensor, Tensor]:
    """x_0 and eps of the line from x_t to where `steps` of the teacher's DDIM end a window."""
    times = torch.linspace(window.t, window.end, steps + 1, dtype=torch.float64, device="cpu")
    x_end = along(predict, path, x_t, times, Ddim(no_noise), clip)
    t, end = (torch.full((len(x_t),), at) for at in (window.t, window.end))
    return line(path, x_t, t, x_end, end)


def no_noise() -> Tensor:
    """What a solver that draws no noise is given to draw it."""
    raise AssertionError("DDIM draws no noise")


@dataclass(frozen=True)
class WindowObjective(Objective):
    """The error of x_0, and where there is more signal than noise that of eps; of each image its
    root mean square, by a pseudo-Huber loss.

    The truncated SNR of Salimans and Ho (2022, Eq. 9): with the error of eps alone, what is learnt
    where noise is most would move x_0 by sigma / alpha of it; with that of x_0 alone, the late
    windows would count for nothing. Squared, the error of the first window is still a hundred times
    that of the last, which draws the details: a root (Song and Dhariwal 2024, section 3.3) gives
    all windows a gradient of one size.
    """

    def loss(self, step: Step, target: Tensor) -> Tensor:
        """The mean over the images."""
        alpha, sigma = step.path.alpha_sigma(step.t, step.x_t)
        weight = (sigma / alpha).square().clamp(min=1)
        square = (weight * (step.output - target).square()).flatten(1).mean(1)
        return ((square + SMALL**2).sqrt() - SMALL).mean()
