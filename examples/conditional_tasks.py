"""Small conditional diffusion models of several tasks, for the examples after Cheng et al. (2025).

A model is s(x_t, y, t) = f(x_t, h(y), t): a head f for each task, and an encoder h of the
condition, which the source tasks share (their section 3). All networks of one make are trained at
once, as a batch of matrices: K heads of the sources, R replicates of a target. Noise, its algebra
and sampling are the package's; the noise comes by the betas of Ho et al., which is the paper's
Ornstein-Uhlenbeck process by another clock.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from antcli.diffusion.convention import PLAIN
from antcli.diffusion.sampling import Noise, sample
from antcli.randomness import generator

FROZEN, TUNED, SCRATCH = "h frozen", "h fine-tuned", "from scratch"
"""How a target is learnt: its head alone; h as well, from the source's; both from nothing."""
SAMPLING_STEPS = 40
"""With 20, what is drawn of N(0, .3^2) has a spread of .26, with 40 of .30."""
STUDENT = {4: 3.182, 8: 2.365, 20: 2.093}
"""By the number of values, how many standard errors of their mean are half a 95 % interval."""


class Mlps(nn.Module):
    """As many networks as `seeds`, of equal widths: [R, N, widths[0]] to [R, N, widths[-1]]."""

    def __init__(self, widths: Sequence[int], seeds: Sequence[int]) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        draws = [generator(seed, "weights") for seed in seeds]
        for before, after in itertools.pairwise(widths):
            reach = 1 / math.sqrt(before)  # as nn.Linear begins
            for shape, kept in (((before, after), self.weights), ((1, after), self.biases)):
                values = torch.stack([torch.rand(shape, generator=draw) for draw in draws])
                kept.append(nn.Parameter((2 * values - 1) * reach))

    def forward(self, x: Tensor) -> Tensor:
        """Each network of its own x."""
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, functional.silu(x) if i else x, weight)
        return x

    def repeated(self, count: int) -> Mlps:
        """`count` copies of one network, which learn apart from it."""
        widths = [len(self.weights[0][0]), *(bias.shape[-1] for bias in self.biases)]
        copies = Mlps(widths, [0] * count)
        own = {name: value.repeat(count, 1, 1) for name, value in self.state_dict().items()}
        copies.load_state_dict(own)
        return copies


class Model(nn.Module):
    """Heads f, one for each task or replicate, and encoders h, as many or one for all."""

    def __init__(self, f: Mlps, h: Mlps) -> None:
        super().__init__()
        self.f, self.h = f, h

    def code(self, y: Tensor) -> Tensor:
        """h(y) of conditions [R, N, Dy]."""
        if len(self.h.weights[0]) == len(y):
            return self.h(y)
        return self.h(y.flatten(0, 1)[None])[0].unflatten(0, y.shape[:2])

    def forward(self, x_t: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """Its v = alpha eps - sigma x_0 at x_t [R, N, D] and t [R, N], told as alpha and sigma."""
        level = torch.cat(PLAIN.path.alpha_sigma(t.flatten(), x_t.flatten(0, 1)), dim=-1)
        return self.f(torch.cat([x_t, level.view(*t.shape, 2), code], dim=-1))


@dataclass(frozen=True)
class Widths:
    """Of the networks for x of D numbers and y of Dy."""

    x: int
    y: int
    code: int
    """d_y: what h gives."""
    head: tuple[int, ...]
    encoder: tuple[int, ...]

    def heads(self, seeds: Sequence[int]) -> Mlps:
        """Untrained f."""
        return Mlps((self.x + 2 + self.code, *self.head, self.x), seeds)

    def encoders(self, seeds: Sequence[int]) -> Mlps:
        """Untrained h."""
        return Mlps((self.y, *self.encoder, self.code), seeds)


@dataclass(frozen=True)
class Training:
    """How long and how fast."""

    steps: int
    rate: float
    batch: int
    """For each task; of fewer samples all are taken in every step."""


def train(model: Model, x: Tensor, y: Tensor, how: Training, seeds: Sequence[int]) -> None:
    """Train what is not frozen on x [R, m, D] and y [R, m, Dy], by denoising score matching.

    Every task has its own draws, by its seed, so that it learns what it would learn alone. The
    paper's loss weighs an error of x_0 by alpha^2 / sigma^4, that of v by 1 / sigma^2.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, how.rate, fused=True)
    size, count = min(how.batch, x.shape[1]), len(seeds)
    noise, draws = Noise(seeds, "noise", (size, x.shape[2]), "cpu"), _generators(seeds, "draws")
    known = None if any(p.requires_grad for p in model.h.parameters()) else model.code(y)
    rows = torch.arange(count)[:, None]
    for step in range(how.steps):
        for group in optimizer.param_groups:
            group["lr"] = how.rate * (1 + math.cos(math.pi * step / how.steps)) / 2
        chosen = torch.stack([torch.randperm(x.shape[1], generator=g)[:size] for g in draws])
        t = torch.stack([PLAIN.path.antithetic(size, g) for g in draws])
        x_0, eps, times = x[rows, chosen].flatten(0, 1), noise().flatten(0, 1), t.flatten()
        x_t = PLAIN.path.add_noise(x_0, eps, times).unflatten(0, t.shape)
        v = PLAIN.path.output(x_0, eps, times, "v_prediction").unflatten(0, t.shape)
        code = model.code(y[rows, chosen]) if known is None else known[rows, chosen]
        # A sum over networks of means: none changes what another learns.
        loss = (model(x_t, t, code) - v).square().mean((1, 2)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _generators(seeds: Sequence[int], stream: str) -> list[torch.Generator]:
    return [generator(seed, stream) for seed in seeds]


@torch.no_grad()
def draw(
    model: Model, y: Tensor, count: int, seeds: Sequence[int], steps: int = SAMPLING_STEPS
) -> Tensor:
    """`count` samples [R, N, count, D] for each condition, [R, N, Dy]."""
    code = model.code(y).repeat_interleave(count, dim=1)
    size = model.f.biases[-1].shape[-1]

    def eps(x_t: Tensor, t: Tensor) -> Tensor:
        x, times = x_t[:, 0], t[:, None].expand(code.shape[:2])
        v = model(x, times, code).flatten(0, 1)
        found = PLAIN.path.to_eps(v, x.flatten(0, 1), times.flatten(), "v_prediction")
        return found.view(x_t.shape)

    shape, at_once = (1, code.shape[1], size), len(seeds)
    found = sample(eps, PLAIN.path, seeds, shape, steps=steps, batch_size=at_once, clip=False)
    return next(found)[:, 0].unflatten(1, (y.shape[1], count))


def pretrain(widths: Widths, x: Tensor, y: Tensor, how: Training, seed: int = 0) -> Model:
    """The K source tasks, x [K, n, D] and y [K, n, Dy]: a head each, one encoder; then frozen."""
    seeds = [seed * len(x) + k for k in range(len(x))]
    model = Model(widths.heads(seeds), widths.encoders([seed]))
    train(model, x, y, how, seeds)
    return model.requires_grad_(False)


def adapted(
    source: Model, widths: Widths, x: Tensor, y: Tensor, how: Training, seeds: Sequence[int]
) -> dict[str, Model]:
    """Replicates of a target, x [R, m, D] and y [R, m, Dy], learnt in each of the three ways.

    Replicates differ in their samples, first weights and noise; the three ways share the latter
    two. All heads begin untrained.
    """
    encoders = {
        FROZEN: source.h,
        TUNED: source.h.repeated(len(seeds)),
        SCRATCH: widths.encoders(seeds),
    }
    models = {way: Model(widths.heads(seeds), h) for way, h in encoders.items()}
    for model in models.values():
        train(model, x, y, how, seeds)
    return models


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates, and half of its 95 % interval."""

    mean: float
    half: float
    replicates: int

    @classmethod
    def of(cls, values: Tensor) -> Estimate:
        """Of one value for each replicate [R]; R is one of `STUDENT`."""
        count = len(values)
        error = float(values.std()) / math.sqrt(count)
        return cls(float(values.mean()), STUDENT[count] * error, count)

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.half:.2g}"


Results = Mapping[int, Mapping[str, Estimate]]
"""By the number of target samples and the way."""


def by_shots(
    source: Model,
    widths: Widths,
    how: Training,
    shots: Sequence[int],
    target: Callable[[int], tuple[Tensor, Tensor]],
    errors: Callable[[Model], Tensor],
) -> Results:
    """What becomes of each number of target samples, learnt in each way.

    `target` gives so many of them for each replicate, x [R, m, D] and y [R, m, Dy]; `errors` one
    number for each of R models.
    """
    found = {}
    for count in shots:
        x, y = target(count)
        models = adapted(source, widths, x, y, how, range(len(x)))
        found[count] = {way: Estimate.of(errors(model)) for way, model in models.items()}
    return found


def stacked(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Of several tasks or replicates, x [R, ...] and y [R, ...]."""
    x, y = zip(*pairs, strict=True)
    return torch.stack(x), torch.stack(y)


def report(results: Results, others: Mapping[str, float], what: str) -> None:
    """Print a row for each number of target samples, and what needs none."""
    replicates = {value.replicates for of in results.values() for value in of.values()}
    print(f"{what}; mean and 95 % interval of {replicates.pop()} replicates:")
    for count, of in results.items():
        print(f"  m {count:<4} " + "   ".join(f"{way} {value}" for way, value in of.items()))
    for name, value in others.items():
        print(f"  {name} {value:.3g}")
