"""A student that draws what two scores and a critic take for images of the target (Uni-DAD).

From Uni-DAD (arXiv 2511.18281) and DMD2 (Yin et al. 2024, arXiv 2405.14867): the student's x_0 at
one of its steps, where its own steps before lead it, is moved by

    (1 - a) DMD(source) + a DMD(target) + lambda GAN.

A DMD is a difference of scores, as in `distribution.py`: the source's keeps its variety, the
adapted network's is that of the target. The critic has seen the few images themselves, with the
noise before it that `critic.py` tells of. It and the score of what the student draws follow the
student, with some updates for each of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.config import TrainingConfig
from antcli.diffusion.examples import Examples, moved
from antcli.diffusion.sampling import SOLVERS, Noise, along
from antcli.distilling.critic import Critic, CriticSettings
from antcli.distilling.distribution import LookedAt, direction, own_score
from antcli.errors import AntError
from antcli.methods.build import Objective
from antcli.methods.choice import Predict, Step
from antcli.methods.student import few_steps
from antcli.methods.trainable.denoiser import Denoiser
from antcli.randomness import generator, normal
from antcli.settings import Chance, Count, NonNegative, settings
from antcli.training.loop import StepRecord, Training
from antcli.training.part import Part

MOST_NOISE = 0.98
"""Share of the path below which scores are compared (DMD2)."""


@settings
class AdversarialSettings:
    """The weights are Uni-DAD's, for a target near its source."""

    target_share: Chance = 0.25
    """The a, of the target's score; 0.75 where the target is far from the source."""
    critic_weight: NonNegative = 0.015
    """The lambda."""
    updates: Count = 5
    """Of the student's score and of the critic, for each of the student's."""
    critic: CriticSettings = field(default_factory=CriticSettings)


@dataclass(frozen=True)
class AdversarialRecord(StepRecord):
    """What one step did, and its last update of what follows the student."""

    score_loss: float
    critic_loss: float
    T: int
    """The largest t of the noise before the critic."""
    r_d: float | None
    """Mean sign of the critic's verdicts on the real images, as the controller read it last."""


@dataclass(frozen=True, kw_only=True)
class Round(LookedAt):
    """A batch of real images, and what the student draws as many images from.

    `t` and `eps`, which are also `tau` and `more`, are what these are looked at with.
    """

    x_k: Tensor
    """Where the student's own steps have led, all noise at first: [B, C, H, W]."""
    t_k: Tensor
    """[B], the t of the step that it takes from there."""
    seen_t: Tensor
    """[2 B], of the noise before the critic: the real images' first."""
    seen_eps: Tensor

    @cached_property
    def meant(self) -> Tensor:
        """The x_0 that the student draws, float32, not clipped, with its graph if there is one."""
        with self.told():
            eps = self.predict(self.x_k, self.t_k).float()
        return self.path.to_x_0(eps, self.x_k, self.t_k)

    @property
    def looked(self) -> tuple[Tensor, Tensor, Tensor]:
        """It is an image without noise: all that it has at t is new."""
        x_t = self.path.add_noise(self.meant.detach(), self.eps, self.t)
        return x_t, self.t, x_t.new_ones(())


@dataclass(frozen=True, kw_only=True)
class StudentObjective(Objective):
    """What the student is moved by."""

    score: Predict
    """Eps of what the student draws."""
    source: Predict
    adapted: Predict
    critic: Critic
    settings: AdversarialSettings

    def prepared(self, step: Step) -> tuple[Step, Tensor]:
        """Nothing is fixed before the student has drawn."""
        return step, step.eps

    def loss(self, step: Step, target: Tensor) -> Tensor:
        """The mean over the images; of the scores nothing but the gradient means anything."""
        assert isinstance(step, Round)
        x, a = step.meant, self.settings.target_share
        with step.autocast():
            with torch.no_grad():
                own = step.of_same(self.score)(*step.looked[:2])
            scores = self.source, step.of_same(self.adapted)
            source, adapted = (direction(step, real, lambda x_t, t: own) for real in scores)
        away = (1 - a) * source + a * adapted
        of_fake = step.seen_t.chunk(2)[1], step.seen_eps.chunk(2)[1]
        critic = self.critic.generator_loss(x, *of_fake)
        return (away * x).mean() + self.settings.critic_weight * critic


@dataclass(frozen=True, kw_only=True)
class CriticObjective(Objective):
    """Real images, and what the student draws."""

    critic: Critic

    def prepared(self, step: Step) -> tuple[Step, Tensor]:
        """Nothing."""
        return step, step.eps

    def loss(self, step: Step, target: Tensor) -> Tensor:
        """The mean over the images."""
        assert isinstance(step, Round)
        return self.critic.critic_loss(step.x_0, step.meant, step.seen_t, step.seen_eps)


class CriticPart(Part):
    """The critic, whose controller has a state of its own."""

    network: Critic

    def state(self) -> dict[str, Tensor]:
        """All that its next steps depend on."""
        noise = {f"noise/{name}": value for name, value in self.network.noise.state().items()}
        return {**super().state(), **noise}

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether `tensors` are the state of such a critic."""
        return super().fits(_without_noise(tensors))

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        super().restore(_without_noise(tensors))
        noise = {k.removeprefix("noise/"): v for k, v in tensors.items() if k.startswith("noise/")}
        self.network.noise.restore(noise, self.accelerator.device)


def _without_noise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not name.startswith("noise/")}


class AdversarialTraining(Training):
    """A student that can draw already, and what follows it; `examples` are the real images."""

    def __init__(
        self,
        student: Denoiser,
        score: Denoiser,
        scores: tuple[Predict, Predict],
        critic: Critic,
        examples: Examples,
        config: TrainingConfig,
        settings: AdversarialSettings,
        accelerator: Accelerator,
        *,
        seed: int = 0,
        clip: bool = True,
    ) -> None:
        """`score` begins as the adapted network; `scores` are the source's and the adapted one's.

        With `clip` the student's own steps keep x_0 in [-1, 1], as samples of pixels are drawn.
        Raises `AntError` where there are several processes.
        """
        if accelerator.num_processes > 1:
            raise AntError(
                "a student with a critic trains in one process",
                "start one, or distil without a critic",
                exit_code=2,
            )
        source, adapted = scores
        following = replace(config, steps=config.steps * settings.updates)
        self.settings, self.critic, self.clip = settings, critic, clip
        objective = StudentObjective(
            score=score.guided, source=source, adapted=adapted, critic=critic, settings=settings
        )
        others = {
            "score": own_score(score, following, accelerator),
            "critic": CriticPart(critic, CriticObjective(critic=critic), following, accelerator),
        }
        super().__init__(
            student, examples, config, accelerator, seed=seed, objective=objective, others=others
        )

    def steps(self) -> Iterator[AdversarialRecord]:
        """Train to `config.steps`. Raises `NonFiniteLossError` before a bad step is taken."""
        student, score, critic = self.parts.values()
        while self.step < self.config.steps:
            started = time.perf_counter()
            for turn in range(self.settings.updates):
                batch, done = self._round(turn), self.step * self.settings.updates + turn
                with torch.no_grad():
                    _ = batch.meant
                score_loss, _, _ = score.update([batch], done)
                critic_loss, _, _ = critic.update([batch], done)
                self.critic.noise.advance(self.config.batch_size)
            loss, norm, rate = student.update([self._round(self.settings.updates)], self.step)
            self.step += 1
            seconds, moves = time.perf_counter() - started, self.critic.noise.history
            r_d = moves[-1].r_d if moves else None
            of_student = self.step, loss, rate, norm, seconds
            yield AdversarialRecord(
                *of_student, score_loss, critic_loss, self.critic.most_noise, r_d
            )

    def _round(self, turn: int) -> Round:
        """All draws of one update, and the student's own steps before the one that is taken."""
        size, device = self.config.batch_size, self.accelerator.device

        def draw(stream: str) -> torch.Generator:
            return generator(self.seed, stream, self.step, turn)

        x_0, images, mirrored = self._examples(draw, list(range(size)))
        x_0 = moved(x_0, device)
        path = self.network.convention.path
        t = path.uniform(size, draw("timesteps"), path.limit(MOST_NOISE))
        eps, seen_eps = (
            normal(self.seed, f"{stream}/{turn}", self.step, range(count), x_0.shape[1:])
            for stream, count in (("noise", size), ("before-critic", 2 * size))
        )
        seen_t = self.critic.draw(2 * size, draw("critic-timesteps"))
        condition = self.network.in_turn(range(turn, turn + size))
        condition = None if condition is None else moved(condition, device)
        with self.network.told(condition=condition):
            x_k, t_k = self._own_steps(turn, x_0)
        drawn = (eps, t, images, mirrored, t_k, seen_t, seen_eps)
        eps, t, images, mirrored, t_k, seen_t, seen_eps = (moved(x, device) for x in drawn)
        network, predict, nothing = self.network, self.parts[""].wrapped, torch.empty(size, 0)
        return Round(
            network, predict, self.accelerator.autocast, x_0, eps, t, images, mirrored, nothing,
            condition=condition,
            tau=t, more=eps, x_k=x_k, t_k=t_k, seen_t=seen_t, seen_eps=seen_eps,
        )  # fmt: skip

    def _own_steps(self, turn: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """x_k and its t, [B] on the CPU, of one of the student's steps, each as likely."""
        sampler, path = few_steps(self.network), self.network.convention.path
        size, shape = len(like), like.shape[1:]
        times = path.steps(sampler.steps, sampler.limit(path))
        draw = generator(self.seed, "student-step", self.step, turn)
        k = int(torch.randint(sampler.steps, (1,), generator=draw))
        stream = f"student/{self.seed}/{self.step}/{turn}"
        noise = Noise(range(size), stream, shape, like.device)
        solver = SOLVERS[sampler.scheduler](noise)
        x_k = along(self.network, path, noise(), times[: k + 1], solver, self.clip)
        return x_k, times[k].expand(size)
