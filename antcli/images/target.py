"""Reading a target: a folder of images, a folder of folders, or images with a table of numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from antcli.errors import AntError
from antcli.images.conditions import APART, Conditions, Named, Numbered
from antcli.images.folder import TABLE, ImageFolder, check_folder, inner_folders, read_folder

FILE = "file"
"""The column that says which image a row is about."""


def read_target(folder: Path, size: int) -> ImageFolder:
    """The images of a target, as `read_folder` reads them, with their conditions.

    The subfolders of a folder without images of its own are conditions, called by their names; a
    table `conditions.csv` beside images has numbers for each. Raises `AntError` where a condition
    has no images, where the folder is both or where the table does not fit the images.
    """
    inner = _conditions_in(folder)
    if not inner:
        read = read_folder(folder, size)
        return replace(read, conditions=_table_of(folder, read.paths))
    parts = [read_folder(one, size) for one in inner]
    return ImageFolder(
        folder=folder,
        images=torch.cat([part.images for part in parts]),
        paths=tuple(path for part in parts for path in part.paths),
        hashes=tuple(each for part in parts for each in part.hashes),
        passed_over=sum(part.passed_over for part in parts),
        notes=tuple(f"{part.folder.name}: {note}" for part in parts for note in part.notes),
        conditions=_named(inner, [len(part.paths) for part in parts]),
    )


def check_target(folder: Path) -> tuple[tuple[Path, ...], Conditions | None]:
    """The images of a target and their conditions; of the images only the headers are looked at."""
    inner = _conditions_in(folder)
    if not inner:
        paths = check_folder(folder)
        return paths, _table_of(folder, paths)
    each = [check_folder(one) for one in inner]
    return tuple(path for paths in each for path in paths), _named(inner, list(map(len, each)))


def _conditions_in(folder: Path) -> list[Path]:
    """The folders of a target's conditions; none where it has images of its own, or only one."""
    loose, inner = inner_folders(folder)
    full = [one for one, images in inner.items() if images]
    if not full:
        return []
    if loose:
        raise AntError(
            f"{folder} has images of its own, and others in {full[0].name}",
            "put every image into the folder of its condition, or give a folder without folders",
            exit_code=2,
        )
    if len(inner) == 1:
        return []  # `read_folder` says which folder to give
    empty = [one for one in inner if one not in full]
    if empty:
        raise AntError(
            f"condition {empty[0].name} has no images: {empty[0]}",
            "put some into it, or remove it",
            exit_code=2,
        )
    if (folder / TABLE).exists():
        raise AntError(
            f"{folder} has a {TABLE} and a folder for each condition",
            f"keep one of them; {TABLE} is about images that lie beside it",
            exit_code=2,
        )
    for one in full:
        _check_name(one.name, one)
    return full


def _named(folders: Sequence[Path], counts: Sequence[int]) -> Named:
    which = [place for place, count in enumerate(counts) for _ in range(count)]
    return Named(tuple(folder.name for folder in folders), tuple(which))


def _check_name(name: str, where: Path) -> None:
    if not name or name != name.strip() or any(mark in name for mark in APART):
        raise AntError(
            f"{name!r} is no name for a condition: {where}",
            "rename it: no commas, no equals signs, no #, no spaces at the ends",
            exit_code=2,
        )


def _table_of(folder: Path, paths: Sequence[Path]) -> Numbered | None:
    """The numbers of `conditions.csv` for the images of a folder, in their order."""
    table = folder / TABLE
    if not table.exists():
        return None
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, skipinitialspace=True)
            rows, columns = list(reader), [*(reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AntError(
            f"cannot read {table}: {error}", "write it as UTF-8, separated by commas", exit_code=2
        ) from error
    if FILE not in columns or len(columns) < 2:
        raise AntError(
            f"the first line of {table} is {','.join(columns) or 'empty'}",
            f"it names the columns: {FILE}, and at least one of numbers, as in {FILE},age",
            exit_code=2,
        )
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise AntError(
            f"the first line of {table} names {twice} twice", "give each column a name", exit_code=2
        )
    columns.remove(FILE)
    for column in columns:
        _check_name(column, table)
    found = Numbered(tuple(columns), _numbers(table, rows, columns, [path.name for path in paths]))
    for column, seen in zip(columns, zip(*found.rows, strict=True), strict=True):
        if len(set(seen)) < 2:
            raise AntError(
                f"all images have {column} {seen[0]:g} in {table}",
                "remove the column: from one number nothing is learnt of others",
                exit_code=2,
            )
    return found


def _numbers(
    table: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str], files: Sequence[str]
) -> tuple[tuple[float, ...], ...]:
    """Of each file the numbers of its row."""
    by_file: dict[str, tuple[float, ...]] = {}
    for row in rows:
        file = row[FILE]
        if file not in files or file in by_file:
            why = "twice" if file in by_file else "but there is no such image"
            raise AntError(
                f"{table} lists {file} {why}",
                "correct the table: a row for each image",
                exit_code=2,
            )
        if None in row:
            raise AntError(
                f"{table} has more columns for {file} than its first line names",
                "write numbers with a decimal point, and text with commas in quotes",
                exit_code=2,
            )
        try:
            by_file[file] = tuple(_number(row[column]) for column in columns)
        except (TypeError, ValueError):
            raise AntError(
                f"{table} has something other than numbers for {file}",
                f"give a number for each of {', '.join(columns)}; names are folders instead",
                exit_code=2,
            ) from None
    missing = [file for file in files if file not in by_file]
    if missing:
        raise AntError(
            f"{table} lacks {missing[0]}"
            + (f" and {len(missing) - 1} more images" if len(missing) > 1 else ""),
            "add a row for each image, or remove the image",
            exit_code=2,
        )
    return tuple(by_file[file] for file in files)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
