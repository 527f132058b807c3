"""Does a critic of ten images know their domain, or these ten? By what lies before it.

    python benchmarks/critic_memory.py RUN [--target sunglasses] [--steps 200] [--seeds 0]

RUN is a finished run of `ant adapt` on ten drawings of a domain. The package's critic learns to
tell the ten from 32 of the run's own samples, which stay as they are: no student answers it. Beside
it are 32 other drawings of the domain and 32 other samples, which it is never trained on. For each
of the three kinds of noise: the mean sign of its verdict on each of them, without noise, over its
training.
Written to benchmarks/results/critic-memory.md, .json and .png.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from ablation import HERE, SHOTS
from attributes import draw
from measures import HELD_OUT_SEEDS
from rows import provenance
from table import made_by
from torch import Tensor

from antcli.distilling.critic import Critic, CriticSettings
from antcli.images.folder import read_folder
from antcli.images.grid import to_float
from antcli.randomness import balanced_choice, generator
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources.encoder import Encoder
from antcli.sources.source import Source

RESULTS = HERE / "results"
BEFORE = ("none", "uniform", "adaptive")
OTHERS = 32
EVERY = 20
RATE = 1e-3
EVALUATIONS = 10


def images_of(run: Run, source: Source, target: str) -> dict[str, Tensor]:
    """x_0 of the ten, of other drawings of their domain, of samples and of other samples."""
    ten = to_float(read_folder(SHOTS / target, source.size).images)
    others = to_float(draw(HELD_OUT_SEEDS[:OTHERS], target)[0])
    network = load_adapted(run, source)
    seeds = range(10_000, 10_000 + 2 * OTHERS)
    samples = torch.cat(list(source.sample(network, seeds, steps=EVALUATIONS)))
    return {
        "the ten": ten,
        "other drawings": others,
        "samples": samples[:OTHERS],
        "other samples": samples[OTHERS:],
    }


@torch.no_grad()
def verdict(critic: Critic, images: Tensor) -> float:
    """Mean sign, without noise: 1 where all are called real."""
    clean = torch.zeros(len(images), dtype=torch.long)
    return float(critic(images, clean, torch.zeros_like(images)).mean(1).sign().mean())


def trained(
    source: Source, images: dict[str, Tensor], before: Any, seed: int, steps: int
) -> list[dict[str, float]]:
    """What the critic says of all of them, at intervals."""
    encoder = Encoder(source.load(), source.convention)
    critic = Critic(encoder, source.path, CriticSettings(before=before), seed)
    optimizer = torch.optim.Adam(critic.heads.parameters(), RATE)
    ten, samples, found = images["the ten"], images["samples"], []
    for step in range(steps + 1):
        if step % EVERY == 0:
            said = {name: verdict(critic, x) for name, x in images.items()}
            moves = critic.noise.history
            r_d = moves[-1].r_d if moves else 0.0
            found.append({**said, "step": step, "T": critic.most_noise, "r_d": r_d})
        of_step = generator(seed, "critic-memory", step)
        real = ten[balanced_choice(len(ten), 10, of_step)]
        mirrored = torch.rand(10, 1, 1, 1, generator=of_step) < 0.5
        real = torch.where(mirrored, real.flip(-1), real)
        fake = samples[balanced_choice(len(samples), 10, of_step)]
        t, eps = critic.draw(20, of_step), torch.randn(20, *source.shape, generator=of_step)
        optimizer.zero_grad()
        critic.critic_loss(real, fake, t, eps).backward()
        optimizer.step()
        critic.noise.advance(10)
    return found


def drawing(rows: list[dict[str, Any]], path: Path) -> None:
    """A panel for each noise: verdicts over the steps, of the first seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(BEFORE), figsize=(12, 3.6), sharey=True)
    for axes, before in zip(panels, BEFORE, strict=True):
        curve = next(row["curve"] for row in rows if row["before"] == before)
        steps = [at["step"] for at in curve]
        for name in ("the ten", "other drawings", "samples", "other samples"):
            style = "--" if "other" in name else "-"
            colour = "tab:blue" if name in ("the ten", "other drawings") else "tab:orange"
            axes.plot(steps, [at[name] for at in curve], style, color=colour, label=name)
        axes.set(title=f"{before}: T {curve[-1]['T']} at the end", xlabel="batches")
        axes.grid(axis="y", color="0.85")
    panels[0].set_ylabel("mean sign of the verdict, no noise")
    panels[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def table(rows: list[dict[str, Any]]) -> str:
    """Verdicts at the end, of each noise and seed."""
    names = ("the ten", "other drawings", "samples", "other samples", "T", "r_d")
    lines = ["| before the critic | seed | " + " | ".join(names) + " |\n"]
    lines.append("|---" * (len(names) + 2) + "|\n")
    for row in rows:
        last = row["curve"][-1]
        cells = [row["before"], str(row["seed"]), *(f"{last[name]:.2f}" for name in names)]
        lines.append("| " + " | ".join(cells) + " |\n")
    return "".join(lines)


def main() -> None:
    """Make and measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--target", default="sunglasses")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    chosen = parser.parse_args()
    run = Run(chosen.run)
    source = check_run_source(run)
    images = images_of(run, source, chosen.target)
    kept = RESULTS / "critic-memory.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    for seed in chosen.seeds:
        for before in BEFORE:
            if any((row["before"], row["seed"]) == (before, seed) for row in rows):
                continue
            curve = trained(source, images, before, seed, chosen.steps)
            told = {"before": before, "seed": seed, "target": chosen.target, "curve": curve}
            rows.append({**told, **provenance(), "precision": "float32"})
            kept.write_text(json.dumps(rows, indent=1) + "\n")
            print(before, seed, {k: round(v, 2) for k, v in curve[-1].items()}, flush=True)
    picture = "![Verdicts over the batches, by what lies before the critic.](critic-memory.png)"
    text = f"# What a critic of ten images knows\n\n{picture}\n\n{table(rows)}\n{made_by(rows)}"
    (RESULTS / "critic-memory.md").write_text(text)
    drawing(rows, RESULTS / "critic-memory.png")


if __name__ == "__main__":
    main()
