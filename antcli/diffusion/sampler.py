"""How samples are drawn: by which solver, in how many evaluations, from where on the path."""

from __future__ import annotations

from dataclasses import dataclass, replace

from antcli.diffusion.path import Path
from antcli.diffusion.sampling import SchedulerName
from antcli.errors import AntError

FEW = 8
"""Steps; of fewer none is spent where there is hardly an image."""
MOST_NOISE = 25.0
"""Of few steps the first sigma / alpha, at most: .8 of the path of DDPM's betas. In four steps two
adapted runs leave 31 and 40 % of the way so, 84 and 55 % from the path's end; in eight it is all
one (benchmarks/results/samplers.md)."""


@dataclass(frozen=True)
class Sampler:
    """Any scheduler, with any number of steps."""

    scheduler: SchedulerName = "dpm++"
    steps: int = 25

    def asked(self, scheduler: SchedulerName | None = None, steps: int | None = None) -> Sampler:
        """With another scheduler or number of steps, where these are said.

        Steps of one scheduler say nothing of another's.
        """
        if scheduler in (None, self.scheduler):
            return replace(self, steps=steps or self.steps)
        return Sampler(scheduler, steps or Sampler.steps)

    def limit(self, path: Path) -> float | None:
        """The t below which it begins; None: where noise is most."""
        return path.limit(path.share_where(MOST_NOISE)) if self.steps < FEW else None

    def __str__(self) -> str:
        late = f", noise {MOST_NOISE:g} at most" if self.steps < FEW else ""
        return f"{self.scheduler}, {self.steps} steps{late}"


@dataclass(frozen=True)
class FewSteps(Sampler):
    """The one that a network was made for: it knows what to say at few places of the path."""

    share: float = 1.0
    """Of the path of noise, at whose end it begins."""

    def limit(self, path: Path) -> float | None:
        """As it was made."""
        return None if self.share == 1 else path.limit(self.share)

    def asked(self, scheduler: SchedulerName | None = None, steps: int | None = None) -> Sampler:
        """The same with fewer steps, if these are at some of its own places.

        Raises `AntError` (wrong usage) for more of them, and for another scheduler.
        """
        if scheduler not in (None, self.scheduler):
            raise AntError(
                f"what was distilled draws by {self.scheduler} alone: its steps end where this one "
                "goes on",
                "leave `scheduler` out, or draw from the run that it was distilled from",
                exit_code=2,
            )
        if steps is not None and (steps > self.steps or self.steps % steps):
            more = steps > self.steps
            raise AntError(
                f"what was distilled to {self.steps} steps cannot take {steps}: it was taught at "
                f"{self.steps} places of the path of noise and knows nothing "
                + ("between them" if more else "of others"),
                f"leave `steps` out, or `ant distill --steps {steps}` the run that it came from",
                exit_code=2,
            )
        return super().asked(scheduler, steps)

    def __str__(self) -> str:
        return f"{self.scheduler}, {self.steps} steps, distilled"
