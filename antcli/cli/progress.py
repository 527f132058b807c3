"""How the engine's records look on the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from antcli.cli.console import Bar, say

if TYPE_CHECKING:
    from antcli.distilling.distillation import Record as OfDistillation
    from antcli.sources.to_diffusers import Assumed, Converting
    from antcli.sources.transfer import Downloaded
    from antcli.training.adaptation import Record as OfAdaptation
    from antcli.training.classifier import ClassifierReport
    from antcli.training.counterparts import Chosen
    from antcli.training.source_dimension import SourceDimension

    Record = OfAdaptation | OfDistillation

UNKNOWN = 10_000, 1_000_000
"""Images that a source may have been trained on, where that is not known."""


def follow(
    records: Iterable[Record], steps: int, what: str = "adapting"
) -> ClassifierReport | None:
    """Show the records of a training as they come; `what` it does in its steps."""
    from antcli.distilling.lessons import Taught
    from antcli.evaluation.stopping import ChosenStep, Score
    from antcli.training.adaptation import Preview, Resumed
    from antcli.training.classifier import ClassifierChecked, ClassifierReport, ClassifierStep
    from antcli.training.counterparts import Chosen, CounterpartsDrawn
    from antcli.training.ladder import Tried
    from antcli.training.loop import StepRecord
    from antcli.training.probing import Probed
    from antcli.training.source_dimension import SourceDimension
    from antcli.training.source_examples import FisherEstimated
    from antcli.training.source_samples import SourceSamples

    report = None
    with Bar() as bar:
        for record in records:
            match record:
                case CounterpartsDrawn(chosen=Chosen() as chosen):
                    say(_found(chosen))
                case CounterpartsDrawn(done, total):
                    bar.update("drawing the source's counterparts", done, total)
                case Tried(done, total):
                    bar.update("looking for what is new", done, total)
                case Taught(done, total):
                    bar.update("asking the teacher", done, total)
                case SourceSamples(done, total):
                    bar.update("sampling the source", done, total)
                case SourceDimension():
                    say(_dimension(record))
                case FisherEstimated(done, total):
                    bar.update("asking what the source depends on", done, total)
                case Probed(done, total):
                    bar.update("probing which filters matter", done, total)
                case ClassifierStep(step, total, loss):
                    bar.update("training the classifier", step, total, f"loss {loss:.3f}")
                case ClassifierChecked(done, total):
                    bar.update("checking the classifier", done, total)
                case ClassifierReport():
                    report = record
                    show_report(record)
                case StepRecord(step=step, loss=loss):
                    bar.update(what, step, steps, f"loss {loss:.4f}")
                case Resumed(step, damaged):
                    for state in damaged:
                        say(f"{state} was damaged, and is removed")
                    say(f"going on after step {step}")
                case Preview(step, path):
                    say(f"step {step}: {path}")
                case Score():
                    say(f"step {record.step}: {record}")
                case ChosenStep(step, why):
                    say(f"took step {step}: {why}")
    return report


def _found(chosen: Chosen) -> str:
    """Where the images were found to be new, and how much noise hides it; or what was said."""
    whose = f"{chosen.condition}: " if chosen.condition else ""
    hidden = f"noise up to {chosen.noise:.2f} of the path hides it from the source"
    if chosen.said:
        told = f"noise up to {chosen.noise:.2f} of the path, as said, all of each image"
        return f"{whose}{told} is drawn anew"
    if chosen.anew < 1:
        bound = "; it goes with the colour of something beside it" if chosen.bound else ""
        return (
            f"{whose}what is new lies in {chosen.anew:.0%} of each image{bound}, "
            f"the rest stays: {hidden}"
        )
    return f"{whose}what is new lies anywhere in the images: {hidden}"


def _dimension(record: SourceDimension) -> str:
    """In how many directions the source's images vary, and what a rule of thumb makes of it."""
    from antcli.evaluation.dimension import images_asked

    found, known = record.dimension, record.source_images
    few, many = found.span
    least, most = (known, known) if known else UNKNOWN
    asked = images_asked(least, many), images_asked(most, few)
    images = f"{known}" if known else f"{least} to {most} (nobody knows)"
    return (
        f"the source's own images vary in about {found.estimate:.0f} directions ({few:.0f} to "
        f"{many:.0f}, by nearest neighbours among {found.samples} samples; so few read low)\n"
        f"  rule of thumb, not a promise: with {images} images of the source, theory without its "
        f"constants would ask for {_rounded(asked[0])} to {_rounded(asked[1])} of the target"
    )


def _rounded(number: float) -> str:
    """To two digits."""
    return f"{float(f'{number:.2g}'):.0f}"


@contextmanager
def fetching() -> Iterator[Callable[[Downloaded | Converting | Assumed], None]]:
    """Gives what shows how a source is downloaded and converted."""
    from antcli.sources.storage import megabytes
    from antcli.sources.to_diffusers import Assumed, Converting

    with Bar() as bar:
        last = ("", 0)

        def show(record: Downloaded | Converting | Assumed) -> None:
            nonlocal last
            if isinstance(record, Converting):
                say(f"converting {record.name}")
                return
            if isinstance(record, Assumed):
                if record.options:
                    taken = ", ".join(f"{name} {v}" for name, v in record.options.items())
                    say(f"taken, since weights do not tell it: {taken}")
                return
            here = (record.name, megabytes(record.done))
            if here != last:
                last = here
                total = megabytes(max(record.total, record.done))
                bar.update(f"downloading {record.name}", here[1], total, "MB")

        yield show


def show_report(report: ClassifierReport) -> None:
    """The classifier's accuracy at each noise level, and a warning where it is blind."""
    say(
        f"classifier on {report.held_out_source} source and {report.held_out_target} target "
        "images it has not seen, share called rightly (source / target):"
    )
    cells = []
    for level in report.levels:
        source, target = (
            "-" if share is None else f"{share:.2f}" for share in (level.source, level.target)
        )
        cells.append(f"t={level.t} {source}/{target}")
    say("  " + "  ".join(cells))
    if report.best_accuracy is None:
        say(
            "  of fewer than five images none is held out: how good this classifier is remains "
            "unknown"
        )
    if report.useless and report.hardly_trained:
        say(
            f"warning: after {report.steps} steps of training this classifier is near guessing at "
            "every noise level; guidance by it moves nothing. Give it more steps"
        )
    elif report.useless:
        say(
            "warning: this classifier is useless, near guessing at every noise level; "
            "guidance by it moves nothing. Source and target may be too alike, or the "
            "target's images too few"
        )
