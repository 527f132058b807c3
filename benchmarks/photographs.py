"""The ablation on photographs: a source made from a folder, ten images, held-out images.

    python examples/pretrain_folder.py ADULTS OUT --size 32 --steps 1600
    python benchmarks/photographs.py --source OUT --target TEN --held-out MANY
                                     --trunk-weights squeezenet1_1.safetensors

Distances are in two spaces, each named: the encoder of the source itself (`source`), and
SqueezeNet's last map, averaged over its pixels (`squeeze`). Writes
benchmarks/results/photographs.md; neither images nor weights are kept.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from ablation import EVERYWHERE, FIRST_SAMPLE, LEARNING_RATE, versions
from PIL import Image
from table import spread
from torch import Tensor

from antcli.config import AdaptConfig, TrainingConfig
from antcli.devices import make_accelerator
from antcli.evaluation.centres import colours
from antcli.evaluation.features.source import SourceSpace
from antcli.evaluation.frechet import Gaussian, frechet_distance
from antcli.evaluation.intra_lpips import intra_lpips
from antcli.evaluation.lpips import LpipsFeatures, load_lpips
from antcli.images.folder import read_folder
from antcli.images.grid import to_uint8
from antcli.methods.build import stages_of
from antcli.methods.trainable.adaptors import AdaptorConfig
from antcli.methods.trainable.denoiser import Denoiser
from antcli.sources.source import find_source
from antcli.training.adaptation import build_training
from antcli.training.classifier_files import load_classifier
from antcli.training.inputs import Inputs, train_classifier

RESULT = Path(__file__).parent / "results" / "photographs.md"
ROWS = ("adaptor" + EVERYWHERE, "adaptor", "ant")
MEASURE_AT = (100,)


class Measures:
    """Held-out images, and what is measured against them."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.source = find_source(str(chosen.source))
        self.inputs = Inputs(self.source, read_folder(chosen.target, self.source.size))
        self.accelerator = make_accelerator("auto", "auto")
        self.chosen = chosen
        self.space = SourceSpace(self.source)
        self.trunk: LpipsFeatures = load_lpips("squeeze", chosen.trunk_weights)
        held_out = read_folder(chosen.held_out, self.source.size).images
        self.truth = [Gaussian.fit(x) for x in self._features(held_out[chosen.samples :])]
        self.floor = self.measure(held_out[: chosen.samples])
        self.truth = [Gaussian.fit(x) for x in self._features(held_out)]
        self.held_out = len(held_out)

    def draw(self, network: Denoiser) -> Tensor:
        """Samples uint8, from the same noise for every row."""
        seeds = range(FIRST_SAMPLE, FIRST_SAMPLE + self.chosen.samples)
        with self.accelerator.autocast():
            batches = self.source.sample(network, seeds, steps=10)
            return torch.cat([to_uint8(batch) for batch in batches])

    def measure(self, images: Tensor) -> dict[str, float]:
        """Distances in both spaces, and Intra-LPIPS."""
        found = [Gaussian.fit(x) for x in self._features(images)]
        source, squeeze = (frechet_distance(*pair) for pair in zip(found, self.truth, strict=True))
        centres = _pictures(self.inputs.target.images)
        names = [str(i) for i in range(len(centres))]
        few = _pictures(images[: self.chosen.lpips_samples])
        diversity = intra_lpips(few, centres, names, self.trunk).value
        return {"source": source, "squeeze": squeeze, "intra": diversity or float("nan")}

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        batches = images.split(100)
        return torch.cat([self.space(x) for x in batches]), torch.cat([*map(self._pooled, batches)])

    @torch.no_grad()
    def _pooled(self, images: Tensor) -> Tensor:
        pictures = _pictures(images)
        x = colours(pictures, range(len(pictures)), -1.0, self.trunk)
        return self.trunk.layers(self.trunk.scaling(x))[-1].mean((2, 3))


def _pictures(images: Tensor) -> list[Image.Image]:
    return [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in images]


def runs(measures: Measures, row: str, seed: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Train one row; its measures after each of the steps."""
    training = TrainingConfig(steps=max(MEASURE_AT))
    rate = LEARNING_RATE.get(row, training.learning_rate)
    adaptor = replace(AdaptorConfig(), t_limit=1.0) if row.endswith(EVERYWHERE) else AdaptorConfig()
    config = AdaptConfig(
        str(measures.chosen.source),
        str(measures.chosen.target),
        method=row.removesuffix(EVERYWHERE),
        seed=seed,
        training=replace(training, learning_rate=rate),
        adaptor=adaptor,
    )
    classifier = None
    if stages_of(config):
        file = measures.chosen.scratch / f"classifier-{seed}.safetensors"
        if not file.exists():
            for _ in train_classifier(measures.inputs, config, measures.accelerator, file):
                pass
        classifier = load_classifier(file, measures.source.size)
    trained = build_training(
        measures.inputs, config, measures.accelerator, {"classifier": classifier}
    )
    for record in trained.steps():
        if record.step in MEASURE_AT:
            with trained.averaged():
                yield record.step, measures.measure(measures.draw(trained.network))


def line(name: str, step: int | str, found: Sequence[dict[str, float]]) -> str:
    """A line of the table: medians over seeds, with the least and the greatest."""
    cells = [
        spread([one[key] for one in found], form)
        for key, form in (("source", ".2f"), ("squeeze", ".2f"), ("intra", ".3f"))
    ]
    return f"| {name} | {step} | {' | '.join(cells)} |\n"


HEADING = """# Photographs: {source} to {target}

`python benchmarks/photographs.py`: {samples} samples (dpm++, 10 steps) against {held_out} held-out
photographs, at {size} pixels; seeds {seeds}. Median (least to greatest) over seeds.
{versions}.

Frechet distances in two spaces: *source* is {space};
*squeeze* SqueezeNet 1.1's last map, averaged over its pixels. Intra-LPIPS (cdc, SqueezeNet) of
{lpips} of the samples. The source was trained by `examples/pretrain_folder.py` on photographs of
adults ({steps}); neither it nor the images are part of the project.

| row | step | Frechet, source | Frechet, squeeze | Intra-LPIPS |
|---|---|---|---|---|
"""


def main() -> None:
    """Measure every row, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("source", "target", "held-out", "trunk-weights", "scratch"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--source-steps", default="steps not said")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--lpips-samples", type=int, default=100)
    chosen = parser.parse_args()
    measures = Measures(chosen)
    text = HEADING.format(
        source=chosen.source.name,
        target=chosen.target.name,
        samples=chosen.samples,
        held_out=measures.held_out,
        size=measures.source.size,
        seeds=", ".join(map(str, chosen.seeds)),
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        space=measures.space.label,
        lpips=chosen.lpips_samples,
        steps=chosen.source_steps,
    )
    text += line(f"{chosen.samples} held-out against the others", "-", [measures.floor])
    unadapted = measures.measure(measures.draw(Denoiser(measures.source.load())))
    text += line("source, not adapted", 0, [unadapted])
    RESULT.write_text(text)
    for row in ROWS:
        found: dict[int, list[dict[str, float]]] = {step: [] for step in MEASURE_AT}
        for seed in chosen.seeds:
            for step, measured in runs(measures, row, seed):
                found[step].append(measured)
        text += "".join(line(row, step, those) for step, those in found.items())
        RESULT.write_text(text)
        print(row, {s: statistics.fmean(m["source"] for m in f) for s, f in found.items()})


if __name__ == "__main__":
    main()
