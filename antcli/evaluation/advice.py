"""What to try next, by rules from the numbers. Each rule says what it saw before what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antcli.artifacts import load_metadata, with_name
from antcli.config import AdaptConfig, method_of
from antcli.diffusion.sampler import FewSteps
from antcli.errors import AntError, quoted
from antcli.evaluation.results import Found, both_rows, diversity_kept
from antcli.evaluation.stopping import Score, choose
from antcli.methods.build import stages_of
from antcli.runs.run import Run

FAR_ABOVE_CHANCE = 0.25
"""Share copied, of the samples that chance alone leaves uncopied."""
LOW_DIVERSITY = 0.75
"""Share of the source's."""
HIGH = 0.9
"""Share of the path up to which noise leaves next to nothing of an image, its colours neither."""
LITTLE_WAY = 0.2
"""Share of the source's distance to the reference that the adapted model has gone."""
FEW_REFERENCES = 50


@dataclass(frozen=True)
class Advice:
    """Something to try."""

    text: str
    command: str = ""


def advise(run: Run, evaluation: Mapping[str, Any], scores: Sequence[Score]) -> list[Advice]:
    """All that the numbers of a run suggest, the most urgent first; often nothing."""
    config = run.config()
    if isinstance(run.sampler, FewSteps):  # it learnt from another run, and that from the images
        return [*_reference(run, evaluation)]
    less = [
        *_copying(run, config, evaluation),
        *_diversity(run, config, evaluation, scores),
    ]
    more = [*_little_moved(run, config, evaluation)] or [*_still_nearing(run, config, scores)]
    return [
        *_step(run, config, scores),
        *(less or more),
        *_classifier(run),
        *_reference(run, evaluation),
    ]


def far_above_chance(copies: Found) -> bool:
    """Whether far more samples count as copies than new images of the target's domain would."""
    rate, chance = copies["copy_rate"], copies["copy_rate_by_chance"]
    return bool((rate - chance) / (1 - chance) > FAR_ABOVE_CHANCE)


def _step(run: Run, config: AdaptConfig, scores: Sequence[Score]) -> Iterator[Advice]:
    if not scores:
        return
    step = choose(scores, config.training.settles).step
    if step not in (0, run.taken_step):
        yield Advice(
            f"The weights are those of step {run.taken_step}; the scores favour step {step}.",
            f"ant evaluate checkpoints {quoted(run.folder)} --take",
        )


def _copying(run: Run, config: AdaptConfig, evaluation: Mapping[str, Any]) -> Iterator[Advice]:
    adapted, source = both_rows(evaluation, "memorization")
    rate, chance = adapted["copy_rate"], adapted["copy_rate_by_chance"]
    if far_above_chance(adapted) and rate > source["copy_rate"]:
        yield Advice(
            f"{rate:.0%} of the samples count as copies, against {chance:.0%} by chance and "
            f"{source['copy_rate']:.0%} for the source: look at the nearest pairs, and train for "
            "fewer steps.",
            _again(run, config, _fewer_steps(run, config)),
        )


def _diversity(
    run: Run, config: AdaptConfig, evaluation: Mapping[str, Any], scores: Sequence[Score]
) -> Iterator[Advice]:
    kept = diversity_kept(run.taken_step, evaluation, scores)
    if kept is not None and kept < LOW_DIVERSITY:
        rate = config.training.learning_rate / 2
        yield Advice(
            f"The samples keep {kept:.0%} of the source's diversity. Unless the target itself is "
            "that narrow, train for fewer steps or at a lower learning rate.",
            _again(run, config, f"{_fewer_steps(run, config)} --learning-rate {rate:g}"),
        )


def _little_moved(run: Run, config: AdaptConfig, evaluation: Mapping[str, Any]) -> Iterator[Advice]:
    adapted, source = (found["value"] for found in both_rows(evaluation, "kid"))
    if source is None or adapted is None or source <= 0 or 1 - adapted / source >= LITTLE_WAY:
        return
    seen = (
        f"The adapted model is hardly nearer to the reference than its source (kernel distance "
        f"{adapted:.3g} against {source:.3g})"
    )
    if config.stopping.auto and not config.training.settles:  # it has tried more steps
        yield Advice(f"{seen}, and more steps did not help.")
    else:
        more = f"--steps {2 * config.training.steps}"
        yield Advice(f"{seen}: train for more steps.", _again(run, config, more))
    lines = _at_high_noise(config)
    if lines:
        yield Advice(
            "If the target differs from the source in its colours or layout as a whole, let what "
            "trains act at high noise, too: write these two lines into a file and give it with "
            "--config.",
            lines,
        )


def _at_high_noise(config: AdaptConfig) -> str:
    """The setting that lets what trains act there; none where it does."""
    if "counterparts" in stages_of(config):
        return "" if config.counterparts.noise >= HIGH else f"[counterparts]\nnoise = {HIGH}"
    table = next(iter(method_of(config).choices["trains"].tables))
    return f"[{table}]\nt_limit = 1.0" if getattr(config, table).t_limit < 1 else ""


def _still_nearing(run: Run, config: AdaptConfig, scores: Sequence[Score]) -> Iterator[Advice]:
    if config.stopping.auto or config.training.settles or not scores:
        return
    if choose(scores).step != scores[-1].step:
        return
    yield Advice(
        "The last step is the nearest to the target: more of them may come nearer still. Let the "
        "run find its own end.",
        _again(run, config, "--steps auto"),
    )


def _classifier(run: Run) -> Iterator[Advice]:
    try:
        report = json.loads(load_metadata(run.classifier)["ant.report"])
    except (AntError, KeyError, ValueError):  # trained elsewhere, or by a method without one
        return
    if report["useless"] and report.get("hardly_trained"):
        yield Advice(
            "The classifier that guided the training had too few training steps "
            f"({report['steps']}) and is near guessing at every noise level: give it more, with "
            "[classifier] steps in a --config file."
        )
    elif report["useless"]:
        yield Advice(
            "The classifier that guided the training is near guessing at every noise level (its "
            f"report: ant.report in the metadata of {run.classifier}). Source and target may be "
            "too alike, or the target's images too few: images of the source's domain may help "
            "it (--source-images), or a method without guidance.",
            _again(run, run.config(), "--method adaptor-adversarial"),
        )
    elif report["best_accuracy"] is None:
        yield Advice(
            "How good the classifier is remains unknown: of fewer than five target images none is "
            "held out. Add images to the target if there are any."
        )


def _reference(run: Run, evaluation: Mapping[str, Any]) -> Iterator[Advice]:
    count = evaluation["reference_images"]
    if count < FEW_REFERENCES:
        yield Advice(
            f"The reference holds {count} images, and if they are those of the training, a copy "
            "scores best. If there are more images of the target's domain, measure against "
            "them.",
            f"ant evaluate all {quoted(run.folder)} --reference FOLDER",
        )


def _fewer_steps(run: Run, config: AdaptConfig) -> str:
    # `auto` looks for a step only where the rate does not settle; then it has looked already.
    again = config.stopping.auto or config.training.settles
    return f"--steps {max(run.taken_step // 2, 1)}" if again else "--steps auto"


def _again(run: Run, config: AdaptConfig, change: str) -> str:
    """The command that makes the run anew, beside it, with one thing changed."""
    folder = with_name(run.folder)
    names = (
        ("--source", config.source),
        ("--target", run.facts()["target_folder"]),
        ("--config", run.settings_file),
        ("--out", folder.with_name(f"{folder.name}-next")),
    )
    options = " ".join(f"{name} {quoted(value)}" for name, value in names)
    return f"ant adapt {options} {change}"
