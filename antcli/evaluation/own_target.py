"""The images that a run was adapted to, as long as they are what they were."""

from __future__ import annotations

from pathlib import Path

from antcli.artifacts import file_hash
from antcli.errors import AntError
from antcli.images.target import check_target
from antcli.runs.run import Run


def own_target(run: Run, named: Path | None = None) -> Path:
    """The folder of the images that a run was adapted to, or the one that is `named` instead.

    Raises `AntError` where none is named and those of the run are gone, or are others by now:
    numbers against other images would look like numbers of the run.
    """
    if named is not None:
        return named
    folder = Path(run.facts()["target_folder"])
    if not folder.is_dir():
        raise AntError(
            f"the images that {run.folder} was adapted to are not in {folder} any more",
            "name the folder where they are, or others to compare with, as `target`",
        )
    if not holds_own(run, folder):
        raise AntError(
            f"{folder} holds other images by now than {run.folder} was adapted to",
            "put those back, or name the folder to compare with as `target`: it may be this one",
        )
    return folder


def holds_own(run: Run, folder: Path) -> bool:
    """Whether a folder holds the very images of a run, under the same conditions.

    Raises `AntError` as `check_target`.
    """
    facts = run.facts()
    paths, conditions = check_target(folder)
    same = sorted(map(file_hash, paths)) == sorted(facts["target_sha256"])
    return same and (conditions and conditions.as_dict()) == facts.get("conditions")
