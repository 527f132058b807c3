"""The runs that a command means: the one that it names, or the latest."""

from __future__ import annotations

import os
from pathlib import Path

from antcli.errors import AntError
from antcli.runs.run import Run


def remember_latest(run: Run) -> None:
    """Make `run` the one that a command without RUN means."""
    pointer = _latest_pointer()
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(str(run.folder.resolve()), encoding="utf-8")
    except OSError:
        # A home that cannot be written to costs the shortcut, not the run.
        return


def find_run(folder: Path | None, *, whole: bool = True) -> Run:
    """The run in `folder`, or the latest one. Raises `AntError` where it is not finished.

    Without its weights it is not `whole`, and found only where that may be.
    """
    if folder is None:
        try:
            folder = Path(_latest_pointer().read_text(encoding="utf-8"))
        except OSError as error:
            raise AntError(
                "there is no run yet",
                "`ant adapt --source avatars --target FOLDER` makes one",
                exit_code=2,
            ) from error
    if not folder.is_dir():
        raise AntError(f"there is no run in {folder}", "`ant adapt --out RUN` makes one")
    run = Run(folder)
    if not run.finished:
        facts = run.facts()
        command, made = (
            ("adapt", "config") if "distilled" not in facts else ("distill", "distilled")
        )
        step, steps = facts["step"], facts[made]["training"]["steps"]
        raise AntError(
            f"the run in {folder} is not finished ({step} of {steps} steps)",
            f"type its `ant {command}` command again: it goes on where it stopped",
        )
    if whole and not run.weights.exists():
        raise AntError(f"the run in {folder} has lost its weights, {run.weights.name}", run.mending)
    return run


def _latest_pointer() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "ant" / "latest"
