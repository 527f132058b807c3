"""The feature spaces in which sets of images are compared, behind one interface.

Numbers of different spaces cannot be compared; the label of a space names which one it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from antcli.errors import AntError
from antcli.evaluation.features.fidelity import open_dinov2, open_inception
from antcli.evaluation.features.source import SourceSpace
from antcli.evaluation.features.space import FeatureSpace, extract
from antcli.sources.source import Source
from antcli.sources.transfer import Progress, silent

__all__ = ["FeatureSpace", "SpaceName", "extract", "open_space"]

SpaceName = Literal["inception", "dinov2", "source"]


def open_space(
    name: SpaceName,
    *,
    source: Source | None = None,
    weights: Path | None = None,
    device: torch.device | str = "cpu",
    on_progress: Progress = silent,
) -> FeatureSpace:
    """The feature space called `name`, ready on `device`.

    `source` is for the space of that name. `weights` is a local copy of Inception's; without it,
    pretrained networks come from torch's hub folder or are downloaded into it. Raises `AntError`
    with the way out where something is missing, cut short or of another network: open it before
    an hour is spent on what it is to measure.
    """
    if weights is not None and name != "inception":
        raise AntError(
            f"`feature_weights` are for the inception space only, not for {name}",
            "leave them out",
            exit_code=2,
        )
    if name == "inception":
        return open_inception(weights, device, on_progress)
    if name == "dinov2":
        return open_dinov2(device, on_progress)
    if source is None:
        raise AntError(
            "the feature space of a source needs to know the source",
            "name it with `source`",
            exit_code=2,
        )
    return SourceSpace(source, device)
