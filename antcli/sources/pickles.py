"""A diffusers folder whose weights are pickles, once more without them."""

from __future__ import annotations

import shutil
from pathlib import Path

from antcli.artifacts import save_tensors
from antcli.errors import AntError
from antcli.sources.storage import whole_folder
from antcli.weights import read_checkpoint


def without_pickles(folder: Path, out: Path) -> None:
    """Write `folder` to `out`, every `.bin` in it as safetensors: whole or not at all.

    Nothing in a pickle is executed. Raises `AntError` where `folder` is no diffusers folder, a
    pickle is damaged or holds more than tensors, or the disk is full.
    """
    configs = list(folder.glob("**/config.json"))
    if not configs:
        raise AntError(f"{folder} is no diffusers folder", "it needs a config.json")
    with whole_folder(out) as temporary:
        shutil.copytree(folder, temporary, ignore=shutil.ignore_patterns("*.bin", ".*"))
        for config in configs:
            for pickled in config.parent.glob("*.bin"):
                _rewrite(pickled, temporary / pickled.relative_to(folder))


def _rewrite(pickled: Path, copy: Path) -> None:
    safe = copy.with_suffix(".safetensors")
    if safe.exists():
        return
    save_tensors(safe, read_checkpoint(pickled), {})
