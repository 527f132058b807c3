import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antcli.errors import AntError
from antcli.sources.catalog import Entry
from antcli.sources.fetch import fetch_file, file_on_disk
from antcli.sources.storage import downloads_folder
from antcli.sources.to_diffusers import unpack
from antcli.sources.transfer import Downloaded

BODY = bytes(range(256)) * 40  # of the files that `entries` leads to

# --- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["by-hub", "by-address", "by-zip", "judge", "known"])
def test_a_file_is_got_once(online: Any, entries: dict[str, Entry], name: str) -> None:
    told: list[Downloaded] = []
    file = fetch_file(entries[name], told.append)
    expected = online.files["/faces.zip"] if name == "by-zip" else BODY
    assert file.read_bytes() == expected
    assert told[-1].done == told[-1].total
    assert [path.name for path in downloads_folder().iterdir() if path.name[0] != "."] == [
        file.name
    ]
    online.asked.clear()
    assert fetch_file(entries[name]) == file
    assert online.asked == []


def test_a_file_of_the_hub_is_checked_by_what_the_hub_says(
    online: Any, entries: dict[str, Entry]
) -> None:
    online.corrupt = True
    with pytest.raises(AntError, match=hashlib.sha256(BODY).hexdigest()):
        fetch_file(entries["by-hub"])


def test_a_file_in_the_hubs_own_cache_is_taken_from_there(
    online: Any, entries: dict[str, Entry]
) -> None:
    from huggingface_hub import hf_hub_download

    there = hf_hub_download("some/files", "weights.pt")
    assert fetch_file(entries["by-hub"]) == Path(there)


def test_a_file_is_whole_or_not_there(online: Any, entries: dict[str, Entry]) -> None:
    """Cut for good, then wrong, then right: only the last is ever found."""
    entry = entries["by-address"]
    entry = replace(entry, sha256=hashlib.sha256(BODY).hexdigest())
    online.cuts = [3000, 0, 0, 0]
    with pytest.raises(AntError, match="cut after"):
        fetch_file(entry)
    assert file_on_disk(entry) is None
    online.corrupt = True
    with pytest.raises(AntError, match="not the file that is known"):
        fetch_file(entry)
    assert file_on_disk(entry) is None
    online.corrupt = False
    assert fetch_file(entry).read_bytes() == BODY == file_on_disk(entry).read_bytes()


@pytest.mark.parametrize("name", ["by-hub", "by-address", "by-zip", "judge"])
def test_offline(offline: Any, entries: dict[str, Entry], name: str) -> None:
    with pytest.raises(AntError, match="HF_HUB_OFFLINE forbids the network"):
        fetch_file(entries[name])
    assert offline.asked == []


# --- zips ----------------------------------------------------------------------------------


def packed(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path


def test_only_the_member_is_unpacked_and_only_there(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", {"../../model.ckpt": BODY, "../evil": b"", "x.yaml": b""})
    (tmp_path / "in").mkdir()
    unpack(archive, "model.ckpt", tmp_path / "in" / "it.ckpt")
    assert (tmp_path / "in" / "it.ckpt").read_bytes() == BODY
    assert {p.name for p in tmp_path.rglob("*")} == {"a.zip", "in", "it.ckpt"}


@pytest.mark.parametrize("members", [{}, {"a/model.ckpt": b"", "b/model.ckpt": b""}])
def test_a_zip_without_the_one_member(tmp_path: Path, members: dict[str, bytes]) -> None:
    archive = packed(tmp_path / "a.zip", members)
    with pytest.raises(AntError, match=f"has {len(members)} files model.ckpt, not one"):
        unpack(archive, "model.ckpt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_that_would_fill_the_disk_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path / "a.zip", {"model.ckpt": bytes(10**6)})
    assert archive.stat().st_size < 2000
    usage = shutil.disk_usage(tmp_path)._replace(free=10**5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(AntError, match="1 MB are to come"):
        unpack(archive, "model.ckpt", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip"}


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
def test_a_damaged_zip_leaves_nothing(tmp_path: Path, place: float) -> None:
    archive = packed(tmp_path / "a.zip", {"model.ckpt": BODY})
    body = bytearray(archive.read_bytes())
    at = int(place * len(body))
    body[at : at + 4] = bytes(~byte & 255 for byte in body[at : at + 4])
    archive.write_bytes(body)
    with pytest.raises(AntError, match=r"is no whole zip file|files model\.ckpt"):
        unpack(archive, "model.ckpt", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip"}
