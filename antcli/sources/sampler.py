"""How samples of a source, and of what is adapted from it, are drawn where nothing is said."""

from __future__ import annotations

from antcli.diffusion.sampler import Sampler
from antcli.sources.catalog import catalog


def usual_sampler(source: str) -> Sampler:
    """As many steps as the source of that name takes; `Sampler`'s own of one that is not known."""
    entry = catalog().get(source)
    return Sampler() if entry is None or entry.steps is None else Sampler(steps=entry.steps)
