"""Which noise level, maps and pooling make the source's features tell most?

    python benchmarks/source_features.py      writes results/source_features.md

Drawings of every domain are compared in each candidate space with drawings of the target
domains; the judge (attributes.py), which knows the truth, gives the distances to agree with.
"""

from __future__ import annotations

import math
import platform
from pathlib import Path

import diffusers
import torch
from attributes import CHOICES, DOMAINS, LENGTHS, draw, judge
from measures import features as judged
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from antcli.drawn_faces.domains import TARGETS
from antcli.drawn_faces.people import Attributes
from antcli.evaluation.features.source import NOISE_LEVEL, SEED, SourceSpace
from antcli.evaluation.frechet import Gaussian, frechet_distance
from antcli.images.grid import to_float
from antcli.sources.source import find_source

OUT = Path(__file__).parent / "results" / "source_features.md"
SEEDS, N = range(4_000_000, 4_001_000), 500
LEVELS = (0.0, 0.025, 0.05, 0.1, 0.2)
SHARES = (0.1, 0.3, 0.6)
PEOPLE = (10, 50)
RIDGE = 10.0
POOLS = {
    "mean": lambda y: y.mean((2, 3)),
    "std": lambda y: y.flatten(2).std(2, correction=0),
    "rms": lambda y: y.square().mean((2, 3)).sqrt(),
}
Sets = dict[str, Tensor]
"""Features by name: of each domain's drawings [1000, D], and of sunglasses changed a little."""


def changed(images: Tensor) -> dict[str, Tensor]:
    """The first drawings of sunglasses with more blue, or slightly blurred."""
    some = images[:N]
    blue = torch.tensor([0, 0, 16])[:, None, None]
    return {"bluer": (some.int() + blue).clamp(max=255).byte(), "blurred": gaussian_blur(some, 3)}


def source_features(images: dict[str, Tensor], level: float) -> dict[str, list[Sets]]:
    """Features of all sets at one noise level, by pooling, map for map."""
    space = SourceSpace(find_source("avatars"), noise_level=level)
    found: dict[str, list[Sets]] = {pool: [] for pool in POOLS}
    for name, pixels in images.items():
        batches = [space.maps(batch) for batch in pixels.split(8)]
        for pool, function in POOLS.items():
            for i, maps in enumerate(zip(*batches, strict=True)):
                found[pool] += [{}] if len(found[pool]) <= i else []
                found[pool][i][name] = torch.cat([function(y) for y in maps])
    return found


def joined(parts: list[Sets]) -> Sets:
    """Several features of the same images, side by side."""
    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}


def distances(sets: Sets) -> dict[tuple[str, str], float]:
    """From each target's second half to the first half of every domain, and to two failures.

    These are mixtures with the source's drawings, and a few people drawn again and again.
    """
    found = {}
    for target in TARGETS:
        real = Gaussian.fit(sets[target][N:])
        fakes = {domain: sets[domain][:N] for domain in DOMAINS}
        for share in SHARES:
            n = int(share * N)
            fakes[f"{share:.0%}"] = torch.cat([sets[target][:n], sets["avatars"][n:N]])
        for people in PEOPLE:
            fakes[f"{people} people"] = sets[target][:people].repeat(N // people, 1)
        for name, fake in fakes.items():
            found[target, name] = frechet_distance(Gaussian.fit(fake), real)
    return found


def agreement(ours: dict[tuple[str, str], float], truth: dict[tuple[str, str], float]) -> float:
    """Correlation of the logarithms, each target's mean taken away."""
    logs = torch.tensor([[a[key] for key in ours] for a in (ours, truth)]).log()
    logs = logs.unflatten(1, (len(TARGETS), -1))
    return float((logs - logs.mean(2, keepdim=True)).flatten(1).corrcoef()[0, 1])


def decoded(sets: Sets, people: dict[str, list[Attributes]]) -> tuple[float, float]:
    """Mean accuracy of a linear reading of the attributes, and R^2 of the lengths.

    By ridge regression on one half of the drawings, judged on the other.
    """
    everyone = [who for domain in DOMAINS for who in people[domain]]
    x = torch.stack([sets[domain] for domain in DOMAINS]).double()
    x = (x - x.mean((0, 1))) / x.std((0, 1))
    train, test = (functional.pad(part.flatten(0, 1), (0, 1), value=1) for part in x.split(N, 1))
    lengths = torch.tensor([[getattr(who, name) for name in LENGTHS] for who in everyone]).double()
    columns = {"": (lengths - lengths.mean(0)) / lengths.std(0)}
    for name, values in CHOICES.items():
        if name != "domain":
            labels = torch.tensor([values.index(getattr(who, name)) for who in everyone])
            columns[name] = functional.one_hot(labels, len(values)).double()
    y = torch.cat(list(columns.values()), 1).unflatten(0, (len(DOMAINS), -1))
    wanted, truth = (part.flatten(0, 1) for part in y.split(N, 1))
    gram = train.T @ train + RIDGE * torch.eye(train.shape[1]).double()
    found = test @ torch.linalg.solve(gram, train.T @ wanted)
    sizes = [part.shape[1] for part in columns.values()]
    (guess, exact), *classes = zip(found.split(sizes, 1), truth.split(sizes, 1), strict=True)
    hits = [(a.argmax(1) == b.argmax(1)).double().mean() for a, b in classes]
    r2 = 1 - (guess - exact).square().sum() / (exact - exact.mean(0)).square().sum()
    return float(torch.stack(hits).mean()), float(r2)


def row(
    name: str,
    sets: Sets,
    people: dict[str, list[Attributes]],
    truth: dict[tuple[str, str], float],
) -> str:
    """One line of the table."""
    ours = distances(sets)
    apart = [ours[target, "avatars"] / ours[target, target] for target in TARGETS]
    real, floor = Gaussian.fit(sets["sunglasses"][N:]), ours["sunglasses", "sunglasses"]
    seen = [frechet_distance(Gaussian.fit(sets[n]), real) / floor for n in ("bluer", "blurred")]
    mean = math.exp(sum(map(math.log, apart)) / len(apart))
    numbers = [mean, min(apart), *seen, agreement(ours, truth), *decoded(sets, people)]
    cells = [f"{v:.{d}f}" for v, d in zip(numbers, (1, 1, 2, 2, 3, 3, 3), strict=True)]
    return " | ".join(["", name, str(sets["avatars"].shape[1]), *cells, ""]).strip()


def table() -> list[str]:
    """The whole comparison, as the lines of a Markdown table."""
    drawn = {domain: draw(SEEDS, domain) for domain in DOMAINS}
    people = {domain: who for domain, (_, who) in drawn.items()}
    images = {domain: pixels for domain, (pixels, _) in drawn.items()}
    images |= changed(images["sunglasses"])
    network = judge()
    known = {name: judged(to_float(pixels), network) for name, pixels in images.items()}
    truth = distances(known)
    pixels = {
        n: functional.adaptive_avg_pool2d(to_float(x), 8).flatten(1) for n, x in images.items()
    }
    lines = [row("the judge", known, people, truth), row("pixels, 8x8", pixels, people, truth)]
    for level in LEVELS:
        found = source_features(images, level)
        found["mean and std"] = found["mean"] + found["std"]
        for pool, parts in found.items():
            name = f"t = {level:g} T, {pool}"
            lines.append(row(f"{name}, all maps", joined(parts), people, truth))
            if level == NOISE_LEVEL and pool == "rms":
                lines.append(row(f"{name}, last down and mid", joined(parts[-2:]), people, truth))
                lines.append(row(f"{name}, mid", parts[-1], people, truth))
    return lines


HEAD = """\
# Which features of the source

    python benchmarks/source_features.py

wrote this with torch {torch}, diffusers {diffusers} and Python {python} on a CPU. Source `avatars`;
drawings at 32x32 of seeds {first} to {last}, {n} on either side of a distance; noise seed {seed}.

- *apart*: distance of a target domain from `avatars` over that from more drawings of itself, the
  floor; geometric mean and lowest of {targets} targets;
- *bluer*, *blurred*: the same of sunglasses with 16 more blue, or blurred with a 3x3 kernel;
- *agreement*: correlation of the log distances with the judge's, within targets: of each from
  {sets} sets (the domains, mixtures with `avatars`, few people drawn often);
- *reads*: attributes read rightly by ridge regression, mean of {classes}; R^2 of {lengths} lengths.

| features | D | apart | lowest | bluer | blurred | agreement | reads | R^2 |
|---|---|---|---|---|---|---|---|---|
"""

CHOICE = """
The feature space `source` is `t = 0.1 T, rms, all maps`. Means see colours first: a little blue
weighs as much as losing the sunglasses. Standard deviations hardly see colours. Both side by side
lean to the means and take twice the dimensions; root mean squares, one number for a channel, agree
nearly as well as standard deviations and see both. Some noise sets the domains further apart and
costs nothing up to 0.1 T; at 0.2 T details begin to drown. Fewer maps read fewer attributes.
"""


def main() -> None:
    """Write the table."""
    head = HEAD.format(
        torch=torch.__version__,
        diffusers=diffusers.__version__,
        python=platform.python_version(),
        first=SEEDS[0],
        last=SEEDS[-1],
        n=N,
        seed=SEED,
        classes=len(CHOICES) - 1,
        lengths=len(LENGTHS),
        targets=len(TARGETS),
        sets=len(DOMAINS) + len(SHARES) + len(PEOPLE),
    )
    OUT.write_text(head + "\n".join(table()) + "\n" + CHOICE, encoding="utf-8")


if __name__ == "__main__":
    main()
