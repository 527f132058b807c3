import errno
import hashlib
import io
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antcli.errors import AntError
from antcli.sources import transfer as module
from antcli.sources.transfer import Address, Downloaded, transfer

BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
PATH = "/models/large.pt"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "got" / "large.pt"


@pytest.fixture
def get(online: Any, file: Path) -> Callable[..., Path]:
    """Download the server's file with what is known of it."""
    online.files[PATH] = BODY
    file.parent.mkdir()

    def run(path: str = PATH, **known: Any) -> Path:
        progress = known.pop("on_progress", module.silent)
        transfer(Address(f"{online.endpoint}{path}", **known), file, "large", progress)
        return file

    return run


def seen(folder: Path) -> list[str]:
    """What lies there but for locks."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


# --- whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known",
    [{}, {"size": len(BODY)}, {"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256, "md5": MD5}],
)
def test_a_file_is_got_and_checked(get: Callable, known: dict[str, Any], file: Path) -> None:
    assert get(**known).read_bytes() == BODY
    assert seen(file.parent) == ["large.pt"]


def test_progress_is_told_in_bytes(get: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 4000)
    told: list[Downloaded] = []
    get(on_progress=told.append)
    assert [record.done for record in told] == [4000, 8000, len(BODY)]
    assert {(record.name, record.total) for record in told} == {("large", len(BODY))}


# --- resume --------------------------------------------------------------------------------


def test_a_cut_connection_goes_on_from_there(get: Callable, online: Any) -> None:
    online.cuts = [3000, 100, 2000]
    assert get(sha256=SHA256).read_bytes() == BODY
    assert online.ranges() == ["all", "bytes=3000-", "bytes=3100-", "bytes=5100-"]


def test_a_later_call_goes_on_from_there(get: Callable, online: Any, file: Path) -> None:
    online.cuts = [3000, 0, 0, 0]
    with pytest.raises(AntError, match="cut after 1 MB") as raised:
        get()
    assert "goes on from there" in raised.value.hint
    assert not file.exists()
    online.asked.clear()
    told: list[Downloaded] = []
    assert get(on_progress=told.append).read_bytes() == BODY
    assert online.ranges() == ["bytes=3000-"]
    assert seen(file.parent) == ["large.pt"]


def test_the_rest_of_another_version_is_never_appended(
    get: Callable, online: Any, file: Path
) -> None:
    online.cuts = [3000, 0, 0, 0]
    with pytest.raises(AntError):
        get()
    online.files[PATH] = newer = BODY[::-1]
    online.asked.clear()
    assert get().read_bytes() == newer
    assert online.ranges() == ["bytes=3000-", "all"]


def test_without_version_and_hash_nothing_is_resumed(get: Callable, online: Any) -> None:
    online.versioned = False
    online.cuts = [3000, 0, 0, 0]
    with pytest.raises(AntError):
        get()
    online.asked.clear()
    assert get().read_bytes() == BODY
    assert online.ranges() == ["all"]


def test_with_a_hash_it_is_resumed_without_version(get: Callable, online: Any) -> None:
    online.versioned = False
    online.cuts = [3000]
    assert get(md5=MD5).read_bytes() == BODY
    assert online.ranges() == ["all", "bytes=3000-"]


def test_what_is_longer_than_the_file_is_begun_anew(get: Callable, online: Any, file: Path) -> None:
    file.with_name("large.pt.part").write_bytes(BODY + b"more")
    assert get(sha256=SHA256).read_bytes() == BODY
    assert online.ranges() == [f"bytes={len(BODY) + 4}-", "all"]


def test_all_bytes_that_lacked_only_the_name(get: Callable, online: Any, file: Path) -> None:
    """The process ended between the last byte and the check."""
    file.with_name("large.pt.part").write_bytes(BODY)
    assert get(sha256=SHA256, size=len(BODY)).read_bytes() == BODY
    assert online.ranges() == []


# --- another file than the one known -------------------------------------------------------


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"md5": MD5}])
def test_a_wrong_hash_leaves_nothing(
    get: Callable, online: Any, known: dict[str, Any], file: Path
) -> None:
    online.corrupt = True
    with pytest.raises(AntError, match="not the file that is known") as raised:
        get(**known)
    assert next(iter(known.values())) in raised.value.message
    assert seen(file.parent) == []
    online.corrupt = False
    assert get(**known).read_bytes() == BODY


def test_a_wrong_size_is_seen_before_a_byte_is_kept(get: Callable, file: Path) -> None:
    with pytest.raises(AntError, match=f"{len(BODY)} bytes, not 7"):
        get(size=7)
    assert seen(file.parent) == []


def test_a_web_page_is_no_file(get: Callable, online: Any, file: Path) -> None:
    """What a network that wants a login first answers to everything."""
    online.content_type = "text/html; charset=utf-8"
    with pytest.raises(AntError, match=r"not the file that is known \(a web page\)"):
        get()
    assert seen(file.parent) == []


def test_an_end_that_could_be_a_cut_is_not_believed_without_a_hash(
    get: Callable, online: Any, file: Path
) -> None:
    online.lengths = False
    with pytest.raises(AntError, match="no stated length"):
        get()
    online.cuts = [3000]
    with pytest.raises(AntError, match="not the file that is known"):
        get(sha256=SHA256)
    assert seen(file.parent) == []
    assert get(sha256=SHA256).read_bytes() == BODY


# --- servers and networks ------------------------------------------------------------------


def test_a_file_that_is_gone(get: Callable, online: Any) -> None:
    with pytest.raises(AntError, match=r"is not there any more \(404") as raised:
        get("/models/none.pt")
    assert "--like" in raised.value.hint
    assert len(online.asked) == 1


def test_a_file_that_is_refused(get: Callable, online: Any) -> None:
    online.status = 403
    with pytest.raises(AntError, match=r"refused \(403"):
        get()


def test_an_address_that_expired_meanwhile(get: Callable, online: Any) -> None:
    online.cuts = [3000, 0, 0, 0]
    with pytest.raises(AntError):
        get()
    online.status = 403
    with pytest.raises(AntError, match="cut after 1 MB: the server answers 403") as raised:
        get()
    assert "same command" in raised.value.hint
    online.status = 0
    assert get().read_bytes() == BODY
    assert online.ranges()[-1] == "bytes=3000-"


def test_a_server_in_trouble_is_asked_again(get: Callable, online: Any) -> None:
    online.status = 503
    with pytest.raises(AntError, match=r"cannot reach 127\.0\.0\.1.* answers 503"):
        get()
    assert len(online.asked) == module.TRIES


def test_no_network(file: Path, online: Any) -> None:
    file.parent.mkdir()
    with pytest.raises(
        AntError, match=r"cannot reach 127\.0\.0\.1:1: Connection refused"
    ) as raised:
        transfer(Address("http://127.0.0.1:1/x.pt"), file, "large")
    assert "network" in raised.value.hint


def test_several_processes_get_a_file_once(get: Callable, online: Any) -> None:
    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert online.ranges() == ["all"]


def test_a_network_that_is_forbidden(get: Callable, offline: Any) -> None:
    with pytest.raises(AntError, match="large is not on this machine, and HF_HUB_OFFLINE forbids"):
        get()
    assert offline.asked == []


def test_the_beginning_of_a_hash_is_enough(get: Callable, online: Any) -> None:
    """As torch has it in the names of its files."""
    assert get(sha256=SHA256[:8]).read_bytes() == BODY


# --- disks ---------------------------------------------------------------------------------


def test_too_small_a_disk_is_seen_before_a_byte_is_written(
    get: Callable, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(file.parent)._replace(free=len(BODY) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(AntError, match="1 MB free and 1 MB are to come") as raised:
        get()
    assert "HF_HOME" in raised.value.hint
    assert not file.exists()
    assert not file.with_name("large.pt.part").exists()


class Filling(io.FileIO):
    """A file on a disk with room for 5000 bytes."""

    def write(self, data: Any) -> int:
        room = 5000 - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data)[:room])


def test_a_disk_that_fills_up(
    get: Callable, online: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_ever = Path.open

    def opened(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if mode == "ab":
            return io.BufferedWriter(Filling(path, mode))
        return as_ever(path, mode, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(AntError, match=r"cannot write .*: No space left on device") as raised:
            get()
    assert "free some disk space" in raised.value.hint
    assert not file.exists()
    assert get().read_bytes() == BODY
    assert online.ranges() == ["all", "bytes=5000-"]


def test_trouble_of_the_disk_is_not_taken_for_trouble_of_the_network(
    get: Callable, online: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(AntError, match=r"cannot write .*large\.pt\.part: Disk quota exceeded"):
        get()
    assert len(online.asked) == 1
