"""`ant fetch-source`: listing, getting and converting."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from source_kinds import write_kind

from antcli.sources import fetch
from antcli.sources.catalog import catalog
from antcli.sources.transfer import Downloaded


@pytest.fixture
def converted(tiny_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions write a small source, whatever they are given."""

    def convert(
        _checkpoint: Path, _format: str, out: Path, architecture: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        shutil.copytree(tiny_source, out)
        return architecture or {}

    convert_module = SimpleNamespace(convert=convert)
    monkeypatch.setitem(sys.modules, "antcli.sources.convert", convert_module)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files come from nowhere; which were asked for."""
    asked: list[str] = []

    def come(address: Any, file: Path, name: str, on_progress: Any) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        asked.append(name)
        on_progress(Downloaded(name, 100_000_000, 374_417_833))
        on_progress(Downloaded(name, 374_417_833, 374_417_833))
        file.write_bytes(b"weights")

    def come_from_hub(hub_id: str, name: str, file: Path, *_: str, **more: Any) -> None:
        come(hub_id, file, file.name.split("-")[0], more["on_progress"])

    monkeypatch.setattr(fetch, "transfer", come)
    monkeypatch.setattr(fetch.hub, "fetch_file", come_from_hub)
    return asked


def test_the_list_names_every_source_and_whether_it_is_there(ant: Callable) -> None:
    listed = json.loads(ant("fetch-source", "--json").out)["sources"]
    assert [source["name"] for source in listed] == list(catalog())
    there = {source["name"]: source["on_disk"] for source in listed}
    assert there.pop("avatars") is True
    assert there.pop("avatars-64") is True
    assert there["ffhq"] is False
    ffhq = next(source for source in listed if source["name"] == "ffhq")
    assert (ffhq["resolution"], ffhq["kind"], ffhq["size"]) == (256, "pixels", "374 MB")
    assert ffhq["licence"] == "BSD-3-Clause, says its re-uploader"
    table = ant("fetch-source").out
    for source in listed:
        assert source["name"] in table


def test_a_known_source_is_got_and_converted_and_its_terms_told(
    ant: Callable, downloads: list[str], converted: None
) -> None:
    done = ant("fetch-source", "ffhq")
    assert done.code == 0, done.err
    assert Path(done.out.strip()).name == "ffhq"
    assert "downloading ffhq 375/375 MB" in done.err
    assert "converting ffhq" in done.err
    assert "licence: BSD-3-Clause, says its re-uploader; not allowed: commercial" in done.err
    assert "ant adapt --source ffhq" in done.err
    again = ant("fetch-source", "ffhq")
    assert again.out == done.out
    assert "downloading" not in again.err
    assert downloads == ["ffhq"]
    facts = json.loads(ant("fetch-source", "ffhq", "--json").out)
    assert facts["folder"] == done.out.strip()
    assert facts["licence"].startswith("BSD-3-Clause")
    assert len(facts["sha256"]) == 64


def test_json_is_one_object_even_of_a_first_download(
    ant: Callable, downloads: list[str], converted: None
) -> None:
    assert json.loads(ant("fetch-source", "ffhq-large", "--json").out)["name"] == "ffhq-large"


def test_a_classifier_is_a_file(ant: Callable, downloads: list[str]) -> None:
    done = ant("fetch-source", "imagenet-256")
    assert done.code == 0, done.err
    assert Path(done.out.strip()).read_bytes() == b"weights"
    assert "not allowed: commercial deployment" in done.err
    assert "ant train-classifier --init imagenet-256" in done.err
    facts = json.loads(ant("fetch-source", "imagenet-256", "--json").out)
    assert facts["file"] == done.out.strip()
    assert downloads == ["imagenet-256"]


def test_adapt_gets_a_source_on_first_use(
    ant: Callable, downloads: list[str], converted: None, tiny_target: Path, tmp_path: Path
) -> None:
    base = ["adapt", "--target", tiny_target, "--out", tmp_path / "run", "--dry-run"]
    done = ant(*base, "--source", "ffhq")
    assert done.code == 0, done.err
    assert downloads == ["ffhq"]
    assert "downloading ffhq" in done.err


def test_adapt_looks_at_the_target_before_it_downloads(
    ant: Callable, downloads: list[str], converted: None, tmp_path: Path
) -> None:
    done = ant("adapt", "--source", "ffhq", "--target", tmp_path / "none")
    assert done.code == 1
    assert "none" in done.err
    assert downloads == []


# --- local files ---------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "mine.pt"
    file.write_bytes(b"weights")
    return file


@pytest.mark.parametrize("how", [("--format", "adm"), ("--like", "ffhq")])
def test_a_local_file_is_converted(
    ant: Callable, checkpoint: Path, converted: None, tmp_path: Path, how: tuple[str, str]
) -> None:
    done = ant("fetch-source", checkpoint, *how, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert done.out.strip() == str(tmp_path / "out")
    assert "converting" in done.err
    facts = json.loads(ant("fetch-source", checkpoint, *how, "--json").out)
    assert Path(facts["folder"]).name.startswith("mine-")


def test_what_weights_do_not_tell_is_typed_and_told(
    ant: Callable, checkpoint: Path, converted: None, tmp_path: Path
) -> None:
    typed = ("--option", "num_heads=4", "--option", "noise_schedule=cosine")
    done = ant("fetch-source", checkpoint, "--format", "adm", *typed, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "weights do not tell it: num_heads 4, noise_schedule cosine" in done.err
    wrong = ant("fetch-source", checkpoint, "--format", "adm", "--option", "num_heads")
    assert wrong.code == 2
    assert "'num_heads' states no option" in wrong.err


def test_a_file_without_its_format_is_asked_for_it(ant: Callable, checkpoint: Path) -> None:
    done = ant("fetch-source", checkpoint)
    assert done.code == 1
    assert f"{checkpoint} is a file of some format" in done.err
    assert "--format adm" in done.err


@pytest.mark.parametrize(
    "typed",
    [
        ("--format", "adm"),
        ("avatars", "--out", "x"),
        ("avatars", "--format", "zip"),
        ("x", "--option", "a=1"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    ant: Callable, typed: tuple[str, ...]
) -> None:
    assert ant("fetch-source", *typed).code == 2


def test_what_the_engine_warns_of_is_a_line(ant: Callable, tmp_path: Path) -> None:
    folder = write_kind("ldm", tmp_path / "ldm")
    config = folder / "vqvae" / "config.json"
    told = json.loads(config.read_text())
    del told["scaling_factor"]
    config.write_text(json.dumps(told))
    done = ant("fetch-source", folder)
    assert done.code == 0, done.err
    said = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert len(said) == 1
    assert "states no scaling_factor: 1.0 is taken" in said[0]
