"""How good is the step that is chosen without held-out data?

    python benchmarks/stopping.py [--targets sunglasses babies sketches paintings] [--seeds 0 1 2]

Each run trains as `ant adapt --steps auto` may at most, and is measured at every step at which
that would look: by what a user has (the scores), and by the distance to 5,000 held-out drawings
(the truth). Results go to benchmarks/results/stopping.md and .json. What is there already in
benchmarks/results/stopping is not run again; remove it to measure anew.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablation import Bench, typed, versions

from antcli.config import MOST_STEPS, PreviewConfig
from antcli.evaluation.scoring import Scorer
from antcli.evaluation.stopping import Score, choose, is_over

RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "stopping"
EVERY = PreviewConfig().every
GOAL = 1.1
"""The chosen step's distance, as a multiple of the best step's."""
TITLE = """# The step chosen without held-out data, against the best in hindsight

`python benchmarks/stopping.py`: `ant` as `--steps auto` trains it, looked at every {every} steps up
to {most}. *Chosen* is the step taken by what a user has; *best* the step with the least Frechet
distance of {samples} samples to 5,000 held-out drawings, in the judge's features. *Stopped* is
where training ended. *Scoring* is its time as a share of the training's up to there.
{versions}

| target | seed | best step | distance | chosen step | distance | ratio | stopped | scoring |
|---|---|---|---|---|---|---|---|---|
"""


def run(bench: Bench, seed: int) -> dict[str, Any]:
    """Train once to the end, looking at every step at which a run could have stopped."""
    config = bench.config("ant", seed)
    training, classifier_seconds = bench.training(config)
    started = time.perf_counter()
    scorer = Scorer(bench.source, bench.inputs.target.images, bench.accelerator)
    scores, seconds = [scorer.unadapted], {"scoring": time.perf_counter() - started}
    seconds |= {"training": 0.0, "classifier": classifier_seconds}
    looks = []
    for record in training.steps():
        seconds["training"] += record.seconds
        if record.step % EVERY:
            continue
        with training.averaged():
            started = time.perf_counter()
            scores.append(scorer.score(training.network, record.step))
            seconds["scoring"] += time.perf_counter() - started
            images = bench.draw(training.network)
        truth = bench.measure(images)
        looks.append({"step": record.step, "truth": truth, "seconds": dict(seconds)})
    return {
        "target": bench.target,
        "seed": seed,
        "scores": [asdict(score) for score in scores],
        "looks": looks,
        "versions": versions(),
        "command": typed(),
    }


def until_over(scores: list[Score]) -> list[Score]:
    """Those that a run sees before it ends."""
    ends = (i for i in range(2, len(scores) + 1) if is_over(scores[:i]))
    return scores[: next(ends, len(scores))]


def outcome(facts: dict[str, Any]) -> dict[str, Any]:
    """What `--steps auto` would have done in a run."""
    seen = until_over([Score(**score) for score in facts["scores"]])
    distance = {look["step"]: look["truth"]["distance"] for look in facts["looks"]}
    best, chosen = min(distance, key=distance.__getitem__), choose(seen).step
    seconds = next(k["seconds"] for k in facts["looks"] if k["step"] == seen[-1].step)
    return {
        "target": facts["target"],
        "seed": facts["seed"],
        "distances": distance,
        "best": best,
        "best_distance": distance[best],
        "chosen": chosen,
        "chosen_distance": distance[chosen],
        "ratio": distance[chosen] / distance[best],
        "stopped": seen[-1].step,
        "scoring_share": seconds["scoring"] / (seconds["training"] + seconds["classifier"]),
    }


def table(outcomes: Sequence[dict[str, Any]], heading: str) -> str:
    """The result as Markdown."""
    lines = [
        f"| {o['target']} | {o['seed']} | {o['best']} | {o['best_distance']:.1f} | {o['chosen']} "
        f"| {o['chosen_distance']:.1f} | {o['ratio']:.2f} | {o['stopped']} "
        f"| {o['scoring_share']:.0%} |\n"
        for o in outcomes
    ]
    met = "".join(_summary(target, outcomes) for target in dict.fromkeys(_targets(outcomes)))
    return heading + "".join(lines) + "\n" + met + _always(outcomes)


def _targets(outcomes: Sequence[dict[str, Any]]) -> list[str]:
    return [o["target"] for o in outcomes]


def _summary(target: str, outcomes: Sequence[dict[str, Any]]) -> str:
    own = [o for o in outcomes if o["target"] == target]
    ratio = statistics.fmean(o["ratio"] for o in own)
    verdict = "within" if ratio <= GOAL else "misses"
    return f"- {target}: mean ratio {ratio:.2f}, {verdict} the goal of {GOAL}\n"


def _always(outcomes: Sequence[dict[str, Any]]) -> str:
    """The mean ratio of the rule, and of taking the same step in every run."""
    fixed = {
        step: statistics.fmean(o["distances"][step] / o["best_distance"] for o in outcomes)
        for step in outcomes[0]["distances"]
    }
    ratio = statistics.fmean(o["ratio"] for o in outcomes)
    others = ", ".join(f"{step}: {value:.2f}" for step, value in fixed.items())
    return (
        f"\nMean ratio of all runs {ratio:.2f}. Of always the same step: {others}.\n"
        "Which fixed step does best is known in hindsight only. How much of the source's distance\n"
        "has to be gone before training may end was set on these very runs, so the ratio flatters\n"
        "a little.\n"
    )


def main() -> None:
    """Run what is missing, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    targets = ["sunglasses", "babies", "sketches", "paintings"]
    parser.add_argument("--targets", nargs="+", default=targets)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--sampling-steps", type=int, default=10)
    chosen = parser.parse_args()
    chosen.steps, chosen.trunk_weights = MOST_STEPS, None
    benches: dict[str, Bench] = {}
    for seed, target in itertools.product(chosen.seeds, chosen.targets):
        file = RUNS / f"{target}-{seed}.json"
        if file.exists():
            continue
        bench = benches[target] = benches.get(target) or Bench(target, chosen)
        facts = run(bench, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(facts, indent=1) + "\n")
        print(outcome(facts), flush=True)
    all_facts = [json.loads(file.read_text()) for file in sorted(RUNS.glob("*.json"))]
    outcomes = [outcome(facts) for facts in all_facts]
    named = ", ".join(f"{name} {version}" for name, version in versions().items())
    heading = TITLE.format(every=EVERY, most=MOST_STEPS, samples=chosen.samples, versions=named)
    (RESULTS / "stopping.md").write_text(table(outcomes, heading))
    (RESULTS / "stopping.json").write_text(json.dumps(outcomes, indent=1) + "\n")


if __name__ == "__main__":
    main()
