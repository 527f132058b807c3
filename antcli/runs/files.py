"""The files of a run, each with its name."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from antcli.artifacts import RUN_FACTS


@dataclass(frozen=True)
class RunFiles:
    """What a run's folder holds; none of it has to be there."""

    folder: Path

    @property
    def settings_file(self) -> Path:
        """Its settings, as `--config` reads them."""
        return self.folder / "config.toml"

    @property
    def facts_file(self) -> Path:
        """What the run is and how far it has come."""
        return self.folder / RUN_FACTS

    @property
    def weights(self) -> Path:
        """What was trained, averaged."""
        return self.folder / "weights.safetensors"

    @property
    def state(self) -> Path:
        """What an unfinished run resumes from."""
        return self.folder / "state.safetensors"

    @property
    def state_before(self) -> Path:
        """The state before that one, from which it resumes where the newer one is damaged."""
        return self.folder / "state-before.safetensors"

    @property
    def classifier(self) -> Path:
        """The classifier that guided it."""
        return self.folder / "classifier.safetensors"

    @property
    def counterparts(self) -> Path:
        """What the source would have drawn in the place of each of the target's images."""
        return self.folder / "counterparts.safetensors"

    @property
    def source_examples(self) -> Path:
        """Samples that the source drew of itself."""
        return self.folder / "source-examples.safetensors"

    @property
    def fisher(self) -> Path:
        """How much the source's samples depend on each weight."""
        return self.folder / "fisher.safetensors"

    @property
    def modulated(self) -> Path:
        """Which filters matter to the target."""
        return self.folder / "modulated.safetensors"

    @property
    def adapted(self) -> Path:
        """Of a distilled run, the weights of the adapted one that it was distilled from."""
        return self.folder / "adapted.safetensors"

    @property
    def lessons(self) -> Path:
        """Of a distilled run, what its teacher made of noised samples, while it trains."""
        return self.folder / "lessons.safetensors"

    @property
    def condition(self) -> Path:
        """What its source is asked with, where that is conditional on a class or a text."""
        return self.folder / "condition.safetensors"

    @property
    def model(self) -> Path:
        """The whole network as a diffusers folder, where all of it was trained."""
        return self.folder / "model"

    @property
    def log(self) -> Path:
        """One JSON object a line for each step."""
        return self.folder / "log.jsonl"

    @property
    def preview(self) -> Path:
        """The newest page of samples."""
        return self.folder / "preview.png"

    @property
    def preview_source(self) -> Path:
        """The source's images of the pages, as a tensor."""
        return self.folder / "previews" / "source.safetensors"

    def preview_at(self, step: int) -> Path:
        """The page of samples after `step` steps."""
        return self.folder / "previews" / f"step-{step:05d}.png"

    def checkpoint_at(self, step: int) -> Path:
        """What was trained, averaged, after `step` steps."""
        return self.folder / "checkpoints" / f"step-{step:05d}.safetensors"

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The kept weights by their step, in order."""
        found = sorted((self.folder / "checkpoints").glob("step-*.safetensors"))
        steps = {path.stem.removeprefix("step-"): path for path in found}
        return {int(step): path for step, path in steps.items() if step.isdecimal()}

    @property
    def scores(self) -> Path:
        """How the checkpoints do without held-out data, a JSON list."""
        return self.folder / "scores.json"

    @property
    def curve(self) -> Path:
        """The scores over the steps, as a picture."""
        return self.folder / "curve.svg"

    @property
    def evaluation(self) -> Path:
        """All metrics as JSON, with the hash of the weights they were measured of."""
        return self.folder / "evaluation.json"

    @property
    def nearest_pairs(self) -> Path:
        """The samples nearest to a target image, beside it."""
        return self.folder / "nearest-pairs.png"

    @property
    def report(self) -> Path:
        """All there is to see of it, as one HTML file."""
        return self.folder / "report.html"

    @property
    def exports(self) -> Path:
        """Folders for other programs, by their format, unless they were sent elsewhere."""
        return self.folder / "exports"

    @property
    def samples(self) -> Path:
        """Images drawn from it, unless they were sent elsewhere."""
        return self.folder / "samples"

    def samples_of(self, condition: str) -> Path:
        """Images of one of its conditions, in words, unless they were sent elsewhere."""
        return self.folder / "conditions" / condition

    @property
    def source_samples(self) -> Path:
        """Images that the source, not adapted, draws from the same noise."""
        return self.folder / "source-samples"

    def clear(self) -> None:
        """Remove what a run writes, and nothing else, from the folder."""
        for folder in (self.model, self.samples, self.source_samples, self.exports):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("previews", "checkpoints", "conditions"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        prepared = [self.classifier, self.counterparts, self.source_examples, self.condition]
        prepared += [self.fisher, self.modulated, self.adapted, self.lessons]
        trained = [self.weights, self.state, self.state_before, self.log]
        seen = [self.preview, self.scores, self.curve, self.evaluation, self.nearest_pairs]
        # The facts last: without them the rest is no run that could be cleared again.
        for file in [*prepared, *trained, *seen, self.report, self.settings_file, self.facts_file]:
            file.unlink(missing_ok=True)
