"""What an adaptation writes into the folder of its run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antcli.artifacts import load_tensors, replacing, save_tensors, to_json
from antcli.config import AdaptConfig, label, source_name
from antcli.diffusion.sampler import FewSteps
from antcli.evaluation.stopping import ChosenStep, Score, choose, read_scores, write_scores
from antcli.images.conditions import Conditions
from antcli.images.grid import comparison_page, save_png, to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.methods.trainable.tuned import TunedDenoiser
from antcli.runs.adapted import IMAGES
from antcli.runs.run import Run
from antcli.sources.source import Source
from antcli.sources.writing import write_like
from antcli.training.checkpoints import is_whole
from antcli.training.inputs import described
from antcli.training.loop import StepRecord, Training

FEWEST = 4
"""Images of each condition on a page."""


def may_be_taken(scores: Sequence[Score]) -> set[int]:
    """The steps that `choose` names, now or after any more scores.

    The longest way only grows, so that the choice never goes back, and never falls on a step that
    went less far than one before it.
    """
    if len(scores) < 2:
        return set()
    chosen, nearest, steps = choose(scores).step, math.inf, set()
    for score in scores[1:]:
        if score.distance < nearest and score.step >= chosen:
            steps.add(score.step)
        nearest = min(nearest, score.distance)
    return {chosen, *steps}


@dataclass(frozen=True)
class RunFolder:
    """One training and the run that keeps it. Only the main process writes."""

    run: Run
    training: Training
    source: Source
    identity: Mapping[str, Any]
    """What tells this run from another one with equal settings."""
    config: AdaptConfig
    conditions: Conditions | None
    """Of the images, where they have several."""

    @property
    def marked(self) -> bool:
        """Whether something is to be kept of this step, and looked at."""
        step = self.training.step
        return step % self.config.preview.every == 0 or step == self.config.training.steps

    def preview(self) -> None:
        """Draw the page of samples of this step, each below the source's from the same noise.

        Those of several conditions have a row each.
        """
        page = comparison_page(self._source_images, self._adapted_images, above=self._above)
        text = {"ant.run": str(self.run.folder), "ant.step": str(self.training.step)}
        for path in (self.run.preview_at(self.training.step), self.run.preview):
            save_png(path, page, text)

    @property
    def _above(self) -> str:
        """What stands above what is trained, on a page."""
        return "source"

    @property
    def _adapted_images(self) -> Tensor | dict[str, Tensor]:
        known, source = self.conditions, self._source_images
        if self.training.step == 0:
            return source if known is None else dict.fromkeys(known.shown, source)
        with self.training.averaged():
            if known is None:
                return self._drawn(self.training.network)
            return {each: self._drawn(self.training.network, each) for each in known.shown}

    @property
    def _seeds(self) -> range:
        """Of the images of a page: of several conditions fewer of each."""
        count, known = self.config.preview.images, self.conditions
        return range(count if known is None else max(FEWEST, count // len(known.shown)))

    @cached_property
    def _source_images(self) -> Tensor:
        """Drawn once in a run, before its first step: an untrained network is its source."""
        file, title = self.run.preview_source, "samples of the source, uint8 [N, 3, H, W]"
        if self.training.step == 0:
            images = self._drawn(self.training.network)
            save_tensors(file, {"images": images}, self._metadata(title))
        return load_tensors(file)["images"]

    def _drawn(self, network: Denoiser, condition: str = "") -> Tensor:
        """Samples of a network, uint8 [N, 3, H, W]; of one of its conditions."""
        source, steps = self.source, self.config.preview.sampling_steps or None
        device, known = self.training.accelerator.device, self.conditions
        asked = known.labels_of(self._seeds, condition) if known and condition else None
        with self.training.accelerator.autocast():
            batches = source.sample(
                network, self._seeds, steps=steps, device=device, conditions=asked
            )
            codec = source.codec(device)
            return torch.cat([to_uint8(codec.decode(x_0).cpu()) for x_0 in batches])

    def condition(self) -> None:
        """Keep what the source is asked with, so that nobody has to say or encode it again."""
        if self.source.condition:
            title = f"what {source_name(self.config)} is asked with"
            save_tensors(self.run.condition, self.source.condition_tensors, self._metadata(title))

    def state(self) -> None:
        """Keep what the run resumes from."""
        title = self._metadata("state of an unfinished run")
        self.training.save(self.run.state, title, self.run.state_before)
        self._facts("running")

    def remove_damaged(self) -> tuple[Path, ...]:
        """Remove the states that are not whole, from the newest on; which these were."""
        damaged = []
        for state in (self.run.state, self.run.state_before):
            if state.exists() and is_whole(state):
                break
            if state.exists():
                state.unlink()
                damaged.append(state)
        return tuple(damaged)

    def checkpoint(self) -> None:
        """Keep the averaged weights of this step: what trains, and nothing else."""
        title = f"{self._title} after {self.training.step} steps"
        with self.training.averaged():
            path = self.run.checkpoint_at(self.training.step)
            save_tensors(path, self.training.parameters, self._metadata(title))

    def rotate(self, scores: Sequence[Score]) -> None:
        """Remove the oldest checkpoints beyond `preview.keep`; none that may still be taken."""
        kept = list(self.run.checkpoints)[-self.config.preview.keep :]
        for step, path in self.run.checkpoints.items():
            if step not in kept and step not in may_be_taken(scores):
                path.unlink(missing_ok=True)

    def finish(self, choice: ChosenStep | None) -> None:
        """Write the weights that count, and what was decided about them."""
        with self.training.averaged():
            if choice is not None and choice.step != self.training.step:
                kept = load_tensors(self.run.checkpoint_at(choice.step))
                with torch.no_grad():
                    for name, parameter in self.training.parameters.items():
                        parameter.copy_(kept[name])
            save_tensors(self.run.weights, self.training.parameters, self._metadata(self._title))
            network = self.training.network
            # Above a limit in t the source speaks, which no folder of one network can say; where a
            # student knows what to say, `ant export` writes.
            alone = isinstance(network, TunedDenoiser) and network.whole and network.limit is None
            if alone and not isinstance(network.sampler, FewSteps):
                write_like(self.source, self.run.model, network.unet)
        self._facts("finished", choice)
        for state in (self.run.state, self.run.state_before):
            state.unlink(missing_ok=True)

    def log(self, record: StepRecord) -> None:
        """Add a step to the log."""
        with self.run.log.open("a", encoding="utf-8") as log:
            log.write(to_json(asdict(record)) + "\n")

    def cut(self) -> list[Score]:
        """Drop what was written after the step that training goes on from; the scores before."""
        step = self.training.step
        if self.run.log.exists():
            lines = self.run.log.read_text(encoding="utf-8").splitlines(keepends=True)
            with replacing(self.run.log) as temporary:
                temporary.write_text("".join(lines[:step]), encoding="utf-8")
        scores = [score for score in read_scores(self.run.scores) if score.step <= step]
        if self.run.scores.exists():
            write_scores(self.run.scores, scores)
        return scores

    @property
    def _title(self) -> str:
        target = Path(self.config.target).resolve().name
        return f"{target} from {source_name(self.config)}, {label(self._told)}"

    @property
    def _told(self) -> AdaptConfig:
        """The settings that the run tells of itself."""
        return self.config

    def _metadata(self, title: str) -> dict[str, object]:
        network = self.training.network
        limit = {"ant.t_limit": repr(network.t_limit)}
        if network.images:
            limit[IMAGES] = str(network.images)
        of_target = self.identity["target_sha256"]
        return {**described(self.source, of_target, self.config, title), **limit}

    def _facts(self, status: str, choice: ChosenStep | None = None) -> None:
        facts = {"status": status, "step": self.training.step}
        if choice is not None:
            facts |= {"chosen_step": choice.step, "why": choice.why}
        self.run.write_facts(self._told, self.identity, **facts)
