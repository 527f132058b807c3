"""How samples are drawn: by which solver, in how many evaluations, from where on the path."""

from __future__ import annotations

from dataclasses import dataclass, replace

from antcli.diffusion.path import Path
from antcli.diffusion.sampling import SchedulerName
from antcli.errors import AntError


@dataclass(frozen=True)
class Sampler:
    """Any scheduler, with any number of steps."""

    scheduler: SchedulerName = "dpm++"
    steps: int = 25
    share: float = 1.0
    """Of the path of noise, at whose end it begins."""

    def asked(self, scheduler: SchedulerName | None = None, steps: int | None = None) -> Sampler:
        """With another scheduler or number of steps, where these are said."""
        return replace(self, scheduler=scheduler or self.scheduler, steps=steps or self.steps)

    def limit(self, path: Path) -> float | None:
        """The t below which it begins; None: where noise is most."""
        return None if self.share == 1 else path.limit(self.share)

    def __str__(self) -> str:
        return f"{self.scheduler}, {self.steps} steps"


@dataclass(frozen=True)
class FewSteps(Sampler):
    """The one that a network was made for: it knows what to say at few places of the path."""

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
        return f"{super().__str__()}, distilled"
