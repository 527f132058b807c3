"""What is in the report of a run: pictures and what they are worth first, hashes last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from antcli.config import AdaptConfig, adapt_config_from, differences, label, to_toml
from antcli.diffusion.sampler import FewSteps
from antcli.errors import AntError, quoted
from antcli.evaluation.advice import advise, far_above_chance
from antcli.evaluation.checkpoints import score_checkpoints
from antcli.evaluation.critic_noise import critic_noise_svg, read_critic_noise
from antcli.evaluation.curve import curve_svg
from antcli.evaluation.evaluate import evaluate_run
from antcli.evaluation.listener import SILENT, Listener
from antcli.evaluation.own_target import holds_own
from antcli.evaluation.pairs import read_pairs
from antcli.evaluation.report.page import (
    Picture,
    drawing,
    embedded,
    render,
    square,
    whole_page,
    write_page,
)
from antcli.evaluation.results import (
    KINDS,
    both_rows,
    diversity_kept,
    metric_tables,
    plain,
    read_evaluation,
)
from antcli.evaluation.samples import SamplingPlan, drawn_images
from antcli.evaluation.stopping import Score, choose, read_scores
from antcli.images.target import check_target
from antcli.runs.adapted import conditions_of
from antcli.runs.run import Run

SHOWN = 24
"""Pairs of samples."""
MEASURED = 200
"""Samples, where nothing was measured before."""
MOST_TARGETS = 12
"""Target images that are shown: a few-shot target has no more."""
Figure = tuple[str, list[Picture]]
"""A caption, and the pictures over it."""


def make_report(
    run: Run,
    path: Path,
    device: str = "auto",
    listener: Listener = SILENT,
    target: Path | None = None,
) -> None:
    """Write the report of a run. What it lacks, numbers, scores or samples, is made first.

    `target` is where the images are that it was adapted to, if not where they were. Raises
    `AntError` where that fails, or the file cannot be written.
    """
    evaluation = _evaluation(run, device, listener, target)
    if run.checkpoints and not run.scores.exists():
        try:
            score_checkpoints(run, device, listener, target)
        except AntError as error:  # a report without the curve is one, too
            listener.note(f"left out: the scores over the steps: {error.message}")
    plans = [SamplingPlan.first(run, SHOWN, adapted=adapted) for adapted in (False, True)]
    source, adapted = (drawn_images(plan, device, listener).paths for plan in plans)
    pairs = list(zip(source, adapted, strict=True))
    write_page(path, report_html(run, evaluation, pairs, target))


def report_html(
    run: Run,
    evaluation: Mapping[str, Any],
    samples: Sequence[tuple[Path, Path]],
    target: Path | None = None,
) -> str:
    """The report as HTML.

    `evaluation` is what `evaluate_run` keeps; `samples` are images of the source and of the
    adapted model, from the same noise; `target` is as in `make_report`. Raises
    `AntError` where one of these cannot be read.
    """
    scores, config, facts = read_scores(run.scores), run.config(), run.facts()
    targets, told = _target_paths(run, target), _seeds(run)
    choice = choose(scores, config.training.settles) if scores else None
    alt = f"Three curves over the steps; step {choice.step if choice else 0} is marked."
    return render(
        "report.html",
        title=f"{Path(facts['target_folder']).name} from {Path(config.source).name} "
        f"by {label(config)}",
        facts=facts,
        folder=quoted(run.folder),
        evaluation=evaluation,
        preview=whole_page(run.preview, "samples"),
        samples=[(told(int(b.stem)), [square(a), square(b)]) for a, b in samples],
        worth=[*_worth(run, evaluation, scores)],
        advice=advise(run, evaluation, scores),
        targets=targets and [(path.name, [square(path)]) for path in targets[:MOST_TARGETS]],
        more_targets=max(len(targets or ()) - MOST_TARGETS, 0),
        pairs=_pairs(run, evaluation),
        choice=choice,
        curve=choice and drawing(curve_svg(scores, choice), alt),
        critic_noise=_critic_noise(run),
        steps=[_step(run, score) for score in scores],
        has_checkpoints=bool(run.checkpoints),
        distilled=isinstance(run.sampler, FewSteps),
        left_out=[
            f"{KINDS[k].title}: left out, {why}" for k, why in evaluation["left_out"].items()
        ],
        metrics=[*metric_tables(evaluation)],
        settings=_settings(run, config, facts),
        toml=to_toml(config),
    )


def _seeds(run: Run) -> Callable[[int], str]:
    """Tells of a seed, and the condition of its sample where there are several."""
    known = conditions_of(run)
    return lambda seed: f"seed {seed}" + ("" if known is None else f", {known.of_seed(seed)}")


def _critic_noise(run: Run) -> Picture | None:
    """Of a student that was trained with a critic."""
    steps = read_critic_noise(run.log)
    alt = "Two curves over the steps: T, and how sure the critic is of the real images."
    return drawing(critic_noise_svg(steps), alt) if steps else None


def _evaluation(run: Run, device: str, listener: Listener, target: Path | None) -> dict[str, Any]:
    """What was kept; measured now where nothing was, or of other weights."""
    kept = read_evaluation(run)
    if kept is not None:
        return kept
    listener.note(
        f"{run.folder} has no numbers of its present weights: measuring {MEASURED} samples"
    )
    return evaluate_run(run.folder, count=MEASURED, target=target, device=device, listener=listener)


def _worth(run: Run, evaluation: Mapping[str, Any], scores: Sequence[Score]) -> Iterator[str]:
    """What the numbers say, in plain words."""
    before, now = (found.get("value") for found in reversed(both_rows(evaluation, "kid")))
    if before is not None and now is not None and before > 0:
        way = min(1 - now / before, 1)
        told = f"have gone {way:.0%} of the way from the source's to the reference"
        if way <= 0:
            told = "are no nearer to the reference than the source's"
        yield f"The samples {told} (kernel distance {plain(before)} before, {plain(now)} now)."
    kept = diversity_kept(run.taken_step, evaluation, scores)
    if kept is not None:
        yield f"They keep {kept:.0%} of the source's diversity."
    copies, _ = both_rows(evaluation, "memorization")
    rate, chance = copies["copy_rate"], copies["copy_rate_by_chance"]
    told = (
        "far more than chance: look at the nearest pairs"
        if far_above_chance(copies)
        else ("no sign of copying")
    )
    yield (
        f"{rate:.0%} of them count as copies of a target image, where new images of the target's "
        f"own domain would in {chance:.0%} of cases: {told}."
    )


def _target_paths(run: Run, target: Path | None) -> tuple[Path, ...] | None:
    """The images that the run was adapted to; None if they are gone or others by now."""
    folder = target or Path(run.facts()["target_folder"])
    try:
        return check_target(folder)[0] if holds_own(run, folder) else None
    except (AntError, OSError):
        return None


def _pairs(run: Run, evaluation: Mapping[str, Any]) -> list[Figure]:
    """The samples nearest to a target image, each beside it; none if they are of other numbers."""
    measured, _ = both_rows(evaluation, "memorization")
    pairs = read_pairs(run.nearest_pairs)
    if [pair for _, pair in pairs] != [*measured["pairs"]]:
        return []
    return [
        (
            f"{place}. seed {pair['sample']}, distance {plain(pair['distance'])}"
            + (", counts as copied" if pair["distance"] < measured["threshold"] else ""),
            [embedded(picture, f"pair {place}", picture.width)],
        )
        for place, (picture, pair) in enumerate(pairs, 1)
    ]


def _step(run: Run, score: Score) -> tuple[str, ...]:
    taken = " (source)" if score.step == 0 else " (taken)" * (score.step == run.taken_step)
    numbers = f"{score.distance:.3f}", f"{score.diversity:.2f}", f"{score.copied:.2f}"
    return f"{score.step}{taken}", *numbers


def _distilled(run: Run) -> str:
    sampler = run.sampler
    return f", distilled to {sampler.steps} steps" if isinstance(sampler, FewSteps) else ""


def _settings(run: Run, config: AdaptConfig, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Source, target, method, steps; the settings that differ from the method's."""
    plainly = asdict(
        adapt_config_from({k: getattr(config, k) for k in ("source", "target", "method")})
    )
    done = f"{run.taken_step} taken, of {facts['step']} done"
    return [
        ("Target", f"{facts['target_folder']}, {len(facts['target_sha256'])} images"),
        ("Method", label(config) + _distilled(run)),
        ("Seed", str(config.seed)),
        ("Steps", done + (f" ({facts['why']})" if "why" in facts else "")),
        (
            "Other than the defaults",
            "; ".join(differences(plainly, asdict(config)).values()) or "nothing",
        ),
        ("Run", str(run.folder.resolve())),
        ("Made by", f"ant {facts['version']}"),
        ("Source", f"{config.source}, sha256:{facts['source_sha256']}"),
        ("Weights", f"sha256:{run.weights_sha256}"),
    ]
