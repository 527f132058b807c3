"""`ant fetch-source`: what sources there are, getting one, converting one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from antcli.cli.console import json_result, result, say
from antcli.cli.options import JsonOption, naming_options
from antcli.cli.progress import fetching
from antcli.errors import AntError, quoted

if TYPE_CHECKING:
    from antcli.sources.catalog import Entry


@naming_options
def fetch_source_command(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[NAME_OR_PATH_OR_HUB_ID]", help="Without it, list what is known."),
    ] = None,
    format: Annotated[
        Literal["adm", "pesser", "ldm", "diffusers"] | None,
        typer.Option(help="Of the file at PATH, which is then converted."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The known source whose architecture that file has."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What it was trained with and its weights do not tell, in the names of its code, "
            "e.g. num_heads=4. Again for each.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where its diffusers folder goes.", show_default="the cache"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Get and check a pretrained source; without a name, list the known ones.

    What has another format is converted to a diffusers folder. Prints that folder.

    Example: `ant fetch-source ffhq`, or `ant fetch-source my_ffhq.pt --format adm`
    """
    converts = format is not None or like is not None
    if out is not None and not converts:
        raise typer.BadParameter("--out is for a file that is converted: say its --format too")
    if option and not converts:
        raise typer.BadParameter("--option is for a file that is converted: say its --format too")
    if source is None and converts:
        raise typer.BadParameter("give the path of the file to convert")
    if source is None:
        _list_sources(as_json)
    elif converts:
        _convert(Path(source), format, like, option or [], out, as_json)
    else:
        _fetch(source, as_json)


def have_source(source: str, target: Path) -> None:
    """Show a source coming that another command needs; a bad `target` is told before that."""
    from antcli.images.target import check_target
    from antcli.sources.fetch import is_here, locate

    if is_here(source):
        return
    check_target(target)
    with fetching() as show:
        locate(source, show)


def _fetch(source: str, as_json: bool) -> None:
    from antcli.sources.catalog import catalog
    from antcli.sources.fetch import fetch_file, locate

    _check_no_file(source)
    entry = catalog().get(source)
    with fetching() as show:
        if entry is not None and entry.kind == "classifier":
            _show_classifier(entry, fetch_file(entry, show), as_json)
            return
        locate(source, show)
    _show_source(source, entry, as_json)


def _check_no_file(source: str) -> None:
    if Path(source).is_file():
        raise AntError(
            f"{source} is a file of some format",
            f"say which: `ant fetch-source {quoted(source)} --format adm` (guided-diffusion, P2, "
            "ddpm-segmentation), pesser (Ho's DDPM) or ldm (latent diffusion)",
        )


def _convert(
    path: Path,
    format: Literal["adm", "pesser", "ldm", "diffusers"] | None,
    like: str | None,
    typed: list[str],
    out: Path | None,
    as_json: bool,
) -> None:
    from antcli.sources.options import parse_options
    from antcli.sources.to_diffusers import convert_file

    options = parse_options(typed)
    with fetching() as show:
        folder = convert_file(path, format, like=like, options=options, out=out, on_progress=show)
    _show_source(str(folder), None, as_json)


def _show_source(source: str, entry: Entry | None, as_json: bool) -> None:
    from antcli.sources.source import find_source

    found = find_source(source)
    facts = {
        "name": source,
        "folder": str(found.folder.resolve()),
        "resolution": entry.resolution if entry else found.size,
        "kind": "latents" if found.latent else "pixels",
        **_terms(entry),
        "sha256": found.sha256,
    }
    following = f"ant adapt --source {quoted(source)} --target FOLDER"
    what = f"{facts['resolution']}x{facts['resolution']} {facts['kind']}"
    _show(facts, what, str(facts["folder"]), following, as_json)


def _show_classifier(entry: Entry, file: Path, as_json: bool) -> None:
    facts = {
        "name": entry.name,
        "file": str(file.resolve()),
        "resolution": entry.resolution,
        "kind": entry.kind,
        **_terms(entry),
    }
    following = f"ant train-classifier --init {entry.name} --source NAME --target FOLDER"
    what = f"{entry.about}, {entry.resolution}x{entry.resolution}"
    _show(facts, what, str(facts["file"]), following, as_json)


def _terms(entry: Entry | None) -> dict[str, str]:
    if entry is None:
        return {"licence": "as its author states", "forbids": ""}
    return {"licence": entry.licence, "forbids": entry.forbids}


def _show(facts: dict[str, Any], what: str, place: str, following: str, as_json: bool) -> None:
    """What is on disk now, as JSON or for a person; `following` is the command to type next."""
    if as_json:
        json_result(facts)
        return
    say(f"{facts['name']}: {what}")
    forbidden = f"; not allowed: {facts['forbids']}" if facts["forbids"] else ""
    say(f"licence: {facts['licence']}{forbidden}")
    result(place)
    say(f"next: {following}")


def _list_sources(as_json: bool) -> None:
    from antcli.sources.catalog import catalog
    from antcli.sources.fetch import on_disk

    entries = [{**entry.as_dict(), "on_disk": on_disk(entry)} for entry in catalog().values()]
    if as_json:
        json_result({"sources": entries})
        return
    from rich.console import Console
    from rich.table import Table

    columns = ("name", "resolution", "kind", "licence", "on disk", "size", "about")
    table = Table(*columns, box=None)
    for entry in entries:
        there = "yes" if entry["on_disk"] else "no"
        side = f"{entry['resolution']}x{entry['resolution']}"
        row = (entry["name"], side, entry["kind"], entry["licence"], there, entry["size"])
        table.add_row(*map(str, row), str(entry["about"]))
    Console(width=140).print(table)
    say("a diffusers folder or a hub id works wherever a name does")
