import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, safe_open

from antcli import artifacts
from antcli.artifacts import (
    cannot_write,
    check_writable,
    load_metadata,
    load_tensors,
    replacing,
    replacing_parts,
    save_tensors,
    with_name,
    write_json,
)
from antcli.errors import AntError

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b/c.d": torch.tensor(7)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def files_no_longer_than(limit: int) -> Iterator[None]:
    """A write past `limit` bytes fails, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- tensors -------------------------------------------------------------------------------


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        "float": torch.randn(3, 2),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "trained": torch.nn.Parameter(torch.randn(4)),
        "half": torch.randn(5).half(),
        "bfloat": torch.randn(5).bfloat16(),
        "double": torch.randn(5).double(),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "number": torch.tensor(3),
        "empty": torch.zeros(0, 3),
    }
    path = tmp_path / "new" / "folder" / "a.safetensors"
    save_tensors(path, tensors, {})
    loaded = load_tensors(path)
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(loaded[name], tensor.detach(), rtol=0, atol=0)
        assert not loaded[name].requires_grad
    assert names(path.parent) == ["a.safetensors"]


def test_other_programs_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, TENSORS, {"ant.step": "3"})
    torch.testing.assert_close(load_file(path), TENSORS, rtol=0, atol=0)


def test_metadata_is_a_flat_map_of_strings(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    config = {"steps": 3, "training": {"rate": 1e-5, "flip": True}, "hashes": ["a", "b"]}
    save_tensors(path, TENSORS, {"title": "ein Lauf – 日本", "ant.config": config, "n": 3})
    metadata = load_metadata(path)
    assert metadata["format"] == "pt"
    assert metadata["title"] == "ein Lauf – 日本"
    assert json.loads(metadata["ant.config"]) == config
    assert metadata["n"] == "3"
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == metadata


def test_a_file_without_metadata_has_none(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / "a.safetensors")
    assert load_metadata(tmp_path / "a.safetensors") == {}


# --- files that are not whole --------------------------------------------------------------


@pytest.mark.parametrize("read", [load_tensors, load_metadata])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.01, 0.5, 0.999])
def test_a_file_cut_short(tmp_path: Path, read: Callable[[Path], Any], kept: float) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.randn(1000)}, {"ant.step": "3"})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(AntError, match=r"a\.safetensors is not a whole safetensors file") as error:
        read(path)
    assert "cut short" in error.value.hint


@pytest.mark.parametrize("content", [b"version https://git-lfs\n" * 3, b"\x80\x02}q\x00" * 99])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(AntError, match="not a whole safetensors file"):
        load_tensors(path)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(AntError, match="there is no file"):
            load_metadata(path)


# --- writing is all or nothing -------------------------------------------------------------


@pytest.mark.parametrize("error", [SafetensorError("I/O error"), OSError(28, "No space left")])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, TENSORS, {"ant.step": "1"})

    def half_a_file(_tensors: object, place: Path, **_options: object) -> None:
        Path(place).write_bytes(b"half")
        raise error

    monkeypatch.setattr(artifacts, "save_file", half_a_file)
    with pytest.raises(AntError, match=r"cannot write .*a\.safetensors") as raised:
        save_tensors(path, {"a": torch.zeros(9)}, {"ant.step": "2"})
    assert "free some disk space" in raised.value.hint
    assert raised.value.exit_code == 1
    torch.testing.assert_close(load_tensors(path), TENSORS, rtol=0, atol=0)
    assert load_metadata(path)["ant.step"] == "1"
    assert names(tmp_path) == ["a.safetensors"]


def test_an_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    path, text = tmp_path / "a.safetensors", tmp_path / "a.json"
    save_tensors(path, TENSORS, {})
    write_json(text, {"step": 1})
    with files_no_longer_than(10_000):
        with pytest.raises(AntError, match="cannot write"):
            save_tensors(path, {"a": torch.zeros(100_000)}, {})
        with pytest.raises(AntError, match="File too large"):
            write_json(text, ["x" * 20_000])
    torch.testing.assert_close(load_tensors(path), TENSORS, rtol=0, atol=0)
    assert json.loads(text.read_text()) == {"step": 1}
    assert names(tmp_path) == ["a.json", "a.safetensors"]


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "a.json", tmp_path / "file" / "deeper" / "a.json"):
        with pytest.raises(AntError, match="cannot write"):
            write_json(path, {})
    assert (tmp_path / "file").read_text() == "mine"


# --- JSON ----------------------------------------------------------------------------------


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"name": "日本", "numbers": [1, 2.5, None], "deep": {"flag": True}}
    write_json(tmp_path / "new" / "a.json", value)
    text = (tmp_path / "new" / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert text.endswith("\n")


def test_what_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"step": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"step": torch.zeros(1)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"step": 1}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_what_json_has_no_number_for_is_refused(tmp_path: Path, value: float) -> None:
    write_json(tmp_path / "a.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="give None for what has no finite value"):
        write_json(tmp_path / "a.json", {"loss": [0.5, value]})
    with pytest.raises(ValueError, match="give None"):
        save_tensors(tmp_path / "a.safetensors", TENSORS, {"loss": value})
    assert json.loads((tmp_path / "a.json").read_text()) == {"loss": 1.0}
    assert names(tmp_path) == ["a.json"]


# --- folders of several files --------------------------------------------------------------


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt), replacing_parts(folder) as temporary:
        temporary.mkdir()
        (temporary / "half.txt").write_text("")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_parts_of_a_folder_are_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "old.txt").write_text("")
    (folder / "log.jsonl").write_text("kept")
    with replacing_parts(folder) as temporary:
        (temporary / "unet").mkdir(parents=True)
        (temporary / "unet" / "new.txt").write_text("")
        (temporary / "index.json").write_text("{}")
        assert (folder / "unet" / "old.txt").exists()
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert found == ["model/index.json", "model/log.jsonl", "model/unet/new.txt"]


# --- places --------------------------------------------------------------------------------


def test_others_may_read_what_they_may_read_of_the_user(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    save_tensors(tmp_path / "a.safetensors", TENSORS, {})
    with replacing_parts(tmp_path / "model") as temporary:
        save_tensors(temporary / "unet" / "b.safetensors", TENSORS, {})
    for file in ("a.safetensors", "model/unet/b.safetensors"):
        assert (tmp_path / file).stat().st_mode == plain.stat().st_mode, file


def test_a_place_without_a_name_has_the_one_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert with_name(Path("some/where")) == Path("some/where")
    assert with_name(Path()) == tmp_path.resolve() / "inner"
    assert with_name(Path("..")) == tmp_path.resolve()
    with pytest.raises(AntError, match="no place to write to"):
        with_name(Path("/"))
    with replacing_parts(Path()) as temporary:
        temporary.mkdir()
        (temporary / "a.txt").write_text("")
    assert names(tmp_path) == ["inner"]
    assert names(Path()) == ["a.txt"]


def test_a_file_s_place_is_checked_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "new" / "folder" / "a.safetensors")
    (tmp_path / "file").touch()
    with pytest.raises(AntError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(AntError, match="file is no folder"):
        check_writable(tmp_path / "file" / "a.safetensors")
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root
    with pytest.raises(AntError, match="Permission denied"):
        check_writable(tmp_path / "a.safetensors")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "free some disk space"),
        (errno.EACCES, "nothing may be written there"),
        (errno.ENOTDIR, "something else is there"),
    ],
)
def test_what_cannot_be_written_gets_a_hint_that_fits(number: int, hint: str) -> None:
    error = cannot_write(Path("a"), OSError(number, os.strerror(number)))
    assert error.message == f"cannot write a: {os.strerror(number)}"
    assert error.hint.startswith(hint)
