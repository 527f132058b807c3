"""Noise before a critic, no more of it than keeps the critic unsure (Diffusion-GAN).

Z. Wang et al., "Diffusion-GAN: Training GANs with Diffusion", ICLR 2023 (arXiv 2206.02262),
section 3 and Table 5. Real and generated images are noised alike,

    y = sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) sigma eps,

and the critic is told t. What it says of y reaches the generator through x. Each image has its t
from a list of 64: half are 0, which is no noise, half were drawn from p_pi on 1..T. Where the
critic is too sure of real images, T grows, and the list is drawn anew; where it is not, T falls.

The authors' code differs from the paper, and here it is so:
- *T.* The paper moves T by a constant C, and leaves it open. As in the code, T is where it is after
  so many images of one direction: `images` of them lead from `t_min` to `t_max`.
- *betas.* Both have them run from `beta_start` to `beta_end`; as in the code, they do over 1..T,
  whatever T is. So a t has the less noise, the larger T is. A `path` that is given stays itself.
- *Logits.* The paper's sign(D - 0.5) is the sign of a logit.
- *Priority.* p_pi(t) is proportional to t, as in the paper; in the code to t - 1: 1 is never drawn.
- *T_min* is 5, as in the paper; the code has 10 for StyleGAN2 and InsGen. *T_max* for uniform p_pi
  is 500 in the paper, 1000 in the code for StyleGAN2; here it is what `t_max` says.
- *Features.* The code for ProjectedGAN tells the critic no t, has one for each channel, and a list
  that is no longer than T asks for. Here the critic is told, and an image has one t.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from antcli.diffusion.path import BetaPath
from antcli.randomness import generator
from antcli.settings import Count, Positive, Share, settings

Prior = Literal["priority", "uniform"]
ENTRIES = 64
"""Of the list; half of them are 0."""


@settings
class DiffusionNoiseSettings:
    """The defaults are the paper's Table 5, for pixels in [-1, 1]."""

    sigma: Positive = 0.05
    """Standard deviation of the noise where nothing is left of the image."""
    beta_start: Share = 1e-4
    beta_end: Share = 0.02
    prior: Prior = "priority"
    """p_pi: in proportion to t, or the same for every t."""
    t_min: Count = 5
    t_max: Count = 1000
    """T ends here. The paper has 500 where `prior` is uniform. A critic that knows its few real
    images by heart is always sure of them: its T goes to the end and stays."""
    d_target: Annotated[float, Ge(-1), Le(1)] = 0.6
    """r_d, the mean sign of the critic's logits of real images, above which T grows."""
    interval: Count = 4
    """Minibatches between two moves of T."""
    images: Count = 100_000
    """Real images that the critic sees while T goes all the way; in the code, `ada_kimg`."""

    def __post_init__(self) -> None:
        if self.t_max < self.t_min:
            raise ValueError("t_max: at least t_min")


@dataclass(frozen=True)
class Move:
    """What the controller read, and where it went."""

    minibatch: int
    """Counted from 1: after so many of them."""
    r_d: float
    """In [-1, 1]."""
    T: int


class DiffusionNoise:
    """The noise, the list of t, and the controller of T; `history` has all moves of T.

    With a `path`, its steps 0..T-1 are 1..T, whatever T is; without one, betas run over 1..T.
    """

    def __init__(
        self, config: DiffusionNoiseSettings, seed: int = 0, path: BetaPath | None = None
    ) -> None:
        """Begins at `t_min`. Raises `ValueError` where `path` has fewer steps than `t_max`."""
        if path is not None and path.span < config.t_max:
            raise ValueError(f"t_max is {config.t_max}, and the path has {path.span} steps")
        self.config, self.seed, self._given = config, seed, path
        self.history: list[Move] = []
        self._place, self._minibatches = float(config.t_min), 0
        self._seen: Tensor | None = None
        """Sum of the signs since the last move, and their number."""
        self._begin_list()

    @property
    def T(self) -> int:  # noqa: N802
        """The largest t that may be drawn."""
        return round(self._place)

    def draw(self, count: int, draw: torch.Generator) -> Tensor:
        """Each image's t, [count] on the CPU, from the list; 0 is no noise."""
        return self.list[torch.randint(ENTRIES, (count,), generator=draw)]

    def __call__(self, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The noised y [B, ...] of x and standard normal `eps`, [B, ...] both, at t [B] in 0..T; it
        has a graph to x.
        """
        return self.path.add_noise(x, self.config.sigma * eps, t - 1)

    def observe(self, logits: Tensor) -> None:
        """Take in what the critic says of noised real images, in any shape, positive where real.

        The host does not wait for it.
        """
        signs = logits.detach().float().sign()
        seen = torch.stack([signs.sum(), torch.ones_like(signs).sum()])
        self._seen = seen if self._seen is None else self._seen + seen

    def advance(
        self, batch_size: int, together: Callable[[Tensor], Tensor] = lambda seen: seen
    ) -> Move | None:
        """End a minibatch of `batch_size` real images, over all processes: T moves after every
        `interval` of them.

        `together` is the sum over the processes, of which each has observed its own share. Only
        where T moves does the host wait for what was observed.
        """
        self._minibatches += 1
        if self._minibatches % self.config.interval:
            return None
        assert self._seen is not None, "observe() comes first"
        signs, number = together(self._seen).tolist()
        self._seen = None
        return self._move(signs / number, batch_size)

    def _move(self, r_d: float, batch_size: int) -> Move:
        config = self.config
        images = config.interval * batch_size
        far = (config.t_max - config.t_min) * images / config.images
        above, below = r_d > config.d_target, r_d < config.d_target
        place = self._place + far * (above - below)
        self._place = min(max(place, float(config.t_min)), float(config.t_max))
        self.history.append(Move(self._minibatches, r_d, self.T))
        self._begin_list()
        return self.history[-1]

    def state(self) -> dict[str, Tensor]:
        """All that its next draws and moves depend on, on the CPU, and its history."""
        moves = [(move.minibatch, move.r_d, move.T) for move in self.history]
        seen = torch.zeros(2) if self._seen is None else self._seen.cpu()
        return {
            "place": torch.tensor(self._place, dtype=torch.float64, device="cpu"),
            "minibatches": torch.tensor(self._minibatches),
            "seen": seen,
            "history": torch.tensor(moves, dtype=torch.float64, device="cpu").reshape(-1, 3),
        }

    def restore(self, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        """Go on from what `state` gave."""
        self._place = float(state["place"])
        self._minibatches = int(state["minibatches"])
        self._seen = state["seen"].to(device)
        rows = state["history"].tolist()
        self.history = [Move(int(minibatch), r_d, int(top)) for minibatch, r_d, top in rows]
        self._begin_list()

    def _begin_list(self) -> None:
        """Draw the list anew; it depends on the seed, on T and on how often T has moved."""
        config, half = self.config, ENTRIES // 2
        draw = generator(self.seed, "diffusion-noise", len(self.history))
        steps = torch.arange(1, self.T + 1)
        weights = steps.float() if config.prior == "priority" else torch.ones(self.T)
        drawn = steps[torch.multinomial(weights, half, replacement=True, generator=draw)]
        self.list = torch.cat([torch.zeros(half, dtype=torch.long), drawn])
        self.path = self._given or BetaPath.linear(self.T, config.beta_start, config.beta_end)
