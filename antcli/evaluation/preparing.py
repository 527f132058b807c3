"""From settings to rows of images and the tools to measure them.

All that can be wrong is found before the first image is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from antcli.config import ConditionConfig
from antcli.devices import shared_work
from antcli.errors import AntError
from antcli.evaluation.checks import REFERENCE, TARGET, check_enough
from antcli.evaluation.features import FeatureSpace, SpaceName, open_space
from antcli.evaluation.intra_lpips import Protocol
from antcli.evaluation.listener import Listener
from antcli.evaluation.lpips import Net, load_lpips
from antcli.evaluation.manifold import NEIGHBOUR
from antcli.evaluation.measuring import IN_SPACE, METRICS, Metric, Row, Tools
from antcli.evaluation.own_target import holds_own, own_target
from antcli.evaluation.reference import Statistics, statistics_file, statistics_of
from antcli.evaluation.samples import SamplingPlan, drawn_images
from antcli.images.folder import ImageFiles, check_folder
from antcli.images.target import check_target
from antcli.processes import Shares
from antcli.runs.adapted import check_run_source, conditions_of
from antcli.runs.run import Run
from antcli.sources.source import Source, find_source

ADAPTED, UNADAPTED = "adapted", "source, not adapted"
STATISTICS = ".safetensors"
LEAST: dict[Metric, int] = {"intra-lpips": 1, "prdc": NEIGHBOUR + 1}
"""Images that a metric needs of the reference or of the target, if not 2."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, and how."""

    metrics: Sequence[Metric] = METRICS
    images: Path | None = None
    """A folder of images to measure instead of a run's samples."""
    target: Path | None = None
    """The folder of the target's images; None: that of the run."""
    reference: Path | None = None
    """What samples should look like, a folder or its statistics; None: the target's images."""
    count: int = 1000
    """Samples of the run."""
    features: SpaceName = "source"
    feature_weights: Path | None = None
    """A local copy of Inception's."""
    source: str | None = None
    """With `images`: whose network the feature space `source` is."""
    net: Net = "vgg"
    """LPIPS's trunk."""
    trunk_weights: Path | None = None
    protocol: Protocol = "cdc"
    copies_by: Literal["lpips", "features"] = "lpips"
    """What tells how near a sample is to a target image."""
    pairs: Path | None = None
    """The page of the samples nearest to a target image; None: in the run, if there is one."""
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Paths may be strings. Raises `AntError` for what no machine could measure."""
        for name in ("images", "target", "reference", "feature_weights", "trunk_weights", "pairs"):
            if isinstance(path := getattr(self, name), str):
                object.__setattr__(self, name, Path(path))
        unknown = set(self.metrics) - set(METRICS)
        if unknown or not self.metrics:
            told = f"unknown metrics: {', '.join(sorted(unknown))}" if unknown else "no metric"
            raise AntError(told, f"choose from {', '.join(METRICS)}", exit_code=2)
        if self.count < 2:
            raise AntError(f"{self.count} samples are too few", "measure 2 or more", exit_code=2)

    @property
    def everything(self) -> bool:
        """Whether all metrics are asked for."""
        return set(self.metrics) == set(METRICS)

    @property
    def needs_target(self) -> bool:
        """Whether a metric compares with the target's images themselves."""
        return not IN_SPACE.issuperset(self.metrics)

    @property
    def needs_trunk(self) -> bool:
        """Whether a metric is in LPIPS."""
        return "intra-lpips" in self.metrics or self._copies_by("lpips")

    @property
    def needs_space(self) -> bool:
        """Whether a metric is in the feature space."""
        return not IN_SPACE.isdisjoint(self.metrics) or self._copies_by("features")

    @property
    def least(self) -> int:
        """Images that are needed of reference and target; of several, one can be left out."""
        return LEAST.get(self.metrics[0], 2) if len(self.metrics) == 1 else 2

    def _copies_by(self, way: str) -> bool:
        return "memorization" in self.metrics and self.copies_by == way


def prepare(
    run: Run | None, settings: EvaluationSettings, listener: Listener
) -> tuple[list[Row], Tools]:
    """Check everything, draw what samples of `run` are missing, open what measures them.

    Without a run, the images are those that the settings name.
    """
    given, source = _given(run, settings), _source(run, settings)
    target = _target(run, settings)
    reference = _reference_images(target, settings)
    shares, device = shared_work(settings.device)
    space, trunk, statistics = None, None, None
    if settings.needs_space:
        weights = settings.feature_weights
        space = open_space(
            settings.features,
            source=source,
            weights=weights,
            device=device,
            on_progress=listener.downloaded,
        )
    if settings.needs_trunk:
        trunk = load_lpips(settings.net, settings.trunk_weights, listener.downloaded).to(device)
    if space is not None:
        statistics = _statistics(reference, space, settings, listener, shares)
        check_enough(statistics.count, REFERENCE, settings.least)
    rows = given if run is None else _drawn(run, settings, listener)
    how = settings.protocol, settings.seed, listener, shares
    return rows, Tools(target, space, statistics, trunk, *how)


def by_condition(
    run: Run, settings: EvaluationSettings, rows: Sequence[Row], tools: Tools
) -> Iterator[tuple[str, list[Row], Tools]]:
    """The same rows and tools for each condition of a run by itself: its samples, its images.

    Nothing where samples are to be compared with other images than the run's own.
    """
    known, named = conditions_of(run), settings.target
    if known is None or settings.reference is not None:
        return
    if named is not None and not holds_own(run, named):  # those of the run are checked already
        return
    targets = [known.near(condition) for condition in known.of_images]
    samples = [known.near(known.of_seed(seed)) for seed in range(settings.count)]
    for name in known.shown:
        of = _those(tools.target, targets, name)
        drawn = [Row(row.name, _those(row.images, samples, name)) for row in rows]
        fewest = min(len(of), len(drawn[0].images))
        if fewest < 2:
            tools.listener.note(f"left out: {name} by itself: {fewest} images are too few")
            continue
        space = tools.space
        statistics = None if space is None else statistics_of(of, space, shares=tools.shares)
        yield name, drawn, replace(tools, target=of, reference=statistics)


def _those(images: ImageFiles, conditions: Sequence[str], name: str) -> ImageFiles:
    """The images of one condition, by the condition of each."""
    each = zip(images.paths, conditions, strict=True)
    return ImageFiles(tuple(path for path, condition in each if condition == name))


def _given(run: Run | None, settings: EvaluationSettings) -> list[Row]:
    if run is not None:
        return []
    assert settings.images is not None
    if settings.target is None and (settings.needs_target or settings.reference is None):
        raise AntError("`images` need `target`", "name the target's folder", exit_code=2)
    name = settings.images.name or str(settings.images)
    return [Row(name, ImageFiles(check_folder(settings.images)))]


def _source(run: Run | None, settings: EvaluationSettings) -> Source | None:
    """Of the run, or the one that is named."""
    if run is not None:
        if settings.source is not None:
            raise AntError(
                "`source` is for a folder of `images`: a run is measured by its own",
                "leave it out",
                exit_code=2,
            )
        return check_run_source(run)
    if settings.source is None or settings.features != "source":
        return None
    return find_source(settings.source).conditioned(ConditionConfig())


def _target(run: Run | None, settings: EvaluationSettings) -> ImageFiles:
    if settings.reference is not None and not settings.needs_target:
        return ImageFiles(())
    folder = settings.target
    if folder is None:
        assert run is not None
        folder = own_target(run)
    target = ImageFiles(check_target(folder)[0])
    check_enough(len(target), TARGET, settings.least)
    for number in range(len(target)):  # damaged ones are found now, not after an hour
        target[number]
    return target


def _reference_images(target: ImageFiles, settings: EvaluationSettings) -> ImageFiles | None:
    """The images of the reference; None where a file of statistics is given."""
    if settings.reference is None:
        return target
    if settings.reference.suffix == STATISTICS:
        return None
    return ImageFiles(check_folder(settings.reference))


def _statistics(
    images: ImageFiles | None,
    space: FeatureSpace,
    settings: EvaluationSettings,
    listener: Listener,
    shares: Shares,
) -> Statistics:
    """Of the images of the reference; read from their file where that was given."""
    if images is None:
        assert settings.reference is not None
        return Statistics.load(settings.reference, space.label)
    advance = listener.batches("encoding the reference", len(images))
    found = statistics_of(images, space, advance=advance, shares=shares)
    kept = statistics_file(found.space, found.images_sha256)
    if settings.reference is not None and kept.exists():
        listener.note(f"the same reference as one file, without the images: `reference` {kept}")
    return found


def _drawn(run: Run, settings: EvaluationSettings, listener: Listener) -> list[Row]:
    plans = {
        ADAPTED: SamplingPlan.first(run, settings.count),
        UNADAPTED: SamplingPlan.first(run, settings.count, adapted=False),
    }
    return [Row(k, drawn_images(plan, settings.device, listener)) for k, plan in plans.items()]
