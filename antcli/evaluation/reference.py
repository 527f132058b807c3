"""Statistics of a set of images in one feature space: a file, and a cache of such files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from antcli import __version__
from antcli.artifacts import file_hash, load_metadata, load_tensors, save_tensors
from antcli.errors import AntError
from antcli.evaluation.checks import REFERENCE, checked
from antcli.evaluation.features.space import BATCH, FeatureSpace, extract
from antcli.evaluation.frechet import Gaussian
from antcli.images.folder import ImageFiles
from antcli.processes import ALONE, Shares

KIND = "statistics"
NEEDED = {"ant.space", "ant.images_sha256", "ant.features_sha256"}
"""What a file of statistics says of itself beside its kind."""


@dataclass(frozen=True)
class Statistics:
    """Images as a feature space sees them."""

    space: str
    """Label of the feature space."""
    features: Tensor
    """[N, D], float32, a row for each image."""
    images_sha256: str
    """Of the images' files, all of them in their order."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.features)

    @cached_property
    def gaussian(self) -> Gaussian:
        """Mean [D] and covariance [D, D], float64. Fitted anew: that is quicker than it looks."""
        return Gaussian.fit(self.features, REFERENCE)

    def save(self, path: Path) -> None:
        """Write a safetensors file. Raises `AntError` where that fails."""
        metadata = {
            "ant.kind": KIND,
            "ant.version": __version__,
            "ant.space": self.space,
            "ant.images_sha256": self.images_sha256,
            "ant.features_sha256": _bytes_hash(self.features),
        }
        save_tensors(path, {"features": self.features}, metadata)

    @classmethod
    def load(cls, path: Path, space: str) -> Statistics:
        """Read what `save` wrote, of the feature space labelled `space`.

        Raises `AntError` for a file that is cut short, damaged or of another kind, for another
        feature space, and for NaN or infinity.
        """
        metadata = load_metadata(path)
        if metadata.get("ant.kind") != KIND or not metadata.keys() >= NEEDED:
            raise AntError(
                f"{path} holds no statistics of images", "give one, or a folder of images"
            )
        if metadata["ant.space"] != space:
            raise AntError(
                f"{path} is of the feature space {metadata['ant.space']}, not of {space}",
                "choose its space with `features`, or give the folder of the images instead",
            )
        features = load_tensors(path).get("features")
        if features is None or _bytes_hash(features) != metadata["ant.features_sha256"]:
            raise AntError(f"{path} is damaged", "write it again, or give the folder instead")
        if not features.isfinite().all():
            raise AntError(
                f"{path} holds NaN or infinity", "write it again, or give the folder instead"
            )
        return cls(space, features, metadata["ant.images_sha256"])


def statistics_of(
    images: ImageFiles,
    space: FeatureSpace,
    *,
    what: str = REFERENCE,
    least: int = 2,
    cache: Path | None = None,
    batch_size: int = BATCH,
    advance: Callable[[int], object] = lambda done: None,
    shares: Shares = ALONE,
) -> Statistics:
    """Statistics of `images` in `space`, from the cache where they have been computed before.

    They are kept by the content of the image files and the label of the space. Several processes
    divide what has to be computed. `what` names the images in messages. `advance` is called with
    the size of each batch that has to be computed. Raises `AntError` for fewer than `least`
    images, for images that cannot be read, and where the network gives NaN or infinity.
    """
    images_sha256 = _content_hash(images.paths)
    file = statistics_file(space.label, images_sha256, cache)
    kept = _kept(file, space.label)
    if not shares.any(kept is None) and kept is not None:
        return kept
    features = extract(space, images, batch_size=batch_size, advance=advance, shares=shares)
    checked(features, what, least)
    found = Statistics(space.label, features, images_sha256)
    with suppress(AntError):  # a cache that cannot be written costs time, not the result
        found.save(file)
    return found


def _kept(file: Path, space: str) -> Statistics | None:
    """From the cache; None where they are not there yet, or damaged."""
    try:
        return Statistics.load(file, space)
    except AntError:
        return None


def statistics_file(space: str, images_sha256: str, cache: Path | None = None) -> Path:
    """Where `statistics_of` keeps what it finds, a file that `Statistics.load` reads."""
    key = hashlib.sha256("\n".join([__version__, space, images_sha256]).encode()).hexdigest()
    return (cache_folder() if cache is None else cache) / f"{key[:32]}.safetensors"


def cache_folder() -> Path:
    """Where `statistics_of` keeps its files, unless told otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ant" / "statistics"


def _content_hash(paths: Sequence[Path]) -> str:
    return hashlib.sha256("".join(map(file_hash, paths)).encode()).hexdigest()


def _bytes_hash(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
