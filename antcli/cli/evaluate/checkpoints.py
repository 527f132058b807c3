"""`ant evaluate checkpoints`: which step of a run to take."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antcli.cli.console import Bar, json_result, result, say
from antcli.cli.options import DeviceOption, JsonOption, RunArgument

if TYPE_CHECKING:
    from antcli.evaluation.stopping import Score
    from antcli.runs import Run


def checkpoints_command(
    run: RunArgument = None,
    take: Annotated[
        bool, typer.Option("--take", help="Make the step it names the run's weights.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Score the checkpoints of a run on the same noise, and name the step to take.

    Uses what a user has: the source, the target's few images, samples. No held-out data.
    """
    from antcli.evaluation.curve import write_curve
    from antcli.evaluation.stopping import choose, write_scores
    from antcli.runs import find_run, take_checkpoint

    found = find_run(run)
    scores = _scores(found, device)
    write_scores(found.scores, scores)
    write_curve(found.curve, scores, choose(scores))
    choice = choose(scores)
    if take and choice.step:
        take_checkpoint(found, choice.step, choice.why)
        _renew_model(found)
    if as_json:
        json_result({"scores": [asdict(score) for score in scores], **asdict(choice)})
        return
    for score in scores:
        mark = " <- take this one" if score.step == choice.step else ""
        result(f"step {score.step}: {score}{mark}")
    result(f"take step {choice.step}: {choice.why}")
    result(f"curve: {found.curve}")
    if take and choice.step:
        say(f"the weights of {found.folder} are those of step {choice.step} now")
    elif choice.step not in (0, found.taken_step):
        say(f"next: ant evaluate checkpoints {found.folder} --take")


def _renew_model(run: Run) -> None:
    """A run that trained all weights keeps them as a diffusers folder, too."""
    from antcli.evaluation.samples import check_run_source, load_adapted
    from antcli.sources.writing import write_like

    if run.model.exists():
        source = check_run_source(run)
        write_like(source, run.model, load_adapted(run, source).unet)


def _scores(run: Run, device: str) -> list[Score]:
    from antcli.errors import AntError
    from antcli.evaluation.samples import check_run_source, load_adapted
    from antcli.evaluation.scoring import Scorer
    from antcli.images.folder import read_folder
    from antcli.training.devices import make_accelerator

    source = check_run_source(run)
    target = read_folder(Path(run.facts()["target_folder"]), source.size)
    if not run.checkpoints:
        raise AntError(
            f"{run.folder} has no checkpoints: it has fewer steps than lie between two of them",
            "adapt again with more --steps, or with [preview] every = N in a --config file",
        )
    with Bar() as bar:
        total = len(run.checkpoints) + 1
        bar.update("scoring", 0, total)
        scorer = Scorer(source, target.images, make_accelerator(device, "no"))
        scores = [scorer.unadapted]
        for step, weights in run.checkpoints.items():
            bar.update("scoring", len(scores), total)
            network = load_adapted(run, source, weights).to(scorer.accelerator.device)
            scores.append(scorer.score(network, step))
        bar.update("scoring", total, total)
    return scores
