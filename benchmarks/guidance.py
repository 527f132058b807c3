"""Where guidance has anything to say: its size beside the noise it shifts, by noise level.

    python benchmarks/guidance.py [--targets sunglasses babies] [--seeds 0 1 2]

Takes the classifiers that benchmarks/ablation.py trained (or trains them), the noised ten images,
and writes benchmarks/results/guidance.md.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import nullcontext
from pathlib import Path

import torch
from ablation import Bench, versions
from torch import Tensor

from antcli.images.grid import to_float
from antcli.methods.choice import Step
from antcli.methods.classifier import TARGET_CLASS, NoisyClassifier
from antcli.methods.target.guided import GuidedTarget
from antcli.methods.trainable.denoiser import Denoiser
from antcli.randomness import normal

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
VIEWS = 20
"""Noised views of each of the ten images at each level."""
OUT = Path(__file__).parent / "results" / "guidance.md"
HEADING = """# Where guidance has anything to say

`python benchmarks/guidance.py`: the ten images noised {views} times at each t; seeds {seeds};
{versions}. *Shift*: root mean square of what Eq. 8 takes from the noise, whose own is 1, in
percent. *p*: the classifier's probability of the target, median. Medians over seeds.

| target | | {levels} |
|---|---|{rules}|
"""


def at_level(bench: Bench, classifier: NoisyClassifier, t: int, seed: int) -> tuple[float, float]:
    """The shift (percent of the noise) and the median p(target) at one t."""
    x_0 = to_float(bench.inputs.target.images).repeat(VIEWS, 1, 1, 1)
    eps = normal(seed, "guidance", t, range(len(x_0)), x_0.shape[1:])
    times = torch.full((len(x_0),), t)
    x_t = bench.source.path.add_noise(x_0, eps, times)
    config = bench.config("ant", seed).guidance
    network = Denoiser(bench.source.load(), bench.source.convention)
    unmirrored = torch.zeros(len(x_0), dtype=torch.bool)
    images, chance = torch.arange(len(x_0)), torch.zeros(len(x_0), 2)
    step = Step(network, network, nullcontext, x_0, eps, times, images, unmirrored, chance)
    target: Tensor = GuidedTarget(config, classifier)(step)
    p = classifier(x_t, times).softmax(1)[:, TARGET_CLASS]
    return 100 * float((target - eps).square().mean().sqrt()), float(p.median())


def lines(bench: Bench, seeds: list[int]) -> str:
    """Two lines of the table."""
    shifts, sure = [], []
    for level in LEVELS:
        t = int(level * bench.source.path.span)
        found = []
        for seed in seeds:
            classifier, _ = bench.classifier(bench.config("ant", seed))
            assert classifier is not None
            found.append(at_level(bench, classifier, t, seed))
        shifts.append(f"{statistics.median(s for s, _ in found):.2g}")
        sure.append(f"{statistics.median(p for _, p in found):.3f}")
    return (
        f"| {bench.target} | shift | {' | '.join(shifts)} |\n"
        f"| {bench.target} | p | {' | '.join(sure)} |\n"
    )


def main() -> None:
    """Measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=["sunglasses", "babies"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    chosen = parser.parse_args()
    chosen.trunk_weights, chosen.steps = None, 100
    text = HEADING.format(
        views=VIEWS,
        seeds=", ".join(map(str, chosen.seeds)),
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        levels=" | ".join(f"{level:g} T" for level in LEVELS),
        rules="|".join("---" for _ in LEVELS),
    )
    OUT.write_text(text + "".join(lines(Bench(t, chosen), chosen.seeds) for t in chosen.targets))
    print(OUT.read_text())


if __name__ == "__main__":
    main()
