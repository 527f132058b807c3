"""All metrics of one or several sets of images, each image read and encoded as few times as can be.

A number without a second one beside it means little, so what is measured is always a list of
rows: an adapted model, and its source as it was, which no adaptation has touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from antcli.evaluation.centres import Centres, lpips_to
from antcli.evaluation.checks import GENERATED, TARGET, pairwise_distances
from antcli.evaluation.features.space import FeatureSpace
from antcli.evaluation.frechet import Gaussian, frechet
from antcli.evaluation.intra_lpips import Protocol, intra_lpips
from antcli.evaluation.kernel import kernel_distance
from antcli.evaluation.listener import SILENT, Listener
from antcli.evaluation.lpips import LpipsFeatures
from antcli.evaluation.manifold import prdc
from antcli.evaluation.memorization import memorization
from antcli.evaluation.reference import Statistics, statistics_of
from antcli.images.folder import ImageFiles
from antcli.processes import ALONE, Shares

Metric = Literal["intra-lpips", "fid", "kid", "prdc", "memorization"]
METRICS: tuple[Metric, ...] = ("intra-lpips", "fid", "kid", "prdc", "memorization")
IN_SPACE: frozenset[Metric] = frozenset({"fid", "kid", "prdc"})


@dataclass(frozen=True)
class Row:
    """A set of images to measure."""

    name: str
    images: ImageFiles


@dataclass(frozen=True)
class Tools:
    """What measuring needs, opened once. What is None is not asked for."""

    target: ImageFiles
    space: FeatureSpace | None = None
    reference: Statistics | None = None
    trunk: LpipsFeatures | None = None
    protocol: Protocol = "cdc"
    seed: int = 0
    listener: Listener = SILENT
    shares: Shares = ALONE
    """Of the processes that measure together."""


@dataclass
class _Passes:
    """What the passes over the images of one row leave behind."""

    results: dict[Metric, dict[str, Any]] = field(default_factory=dict)
    features: Tensor | None = None
    to_target: Tensor | None = None


def measure(row: Row, metrics: Sequence[Metric], tools: Tools) -> dict[Metric, dict[str, Any]]:
    """The results of `metrics` for the images of a row, as JSON takes them.

    Memorisation is told by LPIPS where there is a trunk, else in the feature space. Raises
    `AntError` where there are too few images for a metric or a network gives NaN.
    """
    passes = _Passes()
    if "intra-lpips" in metrics:
        _intra_lpips(row, tools, passes)
    if tools.space is not None and (IN_SPACE & set(metrics) or tools.trunk is None):
        heard = _heard(row, "encoding", tools)
        passes.features = _features(row.images, GENERATED, tools, heard)
    for metric, result in _in_space([m for m in metrics if m in IN_SPACE], tools, passes):
        passes.results[metric] = {**result, "metric": metric, **_named(tools)}
    if "memorization" in metrics:
        passes.results["memorization"] = _memorization(row, tools, passes)
    return {metric: passes.results[metric] for metric in metrics}


def _intra_lpips(row: Row, tools: Tools, passes: _Passes) -> None:
    assert tools.trunk is not None
    # CRDI's code hands images over in another range: its distances are no LPIPS to reuse.
    reusable = tools.protocol == "cdc"
    passes.to_target = torch.empty(len(row.images), len(tools.target)) if reusable else None
    found = intra_lpips(
        row.images,
        tools.target,
        [path.name for path in tools.target.paths],
        tools.trunk,
        protocol=tools.protocol,
        seed=tools.seed,
        advance=_heard(row, "LPIPS", tools),
        to_centres=passes.to_target,
        shares=tools.shares,
    )
    passes.results["intra-lpips"] = {**found.as_dict(), "space": tools.trunk.label}


def _in_space(
    metrics: Sequence[Metric], tools: Tools, passes: _Passes
) -> Iterator[tuple[Metric, dict[str, Any]]]:
    if not metrics:
        return
    assert tools.reference is not None and passes.features is not None
    real, fake = tools.reference, passes.features
    for metric in metrics:
        if metric == "fid":
            yield metric, frechet(real.gaussian, Gaussian.fit(fake, GENERATED)).as_dict()
        elif metric == "kid":
            yield metric, kernel_distance(real.features, fake, seed=tools.seed).as_dict()
        else:
            yield metric, prdc(real.features, fake).as_dict()


def _memorization(row: Row, tools: Tools, passes: _Passes) -> dict[str, Any]:
    if tools.trunk is not None:
        centres = Centres(tools.target, tools.trunk)
        to_target = passes.to_target
        if to_target is None:
            advance = _heard(row, "LPIPS", tools)
            shares = tools.shares
            to_target = lpips_to(row.images, centres, tools.trunk, advance=advance, shares=shares)
        found = memorization(to_target, centres.apart)
        return {**found.as_dict(), "space": tools.trunk.label}
    assert tools.space is not None and passes.features is not None
    samples = passes.features.cpu().double()
    target = _features(tools.target, TARGET, tools).cpu().double()
    found = memorization(pairwise_distances(samples, target), pairwise_distances(target, target))
    return {**found.as_dict(), "space": tools.space.label}


def _features(
    images: ImageFiles,
    what: str,
    tools: Tools,
    advance: Callable[[int], object] = lambda done: None,
) -> Tensor:
    """[N, D] on the CPU; computed once, however many metrics ask, today or another day."""
    assert tools.space is not None
    found = statistics_of(
        images, tools.space, what=what, least=1, advance=advance, shares=tools.shares
    )
    return found.features


def _named(tools: Tools) -> dict[str, Any]:
    assert tools.space is not None and tools.reference is not None
    return {"space": tools.space.label, "reference_sha256": tools.reference.images_sha256}


def _heard(row: Row, what: str, tools: Tools) -> Callable[[int], None]:
    return tools.listener.batches(f"{what}: {row.name}", len(row.images))
