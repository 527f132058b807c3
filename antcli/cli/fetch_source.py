"""`ant fetch-source`: what sources there are, and getting one."""

from __future__ import annotations

from typing import Annotated

import typer

from antcli.cli.console import json_result, result, say
from antcli.cli.options import JsonOption


def fetch_source_command(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[NAME_OR_PATH_OR_HUB_ID]", help="Without it, list what is known."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Get and check a pretrained source; without a name, list the known ones.

    Prints the folder where the source is.
    """
    if source is None:
        _list_sources(as_json)
        return
    from antcli.sources.catalog import catalog
    from antcli.sources.source import find_source

    found = find_source(source)
    entry = catalog().get(source)
    facts = {
        "name": source,
        "folder": str(found.folder.resolve()),
        "resolution": found.size,
        "kind": "pixels",
        "licence": entry.licence if entry else "as its author states",
        "sha256": found.sha256,
    }
    if as_json:
        json_result(facts)
        return
    say(f"{source}: {found.size}x{found.size} pixels, licence: {facts['licence']}")
    result(str(facts["folder"]))
    say(f"next: ant adapt --source {source} --target FOLDER")


def _list_sources(as_json: bool) -> None:
    from antcli.sources.catalog import catalog

    entries = [entry.as_dict() for entry in catalog().values()]
    if as_json:
        json_result({"sources": entries})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "resolution", "kind", "licence", "on disk", "about", box=None)
    for entry in entries:
        there = "yes" if entry["on_disk"] else "no"
        size = f"{entry['resolution']}x{entry['resolution']}"
        row = (entry["name"], size, entry["kind"], entry["licence"], there, entry["about"])
        table.add_row(*map(str, row))
    Console(width=120).print(table)
    say("a diffusers folder or a hub id works wherever a name does")
