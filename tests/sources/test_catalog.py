from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from antcli.errors import AntError
from antcli.sources import catalog as catalog_module
from antcli.sources.catalog import Entry, catalog, hub_folder, locate


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """A model hub with one model; tells what it was asked for."""
    asked: dict[str, object] = {}

    def download(hub_id: str, **options: object) -> str:
        asked.update(options, hub_id=hub_id)
        if hub_id != "google/ddpm-ema-church-256":
            raise LocalEntryNotFoundError("no such model here")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def test_every_entry_is_whole() -> None:
    assert "avatars" in catalog()
    for name, entry in catalog().items():
        assert entry.name == name
        assert bool(entry.builtin) != bool(entry.hub)
        assert entry.resolution in (32, 64, 128, 256)
        assert entry.licence
        assert entry.about
        assert entry.hub.count("/") == (1 if entry.hub else 0)


def test_entries_are_plain_values_for_json(hub: dict[str, object]) -> None:
    values = catalog()["church"].as_dict()
    assert values["hub"] == "google/ddpm-ema-church-256"
    assert values["on_disk"] is True
    assert hub["local_files_only"] is True
    assert catalog()["bedroom"].as_dict()["on_disk"] is False
    assert catalog()["avatars"].as_dict()["on_disk"] is True


def test_a_builtin_source_lies_in_the_package() -> None:
    folder = locate("avatars")
    assert folder.is_relative_to(Path(catalog_module.__file__).parent)
    assert folder.name == "avatars"


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


def test_a_name_or_an_id_leads_to_the_hub(hub: dict[str, object], tmp_path: Path) -> None:
    for source in ("church", "google/ddpm-ema-church-256"):
        hub.clear()
        assert locate(source) == tmp_path
        assert hub["hub_id"] == "google/ddpm-ema-church-256"
        assert hub["local_files_only"] is False


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


def test_a_hub_that_does_not_answer(hub: dict[str, object]) -> None:
    with pytest.raises(AntError, match="cannot fetch someone/nothing from the model hub") as raised:
        locate("someone/nothing")
    assert "diffusers folder" in raised.value.hint
    assert hub_folder("someone/nothing", offline=True) is None
    assert not Entry("x", 32, "pixels", "MIT", "", hub="someone/nothing").on_disk()
