import errno
import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import file_download

from antcli.errors import AntError
from antcli.sources import hub
from antcli.sources.transfer import Downloaded

ID = "someone/tiny"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
LARGE = bytes(range(256)) * 40


@pytest.fixture
def there(online: Any, model: dict[str, bytes]) -> Any:
    """The server, with a small source."""
    online.models[ID] = dict(model)
    return online


def in_cache(tmp_path: Path) -> set[str]:
    """Files of the model that the client's cache holds under their names."""
    snapshots = tmp_path.glob("hf/hub/models--*/snapshots/*")
    return {p.relative_to(s).as_posix() for s in snapshots for p in s.rglob("*") if p.is_file()}


# --- a folder ------------------------------------------------------------------------------


def test_a_folder_comes_into_the_clients_cache(
    there: Any, model: dict[str, bytes], tmp_path: Path
) -> None:
    folder = hub.fetch_folder(ID)
    assert folder.is_relative_to(tmp_path / "hf" / "hub")
    for name, body in model.items():
        assert (folder / name).read_bytes() == body


def test_again_asks_nobody(there: Any) -> None:
    folder = hub.fetch_folder(ID)
    there.asked.clear()
    assert hub.fetch_folder(ID) == folder == hub.cached_folder(ID)
    assert there.asked == []


def test_progress_of_a_folder(there: Any) -> None:
    told: list[Downloaded] = []
    hub.fetch_folder(ID, on_progress=told.append)
    assert {record.name for record in told} == {ID}
    done = [record.done for record in told]
    assert done == sorted(done)
    assert done[-1] >= len(there.models[ID][WEIGHTS])


def test_only_what_a_source_needs_is_got(there: Any, tmp_path: Path) -> None:
    weights = there.models[ID][WEIGHTS]
    for name in (
        WEIGHTS.replace(".safetensors", ".bin"),
        "whole.ckpt",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "safety_checker/model.safetensors",
        "images/sample.png",
        "README.md",
    ):
        there.models[ID][name] = weights
    hub.fetch_folder(ID)
    assert in_cache(tmp_path) == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        WEIGHTS,
    }


def test_pickled_weights_are_got_where_there_are_no_others(there: Any, tmp_path: Path) -> None:
    there.models[ID]["unet/diffusion_pytorch_model.bin"] = there.models[ID].pop(WEIGHTS)
    hub.fetch_folder(ID)
    assert "unet/diffusion_pytorch_model.bin" in in_cache(tmp_path)


def test_a_folder_whose_files_lie_at_its_root(there: Any) -> None:
    """As the published DDPMs have it."""
    model = there.models[ID]
    there.models["someone/flat"] = {name.split("/")[-1]: body for name, body in model.items()}
    folder = hub.fetch_folder("someone/flat")
    assert (folder / "config.json").exists()
    assert hub.cached_folder("someone/flat") == folder


def test_a_cut_connection_goes_on_from_there(
    there: Any, model: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    monkeypatch.setattr(file_download.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    there.cuts = [3000]
    folder = hub.fetch_folder(ID)
    assert (folder / WEIGHTS).read_bytes() == model[WEIGHTS]
    assert there.ranges() == ["all", "bytes=3000-"]


def test_a_download_cut_for_good_is_not_taken_for_whole(
    there: Any, model: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    there.cuts = [3000] + [0] * 20
    with pytest.raises(AntError, match=r"cannot reach the model hub at http://127\.0\.0\.1"):
        hub.fetch_folder(ID)
    assert "unet/config.json" in in_cache(tmp_path)
    assert hub.cached_folder(ID) is None
    there.cuts = []
    assert (hub.fetch_folder(ID) / WEIGHTS).read_bytes() == model[WEIGHTS]


@pytest.mark.parametrize("lost", ["vae", "unet"])
def test_a_cached_model_that_lacks_a_network_is_not_whole(there: Any, lost: str) -> None:
    index = there.models[ID]["model_index.json"].replace(b'"unet"', b'"vae": [0, 1], "unet"')
    vae = {name.replace("unet", "vae"): body for name, body in there.models[ID].items()}
    there.models[ID] |= {name: vae[name] for name in vae if name.startswith("vae/")}
    there.models[ID]["model_index.json"] = index
    folder = hub.fetch_folder(ID)
    assert hub.cached_folder(ID) == folder
    shutil.rmtree(folder / lost)
    assert hub.cached_folder(ID) is None


def test_a_wrong_hash_leaves_no_file(there: Any, tmp_path: Path) -> None:
    there.corrupt = True
    with pytest.raises(AntError, match=f"{WEIGHTS} of {ID} is not the file that is known"):
        hub.fetch_folder(ID)
    assert WEIGHTS not in in_cache(tmp_path)
    assert hub.cached_folder(ID) is None
    there.corrupt = False
    assert hub.fetch_folder(ID) == hub.cached_folder(ID)


def test_a_full_disk_leaves_no_file(
    there: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    as_ever = Path.open

    def opened(path: Path, mode: str = "r", **options: Any) -> Any:
        return Full(path, mode) if mode == "wb" else as_ever(path, mode, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(AntError, match=r"cannot write .*hub: No space left on device") as full:
            hub.fetch_folder(ID)
    assert "free some disk space" in full.value.hint
    assert hub.cached_folder(ID) is None
    assert hub.fetch_folder(ID) == hub.cached_folder(ID)


def test_too_small_a_disk_is_seen_before_a_byte_comes(
    there: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(AntError, match="MB free"):
        hub.fetch_folder(ID)
    assert there.ranges() == []


# --- refusals ------------------------------------------------------------------------------


def refused(get: Callable[[], object]) -> AntError:
    with pytest.raises(AntError) as raised:
        get()
    assert "\n" not in raised.value.message + raised.value.hint
    assert raised.value.hint
    return raised.value


def test_a_missing_model_is_answered_with_the_nearest(there: Any) -> None:
    error = refused(lambda: hub.fetch_folder("someone/tini"))
    assert error.message.startswith("the model hub has no model someone/tini")
    assert f"did you mean {ID}" in error.hint
    error = refused(lambda: hub.fetch_folder("google/ddpm-ema-chruch-256"))
    assert "did you mean google/ddpm-ema-church-256" in error.hint


def test_a_missing_file_is_answered_with_the_nearest(there: Any, tmp_path: Path) -> None:
    there.models[ID]["diffusion_ffhq_10m.pt"] = LARGE
    error = refused(lambda: hub.fetch_file(ID, "diffusion_ffhq.pt", tmp_path / "a"))
    assert error.message == f"{ID} has no file diffusion_ffhq.pt (404)"
    assert "did you mean diffusion_ffhq_10m.pt" in error.hint


def test_a_missing_revision(there: Any, tmp_path: Path) -> None:
    error = refused(lambda: hub.fetch_file(ID, WEIGHTS, tmp_path / "a", "other"))
    assert error.message == f"{ID} has no revision other"


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_gated_model_says_what_to_do(there: Any, what: str, tmp_path: Path) -> None:
    there.gated.add(ID)
    error = refused(
        lambda: (
            hub.fetch_folder(ID)
            if what == "folder"
            else hub.fetch_file(ID, WEIGHTS, tmp_path / "a")
        )
    )
    assert error.message == f"{ID} is gated: its owner asks you to accept its licence first"
    assert f"{there.endpoint}/{ID}" in error.hint
    assert f"{there.endpoint}/settings/tokens" in error.hint
    assert "HF_TOKEN" in error.hint


def test_a_gated_model_comes_with_a_token(there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there.gated.add(ID)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    assert (hub.fetch_folder(ID) / WEIGHTS).exists()


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_in_trouble(there: Any, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    there.status = status
    error = refused(lambda: hub.fetch_folder(ID))
    assert f"answers {status}" in error.message
    assert "later" in error.hint


def test_a_token_that_may_not(there: Any, tmp_path: Path) -> None:
    there.status = 403
    error = refused(lambda: hub.fetch_file(ID, WEIGHTS, tmp_path / "a"))
    assert "refuses" in error.message
    assert "settings/tokens" in error.hint


def test_no_network(there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    error = refused(lambda: hub.fetch_folder(ID))
    assert error.message.startswith("cannot reach the model hub at http://127.0.0.1:1: ")
    assert "HF_ENDPOINT" in error.hint


def test_offline_without_the_model(offline: Any, tmp_path: Path) -> None:
    for get in (lambda: hub.fetch_folder(ID), lambda: hub.fetch_file(ID, WEIGHTS, tmp_path / "a")):
        error = refused(get)
        assert "HF_HUB_OFFLINE forbids the network" in error.message
        assert "unset HF_HUB_OFFLINE" in error.hint
    assert offline.asked == []


def test_offline_with_the_model(there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    folder = hub.fetch_folder(ID)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch_folder(ID) == folder


# --- one file ------------------------------------------------------------------------------


@pytest.fixture
def large(there: Any) -> str:
    """The name of a file of the model."""
    there.models[ID]["large.pt"] = LARGE
    return "large.pt"


def test_a_file_goes_where_it_is_wanted_and_nowhere_else(
    there: Any, large: str, tmp_path: Path
) -> None:
    told: list[Downloaded] = []
    file = tmp_path / "got" / "mine.pt"
    hub.fetch_file(ID, large, file, on_progress=told.append)
    assert file.read_bytes() == LARGE
    assert told[-1].done == len(LARGE)
    assert [path.name for path in file.parent.iterdir() if path.suffix != ".lock"] == ["mine.pt"]
    assert in_cache(tmp_path) == set()
    there.asked.clear()
    hub.fetch_file(ID, large, file)
    assert there.asked == []


def test_a_file_whose_connection_is_cut_goes_on_from_there(
    there: Any, large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    monkeypatch.setattr(file_download.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    there.cuts = [3000]
    hub.fetch_file(ID, large, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == LARGE
    assert there.ranges() == ["all", "bytes=3000-"]


def test_another_file_than_the_one_known_is_seen_before_a_byte_comes(
    there: Any, large: str, tmp_path: Path
) -> None:
    with pytest.raises(AntError, match=f"{large} of {ID} is not the file that is known"):
        hub.fetch_file(ID, large, tmp_path / "a.pt", sha256="0" * 64)
    assert there.ranges() == []
    hub.fetch_file(ID, large, tmp_path / "a.pt", sha256=hashlib.sha256(LARGE).hexdigest())
    assert (tmp_path / "a.pt").exists()


def test_too_small_a_disk_for_a_file(
    there: Any, large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(AntError, match="MB free"):
        hub.fetch_file(ID, large, tmp_path / "a.pt")
    assert there.ranges() == []


def test_a_token_goes_to_the_hub_alone(
    there: Any, large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    hub.fetch_file(ID, large, tmp_path / "a.pt")
    shown = {asked.path.startswith("/cdn/"): asked.headers for asked in there.asked}
    assert shown[False]["authorization"] == "Bearer hf_test"
    assert "authorization" not in shown[True]


def test_a_file_in_the_clients_cache_is_found(there: Any) -> None:
    assert hub.cached_file(ID, WEIGHTS) is None
    folder = hub.fetch_folder(ID)
    assert hub.cached_file(ID, WEIGHTS) == folder / WEIGHTS
    assert hub.cached_file("no such id at all", WEIGHTS) is None
