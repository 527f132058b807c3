"""How noise comes over an image: x_t = alpha_t x_0 + sigma_t eps.

A path is alpha_t and sigma_t as functions of a continuous t, which grows with the noise. A variance
schedule of betas is one, the straight path of flow matching another. All that depends on t is asked
of a path; whatever is computed from x_0, eps, x_t and a network's words is written here once, for
any path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
"""diffusers' names of what a network says: eps, v = alpha eps - sigma x_0, x_0, and eps - x_0."""
SHARES = 1001
"""Places along a path that are looked at when one is searched for."""
MOST_GAIN = 10.0
"""How many-fold an error of a network's output may count in the loss as an error of eps."""


class Path(ABC):
    """alpha_t, sigma_t and what follows from them.

    Every `t` is a tensor [B] in the path's own unit and on any device; `like`, [B, C, H, W], gives
    the device, the type and the number of axes of what is returned: [B, 1, 1, 1].
    """

    span: float
    """The times that a network is told run from 0 up to, not including, this."""

    @abstractmethod
    def alpha_sigma(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """What x_0 and eps are multiplied by."""

    @abstractmethod
    def uniform(self, size: int, draw: torch.Generator, limit: float | None = None) -> Tensor:
        """`size` values of t to train at, below `limit` if given; [size], on the CPU."""

    @abstractmethod
    def mirror(self, t: Tensor, limit: float | None = None) -> Tensor:
        """The t as far from the one end as `t` is from the other."""

    @abstractmethod
    def at(self, share: float) -> float:
        """The t of a share of the way from the least noise, 0, to the most, 1."""

    @abstractmethod
    def steps(self, count: int, limit: float | None = None) -> Tensor:
        """Where sampling asks the network, `count` values of t, and then the t without noise.

        The first is where noise is most, or the last below `limit`. None is there twice: of a path
        of whole steps there are no more of them than it has.
        """

    @abstractmethod
    def limit(self, share: float) -> float:
        """The t below which this share of the path lies."""

    @abstractmethod
    def before(self, t: Tensor) -> Tensor:
        """The t that is one step of sampling nearer to x_0."""

    def antithetic(self, size: int, draw: torch.Generator, limit: float | None = None) -> Tensor:
        """As `uniform`, the second half mirroring the first: less variance of a loss over t."""
        half = self.uniform((size + 1) // 2, draw, limit)
        return torch.cat([half, self.mirror(half, limit)])[:size]

    def network_time(self, t: Tensor) -> Tensor:
        """The time that a network is told at t."""
        return t

    def share_where(self, noise: float) -> float:
        """The share of the path at which sigma / alpha, which grows along it, is `noise`.

        In (0, 1], to a thousandth: the first at which it is not less, or the last there is.
        """
        last = SHARES - 1
        t = torch.tensor([self.at(place / last) for place in range(SHARES)])
        alpha, sigma = self.alpha_sigma(t, torch.empty(1, dtype=torch.float64))
        place = int((sigma < noise * alpha).sum())
        return min(max(place, 1), last) / last

    def log_snr(self, t: Tensor, like: Tensor) -> Tensor:
        """log(alpha^2 / sigma^2): falls with t."""
        alpha, sigma = self.alpha_sigma(t, like)
        return 2 * (alpha.log() - sigma.log())

    def sigma_hat(self, t: Tensor, like: Tensor) -> Tensor:
        """sigma_s^2 alpha_t / (alpha_s sigma_t), with s the step before t.

        For betas it is (1 - alpha_bar_{t-1}) sqrt((1 - beta_t) / (1 - alpha_bar_t)) (ANT, below
        Eq. 5).
        """
        alpha, sigma = self.alpha_sigma(t, like)
        alpha_before, sigma_before = self.alpha_sigma(self.before(t), like)
        return sigma_before.square() * alpha / (alpha_before * sigma)

    def add_noise(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t (DDPM, Eq. 4)."""
        alpha, sigma = self.alpha_sigma(t, x_0)
        return alpha * x_0 + sigma * eps

    def to_x_0(
        self, output: Tensor, x_t: Tensor, t: Tensor, prediction: Prediction = "epsilon"
    ) -> Tensor:
        """The x_0 that a network's output at x_t and t means, not clipped."""
        if prediction == "sample":
            return output
        alpha, sigma, of_x_0, of_eps = self._mixture(t, x_t, prediction)
        return (of_eps * x_t - sigma * output) / (alpha * of_eps - sigma * of_x_0)

    def to_eps(
        self, output: Tensor, x_t: Tensor, t: Tensor, prediction: Prediction = "epsilon"
    ) -> Tensor:
        """The eps that a network's output at x_t and t means (Salimans and Ho 2022, App. D)."""
        if prediction == "epsilon":
            return output
        alpha, sigma, of_x_0, of_eps = self._mixture(t, x_t, prediction)
        return (alpha * output - of_x_0 * x_t) / (alpha * of_eps - sigma * of_x_0)

    def output(self, x_0: Tensor, eps: Tensor, t: Tensor, prediction: Prediction) -> Tensor:
        """What a network would have to say to mean this x_0 and this eps."""
        _, _, of_x_0, of_eps = self._mixture(t, x_0, prediction)
        return of_x_0 * x_0 + of_eps * eps

    def weight(self, t: Tensor, like: Tensor, prediction: Prediction) -> Tensor:
        """What multiplies |eps - eps_theta|^2 in every loss: 1, for all predictions alike.

        An error of the output counts alpha / |alpha b - sigma a|-fold in eps, for an output
        a x_0 + b eps. Of eps, v and flow that is at most 1. Of x_0 it is alpha / sigma, 100 at the
        first step of Ho et al.'s betas: there eps is rounding, and would drown all other steps.
        Beyond `MOST_GAIN` the weight falls, so that it counts no more than this.
        """
        alpha, sigma, of_x_0, of_eps = self._mixture(t, like, prediction)
        gain = alpha / (alpha * of_eps - sigma * of_x_0).abs()
        return (MOST_GAIN / gain).square().clamp(max=1)

    def _mixture(
        self, t: Tensor, like: Tensor, prediction: Prediction
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha, sigma, and the a and b of a network's output a x_0 + b eps."""
        alpha, sigma = self.alpha_sigma(t, like)
        zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
        a, b = {
            "epsilon": (zero, one),
            "sample": (one, zero),
            "v_prediction": (-sigma, alpha),
            "flow_prediction": (-one, one),
        }[prediction]
        return alpha, sigma, a, b


@dataclass(frozen=True)
class BetaPath(Path):
    """A variance schedule, `betas` [T] in float64: alpha^2 is alpha_bar, sigma^2 is 1 - alpha_bar.

    t is counted from 0 to T-1 as in the code of DDPM, and is -1 where there is no noise. Between
    two steps the logarithm of alpha is linear (Lu et al. 2022, DPM-Solver, App. D.4).
    """

    betas: Tensor
    _log_alpha: dict[tuple[torch.device, torch.dtype], Tensor] = field(
        default_factory=dict, repr=False, compare=False
    )
    """At t = -1, 0, ... T-1; a copy for each device and type that has asked."""

    @classmethod
    def linear(cls, timesteps: int = 1000, start: float = 1e-4, end: float = 0.02) -> BetaPath:
        """Linear betas (Ho et al. 2020, section 4)."""
        return cls(torch.linspace(start, end, timesteps, dtype=torch.float64))

    @property
    def span(self) -> int:  # type: ignore[override]
        """T."""
        return len(self.betas)

    def alpha_sigma(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Exact at whole t."""
        log_alpha = self._looked_up(t, like)
        shape = (-1, *[1] * (like.ndim - 1))
        alpha, sigma = log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()
        return alpha.to(like.dtype).view(shape), sigma.to(like.dtype).view(shape)

    def uniform(self, size: int, draw: torch.Generator, limit: float | None = None) -> Tensor:
        """Whole steps."""
        return torch.randint(self._end(limit), (size,), generator=draw)

    def mirror(self, t: Tensor, limit: float | None = None) -> Tensor:
        """limit-1-t."""
        return self._end(limit) - 1 - t

    def at(self, share: float) -> int:
        """A whole step, 0 to T-1."""
        return round(share * (self.span - 1))

    def steps(self, count: int, limit: float | None = None) -> Tensor:
        """Whole steps from T-1 down, evenly apart (`trailing`, Lin et al. 2024); and -1."""
        top = self._end(limit)
        count = min(count, top)
        down = torch.arange(top, 0, -top / count, dtype=torch.float64).round() - 1
        return torch.cat([down[:count], down.new_full((1,), -1)]).long()

    def limit(self, share: float) -> int:
        """A whole step, at least the first."""
        return max(1, round(share * self.span))

    def before(self, t: Tensor) -> Tensor:
        """t-1."""
        return t - 1

    def _end(self, limit: float | None) -> int:
        return self.span if limit is None else int(limit)

    def _looked_up(self, t: Tensor, like: Tensor) -> Tensor:
        table = self._table(like.device, torch.promote_types(like.dtype, torch.float32))
        place = t.to(like.device).to(table.dtype) + 1
        low = place.long().clamp(0, self.span - 1)
        return torch.lerp(table[low], table[low + 1], place - low)

    def _table(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        if (device, dtype) not in self._log_alpha:
            steps = torch.log1p(-self.betas.cpu().double()) / 2
            values = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
            self._log_alpha[device, dtype] = values.to(dtype).to(device)
        return self._log_alpha[device, dtype]


@dataclass(frozen=True)
class StraightPath(Path):
    """Flow matching: x_t = (1 - t) x_0 + t eps, t in [0, 1] (Lipman et al. 2023; Liu et al. 2023).

    Where all is noise, at t = 1, eps does not tell x_0: draws stay below it.
    """

    span: float = 1000.0
    """Networks are told 1000 t, as diffusers' pipelines do."""

    def alpha_sigma(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """1 - t and t."""
        sigma = t.to(like).view(-1, *[1] * (like.ndim - 1))
        return 1 - sigma, sigma

    def uniform(self, size: int, draw: torch.Generator, limit: float | None = None) -> Tensor:
        """In [0, limit], short of 1 by a thousandth."""
        return torch.rand(size, generator=draw) * self._end(limit)

    def mirror(self, t: Tensor, limit: float | None = None) -> Tensor:
        """limit-t."""
        return self._end(limit) - t

    def _end(self, limit: float | None) -> float:
        return min(1 - 1 / self.span, 1.0 if limit is None else limit)

    def at(self, share: float) -> float:
        """The share itself."""
        return share

    def steps(self, count: int, limit: float | None = None) -> Tensor:
        """Evenly down from a thousandth below 1."""
        return torch.linspace(self._end(limit), 0, count + 1, dtype=torch.float64).float()

    def limit(self, share: float) -> float:
        """The share itself."""
        return share

    def before(self, t: Tensor) -> Tensor:
        """A thousandth less."""
        return (t - 1 / self.span).clamp(min=0)

    def network_time(self, t: Tensor) -> Tensor:
        """1000 t."""
        return t * self.span
