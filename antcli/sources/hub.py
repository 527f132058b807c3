"""The model hub, asked by its own client: HF_ENDPOINT, HF_HOME, HF_TOKEN, HF_HUB_OFFLINE hold.

Folders in diffusers format go into the client's cache, where every program finds them; a single
file is raw material for a conversion, and goes where it is wanted.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from antcli.artifacts import cannot_write, file_hash
from antcli.errors import AntError
from antcli.sources.catalog import catalog, did_you_mean
from antcli.sources.storage import check_online, check_space, one_process_at_a_time
from antcli.sources.transfer import Downloaded, Progress, silent

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

MODEL = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
TEXT_ENCODER = ("model.safetensors", "pytorch_model.bin")
VOCABULARY = ("merges.txt", "vocab.txt")
NETWORKS = ("unet", "vae", "vqvae", "text_encoder", "bert")
UNUSED = ("safety_checker", "feature_extractor")


def cached_folder(hub_id: str, revision: str = "main") -> Path | None:
    """The folder of a model where the client's cache has all of it."""
    for name in ("model_index.json", "config.json", "unet/config.json"):
        found = cached_file(hub_id, name, revision)
        if found is not None:
            folder = found.parents[name.count("/")]
            return folder if _is_whole(folder) else None
    return None


def fetch_folder(hub_id: str, revision: str = "main", on_progress: Progress = silent) -> Path:
    """A model as a diffusers folder: from the client's cache, else downloaded and checked.

    Raises `AntError` where there is no such model, it is gated, the network is forbidden or
    fails, the disk is full, or a file is not what the hub says it is.
    """
    found = cached_folder(hub_id, revision)
    if found is not None:
        return found
    with _explained(hub_id, revision):
        wanted = _needed(_listed(hub_id, revision))
        return _get(hub_id, revision, wanted, on_progress)


def fetch_file(
    hub_id: str,
    name: str,
    file: Path,
    revision: str = "main",
    *,
    sha256: str = "",
    on_progress: Progress = silent,
) -> None:
    """One file of a model, called `name` there, as `file`: checked, whole or not at all.

    Of several processes one gets it. Raises `AntError` like `fetch_folder`.
    """
    folder = file.with_name(f".{file.name}.hub")
    with one_process_at_a_time(file), _explained(hub_id, revision):
        if file.is_file():
            return
        there = {sibling.rfilename: sibling for sibling in _listed(hub_id, revision)}
        if name not in there:
            raise AntError(
                f"{hub_id} has no file {name} (404)",
                f"{did_you_mean(name, there)}{_endpoint()}/{hub_id} lists what it has",
            )
        stored = there[name].lfs
        if sha256 and (stored is None or stored.sha256 != sha256):
            raise _another_file(hub_id, name, sha256)
        try:
            _get(hub_id, revision, [there[name]], on_progress, folder)
            (folder / name).replace(file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _listed(hub_id: str, revision: str) -> list[RepoSibling]:
    """The files of a model, with sizes and hashes."""
    check_online(hub_id)
    told = _client().HfApi().model_info(hub_id, revision=revision, files_metadata=True)
    return list(told.siblings or [])


def _get(
    hub_id: str,
    revision: str,
    wanted: list[RepoSibling],
    on_progress: Progress,
    folder: Path | None = None,
) -> Path:
    """Download files into `folder`, without one into the client's cache, and check them."""
    place = folder or Path(_client().constants.HF_HUB_CACHE)
    place.mkdir(parents=True, exist_ok=True)
    check_space(place, sum(file.size or 0 for file in wanted))
    got = _client().snapshot_download(
        hub_id,
        revision=revision,
        allow_patterns=[file.rfilename for file in wanted],
        local_dir=folder,
        tqdm_class=_reporting(hub_id, on_progress),
    )
    _check_hashes(hub_id, Path(got), wanted)
    return Path(got)


def _client() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub
    import huggingface_hub.utils  # its names are loaded when asked for

    huggingface_hub.utils.logging.set_verbosity_error()  # what it would say, the errors here say
    return huggingface_hub


def _endpoint() -> str:
    return str(_client().constants.ENDPOINT)


def cached_file(hub_id: str, file: str, revision: str = "main") -> Path | None:
    """A file of a model where the client's cache has it."""
    with suppress(ValueError):  # no id that a hub could have
        found = _client().try_to_load_from_cache(hub_id, file, revision=revision)
        return Path(found) if isinstance(found, str) else None
    return None


def _is_whole(folder: Path) -> bool:
    """Whether an interrupted download left nothing out: every network has its weights."""
    index = folder / "model_index.json"
    parts = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    rooms = [folder / name for name in NETWORKS if name in parts and name != "unet"]
    unet = folder / "unet"
    rooms.append(unet if unet.is_dir() else folder)  # the oldest models have it at their root
    return any(folder.glob("**/scheduler_config.json")) and all(map(_has_weights, rooms))


def _has_weights(room: Path) -> bool:
    weights = any((room / name).exists() for name in (*MODEL, *TEXT_ENCODER))
    return weights and (room / "config.json").exists()


def _needed(there: list[RepoSibling]) -> list[RepoSibling]:
    """Of the files of a model those that a source needs, each weight in one format only."""
    names = {file.rfilename for file in there}
    return [file for file in there if _is_needed(PurePosixPath(file.rfilename), names)]


def _is_needed(path: PurePosixPath, names: set[str]) -> bool:
    if len(path.parts) > 2 or path.parts[0] in UNUSED:
        return False
    for safe, pickled in (MODEL, TEXT_ENCODER):
        if path.name == pickled:
            return str(path.with_name(safe)) not in names
    return path.suffix == ".json" or path.name in (MODEL[0], TEXT_ENCODER[0], *VOCABULARY)


def _check_hashes(hub_id: str, folder: Path, files: list[RepoSibling]) -> None:
    for file in files:
        path, expected = folder / file.rfilename, file.lfs.sha256 if file.lfs else ""
        if expected and file_hash(path) != expected:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise _another_file(hub_id, file.rfilename, expected)


def _another_file(hub_id: str, name: str, sha256: str) -> AntError:
    return AntError(
        f"what comes for {name} of {hub_id} is not the file that is known (its sha256 differs "
        f"from {sha256}); it was not kept",
        "run it again; if it stays so, it was changed, on the way or at its place",
    )


def _reporting(name: str, on_progress: Progress) -> type[Any]:
    """A class of the bars that the client draws, which reports instead."""
    from tqdm import tqdm

    most = 0

    class Reporting(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": False, "file": io.StringIO()})

        def display(self, *_args: Any, **_options: Any) -> bool:
            nonlocal most
            if self.unit == "B" and self.n > most:  # of two bars, received and written, the first
                most = int(self.n)
                on_progress(Downloaded(name, most, max(most, int(self.total or 0))))
            return True

    return Reporting


@contextmanager
def _explained(hub_id: str, revision: str) -> Iterator[None]:
    """Whatever the client raises, as one clear line."""
    try:
        yield
    except AntError:
        raise
    except Exception as error:
        raise _explain(_origin(error), hub_id, revision) from error


def _origin(error: BaseException) -> BaseException:
    """What the client wraps when it has looked into its cache in vain."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _explain(error: BaseException, hub_id: str, revision: str) -> AntError:
    from huggingface_hub import errors

    endpoint = _endpoint()
    match error:
        case errors.GatedRepoError():
            return AntError(
                f"{hub_id} is gated: its owner asks you to accept its licence first",
                f"accept it at {endpoint}/{hub_id}, make a token at {endpoint}/settings/tokens, "
                "then `hf auth login` or set HF_TOKEN, and run it again",
            )
        case errors.RevisionNotFoundError():
            return AntError(
                f"{hub_id} has no revision {revision}", f"{endpoint}/{hub_id} lists what it has"
            )
        case errors.RepositoryNotFoundError() | errors.HFValidationError():
            return _missing(hub_id)
        case errors.HfHubHTTPError():
            return _refused(error, hub_id, endpoint)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EACCES | errno.EROFS):
            return cannot_write(Path(_client().constants.HF_HUB_CACHE), error)
    return AntError(
        f"cannot reach the model hub at {endpoint}: {error or type(error).__name__}",
        "check the network and its proxy, or name a mirror with HF_ENDPOINT; the path of a "
        "diffusers folder works too",
    )


def _missing(hub_id: str) -> AntError:
    return AntError(
        f"the model hub has no model {hub_id}, or it is private",
        f"{did_you_mean(hub_id, _models_like(hub_id))}`ant fetch-source` lists what is known; "
        "for a private model set HF_TOKEN",
    )


def _refused(error: Any, hub_id: str, endpoint: str) -> AntError:
    status = error.response.status_code
    if status == 401 and not _client().get_token():  # so it answers strangers, private or not
        return _missing(hub_id)
    if status in (401, 403):
        return AntError(
            f"the model hub refuses {hub_id} to your token ({status})",
            f"make one that may read it at {endpoint}/settings/tokens, then `hf auth login` or "
            "set HF_TOKEN, and run it again",
        )
    return AntError(
        f"the model hub at {endpoint} answers {status} for {hub_id}",
        "try again later, or name a mirror with HF_ENDPOINT",
    )


def _models_like(hub_id: str) -> set[str]:
    """Ids to compare a mistyped one with: the catalogue's, and the same owner's."""
    ids = {entry.hub for entry in catalog().values() if entry.hub}
    with suppress(Exception):  # without them the error is as clear
        owned = _client().HfApi().list_models(author=hub_id.split("/")[0], limit=500)
        ids |= {model.id for model in owned}
    return ids
