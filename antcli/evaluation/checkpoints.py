"""Which of the steps that a run has kept to take."""

from __future__ import annotations

from pathlib import Path

from antcli.devices import make_accelerator
from antcli.diffusion.sampler import FewSteps
from antcli.errors import AntError
from antcli.evaluation.curve import write_curve
from antcli.evaluation.listener import SILENT, Listener
from antcli.evaluation.own_target import own_target
from antcli.evaluation.scoring import Scorer
from antcli.evaluation.stopping import ChosenStep, Score, choose, write_scores
from antcli.images.target import read_target
from antcli.runs.adapted import check_run_source, conditions_of, load_adapted
from antcli.runs.run import Run, take_checkpoint
from antcli.sources.writing import write_like


def score_checkpoints(
    run: Run, device: str = "auto", listener: Listener = SILENT, target: Path | None = None
) -> list[Score]:
    """The scores of the source and of each checkpoint, kept in the run with their curve.

    `target` is where the images are that the run was adapted to, if not where they were. Raises
    `AntError` where there is no checkpoint, or no such images.
    """
    source = check_run_source(run)
    images = read_target(own_target(run, target), source.size).images
    if not run.checkpoints and isinstance(run.sampler, FewSteps):
        raise AntError(
            f"{run.folder} was distilled, and keeps no checkpoints: its last step is the best",
            "look at `ant evaluate all`, beside that of the run that it came from",
        )
    if not run.checkpoints:
        raise AntError(
            f"{run.folder} has no checkpoints: it has fewer steps than lie between two of them",
            "adapt again for more steps, or with [preview] every = N in its settings",
        )
    total = len(run.checkpoints) + 1
    listener.advance("scoring", 0, total)
    accelerator = make_accelerator(device, "no")
    scorer = Scorer(source, images, accelerator, conditions_of(run))
    scores = [scorer.unadapted]
    for step, weights in run.checkpoints.items():
        listener.advance("scoring", len(scores), total)
        network = load_adapted(run, source, weights).to(scorer.accelerator.device)
        scores.append(scorer.score(network, step))
    listener.advance("scoring", total, total)
    write_scores(run.scores, scores)
    write_curve(run.curve, scores, choose(scores, run.config().training.settles))
    return scores


def take_step(run: Run, choice: ChosenStep) -> None:
    """Make the weights of a step those of the run, and of the model that it may keep whole."""
    take_checkpoint(run, choice.step, choice.why)
    if run.model.exists():
        source = check_run_source(run)
        write_like(source, run.model, load_adapted(run, source).unet)
