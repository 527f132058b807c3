"""From the options of `ant evaluate` to rows of images and the tools to measure them.

All that can be wrong is found before the first image is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from antcli.cli.console import Bar, say
from antcli.errors import AntError

if TYPE_CHECKING:
    from antcli.evaluation.features import FeatureSpace
    from antcli.evaluation.lpips import LpipsFeatures, Net
    from antcli.evaluation.measuring import Row, Tools
    from antcli.evaluation.reference import Statistics
    from antcli.evaluation.samples import SamplingPlan
    from antcli.images.folder import ImageFiles
    from antcli.runs import Run
    from antcli.sources.source import Source

ADAPTED, UNADAPTED = "adapted", "source, not adapted"
STATISTICS = ".safetensors"


@dataclass(frozen=True)
class Asked:
    """What a command was asked to measure."""

    run: Path | None = None
    images: Path | None = None
    target: Path | None = None
    reference: Path | None = None
    count: int = 1000
    features: Literal["inception", "dinov2", "source"] | None = None
    """None: no feature space is needed."""
    feature_weights: Path | None = None
    source: str | None = None
    net: Net | None = None
    """None: no LPIPS is needed."""
    trunk_weights: Path | None = None
    protocol: Literal["cdc", "crdi"] = "cdc"
    needs_target: bool = True
    """Whether the metric compares with the target's images themselves."""
    least: int = 2
    """Images that the metric needs of the reference or of the target."""
    seed: int = 0
    device: str = "auto"

    def prepare(self) -> tuple[list[Row], Tools]:
        """Check everything, draw what samples are missing, open what measures them."""
        from antcli.evaluation.checks import REFERENCE, check_enough
        from antcli.evaluation.measuring import Row, Tools
        from antcli.images.folder import ImageFiles, check_folder

        plans = self._plans()
        target = self._target(plans)
        given = ImageFiles(check_folder(self.images)) if self.images is not None else None
        reference = self._reference_images(target)
        space, trunk = self._space(plans), self._trunk()
        statistics = None
        if space is not None:
            statistics = self._statistics(reference, space)
            check_enough(statistics.count, REFERENCE, self.least)
        if given is not None:
            assert self.images is not None
            rows = [Row(self.images.name or str(self.images), given)]
        else:
            rows = [
                Row(name, drawn(plan, self.device))
                for name, plan in zip((ADAPTED, UNADAPTED), plans, strict=True)
            ]
        reporter = _Reporter()
        return rows, Tools(target, space, statistics, trunk, self.protocol, self.seed, reporter)

    def found_run(self) -> Run:
        """The run that is asked about."""
        from antcli.runs import find_run

        return find_run(self.run)

    def _plans(self) -> list[SamplingPlan]:
        from antcli.evaluation.samples import SamplingPlan, check_run_source

        if self.images is not None:
            if self.run is not None:
                raise AntError("both RUN and --images are given", "give one of them", exit_code=2)
            if self.target is None and (self.needs_target or self.reference is None):
                raise AntError("--images needs --target", "name the target's folder", exit_code=2)
            return []
        run, seeds = self.found_run(), range(self.count)
        check_run_source(run)
        return [
            SamplingPlan(run, run.samples, seeds),
            SamplingPlan(run, run.source_samples, seeds, adapted=False),
        ]

    def _target(self, plans: list[SamplingPlan]) -> ImageFiles:
        from antcli.evaluation.checks import TARGET, check_enough
        from antcli.images.folder import ImageFiles, check_folder

        if self.reference is not None and not self.needs_target:
            return ImageFiles(())
        folder = self.target or Path(plans[0].run.facts()["target_folder"])
        target = ImageFiles(check_folder(folder))
        check_enough(len(target), TARGET, self.least)
        for number in range(len(target)):  # damaged ones are found now, not after an hour
            target[number]
        return target

    def _reference_images(self, target: ImageFiles) -> ImageFiles | None:
        """The images of the reference; None where a file of statistics is given."""
        from antcli.images.folder import ImageFiles, check_folder

        if self.reference is None:
            return target
        if self.reference.suffix == STATISTICS:
            return None
        return ImageFiles(check_folder(self.reference))

    def _space(self, plans: list[SamplingPlan]) -> FeatureSpace | None:
        from antcli.evaluation.features import open_space
        from antcli.training.devices import resolve_device

        if self.features is None:
            return None
        source = self._source(plans) if self.features == "source" else None
        device = resolve_device(self.device)
        return open_space(self.features, source=source, weights=self.feature_weights, device=device)

    def _source(self, plans: list[SamplingPlan]) -> Source | None:
        from antcli.config import ConditionConfig
        from antcli.evaluation.samples import check_run_source
        from antcli.sources.source import find_source

        if plans:
            return check_run_source(plans[0].run)
        if self.source is None:
            return None
        return find_source(self.source).asked(ConditionConfig())

    def _trunk(self) -> LpipsFeatures | None:
        from antcli.evaluation.lpips import load_lpips
        from antcli.training.devices import resolve_device

        if self.net is None:
            return None
        return load_lpips(self.net, self.trunk_weights).to(resolve_device(self.device))

    def _statistics(self, images: ImageFiles | None, space: FeatureSpace) -> Statistics:
        """Of the images of the reference; read from their file where that was given."""
        from antcli.evaluation.reference import Statistics, statistics_file

        if images is None:
            assert self.reference is not None
            return Statistics.load(self.reference, space.label)
        found = _statistics(images, space)
        kept = statistics_file(found.space, found.images_sha256)
        if self.reference is not None and kept.exists():
            say(f"the same reference as one file, without the images: --reference {kept}")
        return found


class _Reporter:
    """Draws a bar for whatever pass over the images is under way."""

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = Bar().__enter__()
        self._bar.update(what, done, total)
        if done >= total:
            self._bar.__exit__(None, None, None)
            self._bar = None


def drawn(plan: SamplingPlan, device: str) -> ImageFiles:
    """The images of a plan; those that are missing are drawn, with a bar."""
    from antcli.evaluation.samples import draw_samples
    from antcli.images.folder import ImageFiles
    from antcli.training.devices import make_accelerator

    what = "sampling" if plan.adapted else "sampling the source"
    with Bar() as bar:
        for done in draw_samples(plan, make_accelerator(device, "no")):
            bar.update(what, done, len(plan.seeds))
    return ImageFiles(tuple(plan.paths))


def _statistics(images: ImageFiles, space: FeatureSpace) -> Statistics:
    from antcli.evaluation.reference import reference_statistics

    done = 0
    with Bar() as bar:

        def advance(batch: int) -> None:
            nonlocal done
            done += batch
            bar.update("encoding the reference", done, len(images))

        return reference_statistics(images, space, advance=advance)
