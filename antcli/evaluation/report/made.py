"""What was adapted from what: the settings, the target's images, samples beside the source's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from antcli.artifacts import file_hash
from antcli.config import AdaptConfig, differences, to_toml
from antcli.errors import AntError
from antcli.evaluation.report.page import code, facts, figure, folded, gallery, paragraph
from antcli.evaluation.report.pictures import square
from antcli.images.folder import check_folder
from antcli.runs import Run

MOST_TARGETS = 12
"""Target images that are shown: a few-shot target has no more."""


def title_of(run: Run) -> str:
    """Names the run by what was adapted from what."""
    config = run.config()
    target, source = Path(run.facts()["target_folder"]).name, Path(config.source).name
    return f"{target} from {source} by {config.method}"


def settings_section(run: Run) -> str:
    """Source, target, method, steps; the settings that differ from the defaults; all of them."""
    found, config = run.facts(), run.config()
    done = f"{run.taken_step} taken, of {found['step']} done"
    why = f" ({found['why']})" if "why" in found else ""
    names = [
        ("Source", f"{config.source}, sha256:{found['source_sha256']}"),
        ("Target", f"{found['target_folder']}, {len(found['target_sha256'])} images"),
        ("Method", config.method),
        ("Seed", str(config.seed)),
        ("Steps", done + why),
        ("Other than the defaults", "; ".join(_changed(config)) or "nothing"),
        ("Run", str(run.folder.resolve())),
        ("Weights", f"sha256:{run.weights_sha256}"),
        ("Made by", f"ant {found['version']}"),
    ]
    return facts(names) + folded("All settings, as --config takes them", code(to_toml(config)))


def target_paths(run: Run) -> tuple[Path, ...] | None:
    """The images that the run was adapted to; None if they are gone or others by now."""
    found = run.facts()
    try:
        paths = check_folder(Path(found["target_folder"]))
        hashes = [file_hash(path) for path in paths]
    except (AntError, OSError):
        return None
    return paths if hashes == found["target_sha256"] else None


def target_section(run: Run) -> str:
    """The target's images."""
    paths = target_paths(run)
    if paths is None:
        folder = run.facts()["target_folder"]
        return paragraph(f"The images in {folder} are gone, or have changed since the run.", "gone")
    more = len(paths) - MOST_TARGETS
    rest = paragraph(f"{more} more are not shown.") if more > 0 else ""
    return gallery((figure(square(p), p.name) for p in paths[:MOST_TARGETS]), "single") + rest


def samples_section(pairs: Sequence[tuple[Path, Path]]) -> str:
    """`pairs` are the images of the source and of the adapted model from the same noise."""
    told = paragraph(
        "Both images of a pair begin with the same noise: on the left what the source made of it, "
        "on the right what the adapted model does. They are the first seeds, not chosen ones."
    )
    figures = (
        figure(square(source) + square(adapted), f"seed {int(adapted.stem)}")
        for source, adapted in pairs
    )
    return told + gallery(figures, "pairs")


def _changed(config: AdaptConfig) -> list[str]:
    """What `ant adapt` would do otherwise if it were given source and target alone."""
    plain = asdict(AdaptConfig(config.source, config.target))
    return differences(plain, asdict(config))
