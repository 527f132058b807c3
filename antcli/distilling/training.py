"""A student and its lessons in the loop that trains all networks."""

from __future__ import annotations

import torch
from torch import Tensor

from antcli.diffusion.examples import moved
from antcli.distilling.distribution import LookedAt
from antcli.distilling.lessons import Lessons
from antcli.methods.choice import Step
from antcli.processes import own_share
from antcli.randomness import generator, normal
from antcli.training.loop import Training

LEAST = 0.02
"""Of the way from where an answer ends to where a student begins, at which it is looked at."""


class LessonTraining(Training):
    """What is drawn is a lesson: which sample, which window. It may have parts beside the student:
    then each answer is looked at, too.
    """

    examples: Lessons

    def _draw(self) -> list[Step]:
        size, lessons = self.config.batch_size, self.examples
        own = list(own_share(self.accelerator, range(size)))
        sample, window = (of[own] for of in lessons.draw(size, self.seed, self.step))
        x_0, eps, t = lessons.x_0[sample, window], lessons.eps[sample, window], lessons.t[window]
        mirrored, chance = torch.zeros(len(own), dtype=torch.bool), torch.zeros(len(own), 3)
        condition = None if self.conditions is None else self.conditions[sample]
        steps = self._parts((x_0, eps, t, sample, mirrored, chance), condition=condition)
        if len(self.parts) == 1:
            return steps
        end = lessons.ends[window].float()
        looks = (end, self._places(end, size, own), self._more(own))
        parts = zip(
            *(moved(x, self.accelerator.device).split(self._at_once) for x in looks), strict=True
        )
        return [LookedAt.of(step, *look) for step, look in zip(steps, parts, strict=True)]

    def _places(self, end: Tensor, size: int, own: list[int]) -> Tensor:
        """Where answers are looked at: anywhere from their ends to where the student begins."""
        chance = torch.rand(size, generator=generator(self.seed, "looks", self.step))[own]
        return end + (self.examples.t[0] - end) * (LEAST + (1 - LEAST) * chance)

    def _more(self, own: list[int]) -> Tensor:
        return normal(self.seed, "more", self.step, own, self.examples.x_0.shape[2:])
