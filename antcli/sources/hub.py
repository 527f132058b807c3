"""The model hub, asked by its own client: HF_ENDPOINT, HF_HOME, HF_TOKEN, HF_HUB_OFFLINE hold.

Folders in diffusers format go into the client's cache, where every program finds them. A single
file is raw material for a conversion: the client tells its place and hash, and `transfer` gets
it, since the client itself begins a file anew after an interruption.
"""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from antcli.artifacts import file_hash
from antcli.errors import AntError
from antcli.sources.catalog import catalog, did_you_mean
from antcli.sources.storage import cannot_write
from antcli.sources.transfer import Address, Downloaded, Progress, check_space, silent

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

MODEL = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
TEXT_ENCODER = ("model.safetensors", "pytorch_model.bin")
VOCABULARY = ("merges.txt", "vocab.txt")
NETWORKS = ("unet", "vae", "vqvae", "text_encoder", "bert")
UNUSED = ("safety_checker", "feature_extractor")
SHA256_DIGITS = 64


def is_offline() -> bool:
    """Whether the user forbids the network, of which the client decides."""
    return bool(_client().constants.HF_HUB_OFFLINE)


def cached_folder(hub_id: str, revision: str = "main") -> Path | None:
    """The folder of a model where the client's cache has all of it."""
    for name in ("model_index.json", "config.json", "unet/config.json"):
        found = _cached(hub_id, name, revision)
        if found is not None:
            folder = found.parents[name.count("/")]
            return folder if _is_whole(folder) else None
    return None


def cached_file(hub_id: str, file: str, revision: str = "main") -> Path | None:
    """A file of a model where the client's cache has it."""
    return _cached(hub_id, file, revision)


def fetch_folder(hub_id: str, revision: str = "main", on_progress: Progress = silent) -> Path:
    """A model as a diffusers folder: from the client's cache, else downloaded and checked.

    Raises `AntError` where there is no such model, it is gated, the network is forbidden or
    fails, the disk is full, or a file is not what the hub says it is.
    """
    found = cached_folder(hub_id, revision)
    if found is not None:
        return found
    check_online(hub_id)
    hub = _client()
    with _explained(hub_id, revision):
        there = hub.HfApi().model_info(hub_id, revision=revision, files_metadata=True).siblings
        wanted = _needed(there or [])
        _check_room(wanted)
        folder = hub.snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=[file.rfilename for file in wanted],
            tqdm_class=_reporting(hub_id, on_progress),
        )
    _check_hashes(hub_id, Path(folder), wanted)
    return Path(folder)


def file_address(hub_id: str, file: str, revision: str = "main") -> Address:
    """Where one file of a model is, with its hash. Raises `AntError` like `fetch_folder`."""
    check_online(f"{file} of {hub_id}")
    hub = _client()
    with _explained(hub_id, revision, file):
        url = hub.hf_hub_url(hub_id, file, revision=revision)
        there = hub.get_hf_file_metadata(url)
        headers = hub.utils.build_hf_headers()
    if urlsplit(there.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # a token is for the hub alone
    sha256 = there.etag if len(there.etag or "") == SHA256_DIGITS else ""
    return Address(there.location, size=there.size, sha256=sha256 or "", headers=headers)


def _client() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub
    import huggingface_hub.utils  # its names are loaded when asked for

    huggingface_hub.utils.logging.set_verbosity_error()  # what it would say, the errors here say
    return huggingface_hub


def _cached(hub_id: str, file: str, revision: str) -> Path | None:
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


def _needed(there: Sequence[RepoSibling]) -> list[RepoSibling]:
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


def _check_room(files: Sequence[RepoSibling]) -> None:
    cache = Path(_client().constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    check_space(cache, sum(file.size or 0 for file in files))


def _check_hashes(hub_id: str, folder: Path, files: Sequence[RepoSibling]) -> None:
    for file in files:
        path, expected = folder / file.rfilename, file.lfs.sha256 if file.lfs else ""
        if expected and file_hash(path) != expected:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise AntError(
                f"what came for {file.rfilename} of {hub_id} is not the file that the hub names "
                f"(sha256 differs from {expected}); it was not kept",
                "run it again; if it stays so, something on the way changes it",
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


def check_online(what: str) -> None:
    """Raise `AntError` where the user forbids the network that `what` has to come from."""
    if is_offline():
        raise _forbidden(what)


def _forbidden(what: str) -> AntError:
    return AntError(
        f"{what} is not on this machine, and HF_HUB_OFFLINE forbids the network",
        "unset HF_HUB_OFFLINE and run it again; `ant fetch-source` tells what is on disk",
    )


@contextmanager
def _explained(hub_id: str, revision: str, file: str = "") -> Iterator[None]:
    """Whatever the client raises, as one clear line."""
    try:
        yield
    except AntError:
        raise
    except Exception as error:
        raise _explain(_origin(error), hub_id, revision, file) from error


def _origin(error: BaseException) -> BaseException:
    """What the client wraps when it has looked into its cache in vain."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _explain(error: BaseException, hub_id: str, revision: str, file: str) -> AntError:
    from huggingface_hub import errors

    endpoint = _client().constants.ENDPOINT
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
        case errors.EntryNotFoundError() if file:
            return AntError(
                f"{hub_id} has no file {file} (404)",
                f"{did_you_mean(file, _files(hub_id, revision))}{endpoint}/{hub_id} lists what "
                "it has",
            )
        case errors.OfflineModeIsEnabled():
            return _forbidden(hub_id)
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


def _files(hub_id: str, revision: str) -> list[str]:
    with suppress(Exception):  # without them the error is as clear
        return list(_client().HfApi().list_repo_files(hub_id, revision=revision))
    return []
