import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler

from antcli.errors import AntError
from antcli.sources import catalog as catalog_module
from antcli.sources.catalog import Entry, catalog
from antcli.sources.fetch import fetch_file, is_here, locate, on_disk
from antcli.sources.source import find_source
from antcli.sources.storage import downloads_folder, sources_folder
from antcli.sources.to_diffusers import Assumed, Converting, convert_file
from antcli.sources.transfer import Downloaded

BODY = bytes(range(256)) * 40  # of the files that `entries` leads to
ARCHITECTURE = {"num_channels": 128}


class Conversion:
    """Stands in for the conversions, which have tests of their own: writes a small source."""

    def __init__(self, result: Path) -> None:
        self.result = result
        self.asked: list[tuple[bytes, str, Mapping[str, Any] | None]] = []
        self.fails = False
        self.assumed = {"image_size": 16}

    def __call__(
        self, checkpoint: Path, format: str, out: Path, architecture: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        self.asked.append((checkpoint.read_bytes(), format, architecture))
        if self.fails:
            raise AntError("no such weights", "hint")
        shutil.copytree(self.result, out)
        return self.assumed


@pytest.fixture
def conversion(tiny_source: Path, monkeypatch: pytest.MonkeyPatch) -> Conversion:
    made = Conversion(tiny_source)
    monkeypatch.setitem(sys.modules, "antcli.sources.convert", SimpleNamespace(convert=made))
    return made


# --- where a name leads --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["avatars", "avatars-64"])
def test_a_builtin_source_lies_in_the_package(name: str) -> None:
    folder = locate(name)
    assert folder.is_relative_to(Path(catalog_module.__file__).parent)
    assert on_disk(catalog()[name])


def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "owner" / "mine"
    folder.mkdir(parents=True)
    assert locate(str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    assert locate("owner/mine") == Path("owner/mine")


def test_a_known_name_means_that_source_even_beside_a_folder_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "avatars").mkdir()
    monkeypatch.chdir(tmp_path)
    assert locate("avatars").is_absolute()


def test_a_name_of_a_diffusers_model_and_its_id_lead_to_the_hub(
    online: Any, entries: dict[str, Entry]
) -> None:
    assert not on_disk(entries["by-folder"])
    assert not is_here("by-folder") and not is_here("some/tiny")
    folder = locate("by-folder")
    assert is_here("by-folder") and is_here("some/tiny")
    assert (folder / "unet" / "config.json").exists()
    assert on_disk(entries["by-folder"])
    online.asked.clear()
    assert locate("some/tiny") == folder
    assert online.asked == []


@pytest.mark.parametrize(
    ("typed", "meant"), [("avatar", "avatars"), ("Avatars", "avatars"), ("curch", "church")]
)
def test_an_unknown_name_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(AntError, match=f"there is no source '{typed}'") as raised:
        locate(typed)
    assert f"did you mean {meant}" in raised.value.hint
    assert "ant fetch-source" in raised.value.hint


@pytest.mark.parametrize("typed", ["zzzzqqq", "./models/none", "/none/at-all", "a/b/c", "~/m"])
def test_what_is_neither_name_nor_folder_nor_id(typed: str) -> None:
    with pytest.raises(AntError, match="there is no source") as raised:
        locate(typed)
    assert "ant fetch-source" in raised.value.hint


def test_a_file_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "unet.safetensors").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AntError, match="there is no source"):
        locate("models/unet.safetensors")


def test_an_id_that_no_hub_could_have(online: Any) -> None:
    with pytest.raises(AntError, match="has no model some body/x"):
        locate("some body/x")


# --- conversion ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "format"), [("by-hub", "adm"), ("by-address", "adm"), ("by-zip", "ldm")]
)
def test_a_source_is_got_and_converted_on_first_use(
    online: Any, entries: dict[str, Entry], conversion: Conversion, name: str, format: str
) -> None:
    assert not on_disk(entries[name])
    told: list[Downloaded | Converting] = []
    folder = locate(name, told.append)
    assert conversion.asked == [(BODY, format, ARCHITECTURE)]
    assert told[-1] == Converting(name)
    assert folder == sources_folder() / name
    assert find_source(name).folder == folder
    assert on_disk(entries[name])
    assert not any(path.is_file() and path.name[0] != "." for path in downloads_folder().iterdir())
    online.asked.clear()
    assert locate(name) == folder
    assert online.asked == []
    assert len(conversion.asked) == 1


def test_a_converted_source_is_used_offline(
    entries: dict[str, Entry], conversion: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    folder = locate("by-hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate("by-hub") == folder


def test_a_conversion_that_fails_leaves_the_download_and_no_source(
    online: Any, entries: dict[str, Entry], conversion: Conversion
) -> None:
    conversion.fails = True
    with pytest.raises(AntError, match="no such weights"):
        locate("by-address")
    assert not on_disk(entries["by-address"])
    conversion.fails = False
    online.asked.clear()
    assert locate("by-address").is_dir()
    assert online.asked == []


def test_several_processes_get_a_source_once(
    online: Any, entries: dict[str, Entry], conversion: Conversion
) -> None:
    threads = [threading.Thread(target=locate, args=("by-address",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conversion.asked) == 1
    assert online.ranges() == ["all"]


def test_a_wrong_file_is_not_converted(entries: dict[str, Entry], conversion: Conversion) -> None:
    for _ in range(2):
        with pytest.raises(AntError, match="not the file that is known"):
            locate("wrong")
    assert conversion.asked == []
    assert not on_disk(entries["wrong"])


def test_a_file_of_the_hubs_own_cache_stays_there(
    entries: dict[str, Entry], conversion: Conversion
) -> None:
    from huggingface_hub import hf_hub_download

    there = Path(hf_hub_download("some/files", "weights.pt"))
    locate("by-hub")
    assert there.exists()


@pytest.mark.parametrize("name", ["by-hub", "by-address", "by-zip", "by-folder"])
def test_offline(offline: Any, entries: dict[str, Entry], name: str) -> None:
    with pytest.raises(AntError, match="HF_HUB_OFFLINE forbids the network"):
        locate(name)
    assert offline.asked == []


def test_a_classifier_is_no_source(entries: dict[str, Entry]) -> None:
    with pytest.raises(AntError, match="judge is a classifier") as raised:
        locate("judge")
    assert "--init judge" in raised.value.hint
    fetch_file(entries["judge"])
    assert on_disk(entries["judge"])


# --- local files ---------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "mine.pt"
    file.write_bytes(BODY)
    return file


def test_a_local_file_is_converted_once_for_its_content(
    checkpoint: Path, conversion: Conversion, tmp_path: Path, online: Any
) -> None:
    folder = convert_file(checkpoint, "adm")
    assert folder.parent == sources_folder()
    assert folder.name.startswith("mine-")
    assert convert_file(checkpoint, "adm") == folder
    assert conversion.asked == [(BODY, "adm", {})]
    checkpoint.write_bytes(BODY[::-1])
    assert convert_file(checkpoint, "adm") != folder


def test_like_gives_format_and_architecture(
    checkpoint: Path, conversion: Conversion, entries: dict[str, Entry]
) -> None:
    without = convert_file(checkpoint, "adm")
    folder = convert_file(checkpoint, None, like="by-address")
    assert folder != without
    assert conversion.asked[-1] == (BODY, "adm", ARCHITECTURE)
    with pytest.raises(AntError, match="by-zip is of format ldm, not adm"):
        convert_file(checkpoint, "adm", like="by-zip")
    with pytest.raises(AntError, match="there is no source 'by-zap'") as raised:
        convert_file(checkpoint, "adm", like="by-zap")
    assert "by-zip" in raised.value.hint


def test_options_are_of_the_conversion_and_of_its_name(
    checkpoint: Path, conversion: Conversion, entries: dict[str, Entry]
) -> None:
    told: list[object] = []
    options = {"num_heads": 4}
    folder = convert_file(
        checkpoint, None, like="by-address", options=options, on_progress=told.append
    )
    assert conversion.asked == [(BODY, "adm", ARCHITECTURE | options)]
    assert told == [Converting(str(checkpoint)), Assumed(conversion.assumed)]
    assert folder != convert_file(checkpoint, None, like="by-address")


def test_a_local_zip(conversion: Conversion, tmp_path: Path, entries: dict[str, Entry]) -> None:
    out = tmp_path / "out"
    assert convert_file(tmp_path / "faces.zip", "ldm", out=out) == out
    assert conversion.asked == [(BODY, "ldm", {})]
    assert {path.name for path in tmp_path.iterdir()} >= {"out", "faces.zip"}
    assert not list(tmp_path.glob(".out.ckpt*"))


def test_an_out_that_exists_is_left_alone(
    checkpoint: Path, conversion: Conversion, tmp_path: Path
) -> None:
    with pytest.raises(AntError, match="exists already"):
        convert_file(checkpoint, "adm", out=tmp_path)
    assert conversion.asked == []


@pytest.mark.parametrize(("format", "what"), [("adm", "file"), ("diffusers", "folder")])
def test_a_path_of_the_wrong_kind(format: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(AntError, match=f"there is no {what}"):
        convert_file(tmp_path / "none", format)


def test_pickled_weights_of_a_diffusers_folder_become_safetensors(
    make_unet: Any, tmp_path: Path
) -> None:
    folder, out = tmp_path / "pickled", tmp_path / "out"
    unet = make_unet()
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder, safe_serialization=False)
    assert convert_file(folder, "diffusers", out=out) == out
    assert find_source(str(out)).weights.suffix == ".safetensors"
    assert not list(out.rglob("*.bin"))
    torch.testing.assert_close(
        find_source(str(out)).load().state_dict(), unet.state_dict(), rtol=0, atol=0
    )


def test_a_pickle_that_holds_code_is_not_opened(make_unet: Any, tmp_path: Path) -> None:
    folder, out = tmp_path / "pickled", tmp_path / "out"
    make_unet().save_pretrained(folder)
    torch.save({"run": shutil.rmtree}, folder / "diffusion_pytorch_model.bin")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(AntError, match="more than weights"):
        convert_file(folder, "diffusers", out=out)
    assert not out.exists()
    assert not list(tmp_path.glob(".out*.part"))
