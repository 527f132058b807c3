"""How a checkpoint does, by what a user has: the source, the ten images, and samples.

All checkpoints of a run are scored on the same noise, so that what differs between two scores
is the training between them and not the draw.
"""

from __future__ import annotations

from functools import cached_property

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.evaluation.checks import TARGET, check_enough, pairwise_distances
from antcli.evaluation.features.source import SourceSpace
from antcli.evaluation.kernel import kernel_distance
from antcli.evaluation.memorization import memorization
from antcli.evaluation.stopping import Score
from antcli.images.conditions import Conditions
from antcli.images.grid import to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.sources.source import Source

SAMPLES = 32
LEAST_TARGETS = 2
"""Images: what counts as a copy follows from the distance between two of them."""
FIRST_SEED = 1_000_000
"""Of the noise, far from the seeds that people look at and that the classifier learns from."""
SAMPLING_STEPS = 10
LEAST_SPREAD = 0.01
"""Of a feature, as a share of the mean spread: one that never moves is no unit to measure in."""


class Scorer:
    """Scores networks adapted from one source to one target, in the source's feature space.

    Each feature counts in units of its spread over the source's own samples: what hardly varies
    in the source and changes with the target weighs most, as it should.
    """

    def __init__(
        self,
        source: Source,
        target: Tensor,
        accelerator: Accelerator,
        conditions: Conditions | None = None,
    ) -> None:
        """`target` is uint8 [N, 3, H, W]. Draws the source's own samples, to compare with.

        Of several `conditions` samples have one after the other. Raises `AntError` for fewer than
        `LEAST_TARGETS` images.
        """
        check_enough(len(target), TARGET, LEAST_TARGETS)
        self.source, self.accelerator = source, accelerator
        seeds = range(FIRST_SEED, FIRST_SEED + SAMPLES)
        self._asked = None if conditions is None else conditions.labels_of(seeds)
        self._space = SourceSpace(source, accelerator.device)
        own = self._draw(Denoiser(source.load(), source.convention).to(accelerator.device), None)
        spread = own.std(0)
        self._centre, self._scale = own.mean(0), spread.clamp(min=LEAST_SPREAD * spread.mean())
        self._own = self._standard(own)
        self._target, self._mirrored = (
            self._standard(self._space(x).cpu().double()) for x in (target, target.flip(-1))
        )

    def score(self, network: Denoiser, step: int) -> Score:
        """The score of `network` as it stands after `step` steps."""
        return self._score(self._standard(self._draw(network, self._asked)), step)

    @cached_property
    def unadapted(self) -> Score:
        """The score of the source itself: step 0."""
        return self._score(self._own, 0)

    def _score(self, features: Tensor, step: int) -> Score:
        target = torch.cat([self._target, self._mirrored])
        return Score(
            step=step,
            distance=kernel_distance(target, features).value,
            diversity=_spread(features) / _spread(self._own),
            copied=memorization(self._apart(features), self._apart(self._target)).copy_rate,
        )

    def _apart(self, features: Tensor) -> Tensor:
        """Distances to the target's images, to each or to its mirror image: [n, N]."""
        targets = (self._target, self._mirrored)
        return torch.minimum(*(pairwise_distances(features, target) for target in targets))

    def _standard(self, features: Tensor) -> Tensor:
        return (features - self._centre) / self._scale

    def _draw(self, network: Denoiser, conditions: Tensor | None) -> Tensor:
        """Features of samples of `network`, [n, D], float64 on the CPU."""
        seeds = range(FIRST_SEED, FIRST_SEED + SAMPLES)
        with self.accelerator.autocast():
            batches = self.source.sample(
                network,
                seeds,
                steps=SAMPLING_STEPS,
                device=self.accelerator.device,
                conditions=conditions,
            )
            images = (to_uint8(self._space.codec.decode(x_0)) for x_0 in batches)
            return torch.cat([self._space(batch).cpu().double() for batch in images])


def _spread(features: Tensor) -> float:
    """Mean distance between two different images."""
    return float(torch.pdist(features).mean())
