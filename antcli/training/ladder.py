"""Up the ladder: with how much noise, and where, the source draws nothing but its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.diffusion.sampling import SchedulerName, images_at_once, in_parts, resample
from antcli.images.grid import to_uint8
from antcli.methods.counterparts import CHANCE, LADDER, PART, PASSED, Rung, shares
from antcli.methods.own import Own
from antcli.methods.places import around, changes
from antcli.methods.transplants import newness, unexplained
from antcli.sources.source import Source
from antcli.training.source_samples import images_of, source_predict

TRIALS = 3
"""Draws of each image by which a rung is judged, and by which it is seen what changed in it."""
SCHEDULER: SchedulerName = "ddpm"
"""Of the trials, for which `PASSED` was found."""
ROUNDS = 2
"""Of drawing anew what has changed, and looking again: what is kept tells the source more of what
belongs beside it, and less changes."""


@dataclass(frozen=True)
class Tried:
    """So many rungs were tried, of as many as there are."""

    done: int
    total: int


def climb(
    own: Own, images: Tensor, drawing: Drawing, x_0: Tensor
) -> Generator[Tried, None, tuple[Rung, Tensor | None]]:
    """The first rung on which the source draws nothing but its own, and what changes on it.

    Its own is what differs from its `own` images, place by place, no more than by chance. What is
    looked at closely has to be all that is new, besides: put on the source's images it makes
    images of the domain. What changes is a share in [0, 1] of each place of all x_0, or of each of
    them, [N, 1, H, W]; None is everything.
    """
    trials = _Trials(own, images, drawing, x_0)
    new, joined = own.places.new(images)
    for number, rung in enumerate(LADDER):
        yield Tried(number, len(LADDER))
        where = None
        if rung.reach is not None:
            if not PART[0] <= float(new.float().mean()) <= PART[1]:
                continue
            where = joined if rung.closely else new
        changed, anew = trials.near(where, rung)
        drawn = trials.draw(rung, changed)
        if trials.strange(drawn, anew) > PASSED:
            continue
        if not rung.closely:
            break
        changed, seen = trials.closely(rung, drawn, anew)
        if unexplained(images, newness(images, seen, changed), own.images, new) <= rung.closely:
            break
    return rung, changed


class _Trials:
    """A few counterparts of each image, and what is seen of them."""

    def __init__(self, own: Own, images: Tensor, drawing: Drawing, x_0: Tensor) -> None:
        self.own, self.images, self.drawing, self.x_0 = own, images, drawing, x_0
        self.by_chance = own.places.by_chance(len(x_0), CHANCE)

    def near(self, where: Tensor | None, rung: Rung) -> tuple[Tensor | None, Tensor]:
        """How much of each place of all x_0 is drawn anew, None being all; and which places are.

        An image and its mirror image have the same.
        """
        if where is None:
            return None, torch.ones(self.own.places.shape, dtype=torch.bool)
        both = (where | where.flip(-1))[None]
        return self._of_x_0(both, rung), _around(both, rung, self.own.places.shape)[0, 0] > 0.5

    def draw(self, rung: Rung, changed: Tensor | None, number: int = 0) -> Tensor:
        """Images uint8, `TRIALS` of each x_0 in turn; those of another `number` are others."""
        source, draws = self.drawing.source, len(self.x_0) * TRIALS
        noise, _ = shares(rung, source.path, source.shape[-1])
        first = draws * (ROUNDS * self.drawing.seed + number)
        seeds = range(first, first + draws)
        given = self.x_0, noise, changed, seeds, "trial", SCHEDULER
        drawn = torch.cat(list(self.drawing.draw(*given)))
        return images_of(source, drawn, self.drawing.accelerator.device)

    def strange(self, drawn: Tensor, anew: Tensor) -> float:
        """Share of the places drawn anew that differ from those of the source's images."""
        # Draw by draw: those of one image are nearer to each other than to any chance.
        each = [self.own.places.distances(drawn[draw::TRIALS]) for draw in range(TRIALS)]
        differs = torch.stack(each).mean(0) > self.by_chance
        return float(differs[anew].float().mean())

    def closely(self, rung: Rung, drawn: Tensor, anew: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each place of each x_0 is drawn anew: what is new in it, of `anew` and beside
        it; and the draws by which that was seen.
        """
        new = torch.zeros_like(anew)
        for number in range(1, ROUNDS + 1):
            new = self.own.colours.new(self.images, changes(self.images, drawn, anew | new))
            changed = self._of_x_0(new, rung)
            if number < ROUNDS:
                drawn = self.draw(rung, changed, number)
        return changed, drawn

    def _of_x_0(self, new: Tensor, rung: Rung) -> Tensor:
        height, width = self.drawing.source.shape[-2:]
        return _around(new, rung, (height, width)).to(self.drawing.accelerator.device)


def _around(new: Tensor, rung: Rung, size: tuple[int, int]) -> Tensor:
    assert rung.reach is not None
    return around(new, rung.reach, size)


class Drawing:
    """The frozen source, asked to draw."""

    def __init__(self, source: Source, steps: int, accelerator: Accelerator, seed: int) -> None:
        self.source, self.steps, self.accelerator = source, steps, accelerator
        self.seed, self.predict = seed, source_predict(source, accelerator)

    def draw(
        self,
        x_0: Tensor,
        share: float,
        changed: Tensor | None,
        seeds: Sequence[int],
        stream: str,
        scheduler: SchedulerName,
    ) -> Iterator[Tensor]:
        """What the source makes of each x_0 in turn, as often as there are seeds for each.

        In parts, on the CPU; of pixels as uint8. `changed` is of all x_0 or of each.
        """
        path, latent = self.source.path, self.source.latent
        limit = path.limit(share)
        which = torch.arange(len(x_0)).repeat_interleave(len(seeds) // len(x_0))
        device = self.accelerator.device

        def draw(part: slice) -> Tensor:
            of = which[part]
            return resample(
                self.predict,
                path,
                x_0[of].to(device),
                limit,
                seeds[part],
                steps=self.steps,
                scheduler=scheduler,
                stream=stream,
                clip=not latent,
                changed=changed if changed is None or len(changed) == 1 else changed[of],
            )

        for found in in_parts(draw, len(which), images_at_once(x_0.shape, device)):
            yield found.cpu() if latent else to_uint8(found.cpu())
