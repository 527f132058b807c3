"""A model hub and a plain file server on loopback, spoken to by the real client."""

import hashlib
import json
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from antcli.sources import catalog as catalog_module
from antcli.sources import fetch, transfer
from antcli.sources.catalog import Entry, catalog

COMMIT = "c0ffee" + "0" * 34
TOKEN = "hf_test"
RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
MODEL = re.compile(
    r"/api/models/(?P<repo>[^/]+/[^/]+?)(/(?P<what>revision|tree)/(?P<revision>[^/]+))?"
)


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class HubServer:
    """What the server has, how it misbehaves, and what it was asked."""

    port: int
    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    """By path, without a hub."""
    gated: set[str] = field(default_factory=set)
    cuts: list[int] = field(default_factory=list)
    """After so many bytes the next answers with a large body break off."""
    corrupt: bool = False
    status: int = 0
    """Answered to everything, where it is not 0."""
    versioned: bool = True
    lengths: bool = True
    """Whether it says how long an answer is, else the end of the connection is its end."""
    content_type: str = "application/octet-stream"
    asked: list[Asked] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        """Of the hub. Large files are on another host, as in the world."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def elsewhere(self) -> str:
        """The same server under another name."""
        return f"http://localhost:{self.port}"

    def ranges(self) -> list[str]:
        """What parts of bodies were asked for."""
        gets = [a for a in self.asked if a.method == "GET" and not a.path.startswith("/api")]
        return [a.headers.get("range", "all") for a in gets if "/resolve/" not in a.path]


class Handler(BaseHTTPRequestHandler):
    """Speaks as much of the hub's protocol as downloads need."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> HubServer:
        return cast(Any, self.server).hub

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.asked.append(Asked(self.command, self.path, headers))
        if self.hub.status:
            self._send(self.hub.status, b"no")
        elif url.path in self.hub.files:
            self._send_file(self.hub.files[url.path])
        elif url.path == "/api/models":
            author = parse_qs(url.query).get("author", [""])[0]
            ids = [name for name in self.hub.models if name.startswith(f"{author}/")]
            self._send(200, json.dumps([{"id": name} for name in ids]).encode())
        elif match := MODEL.fullmatch(url.path):
            self._model(match["repo"], match["what"] or "", match["revision"] or "main")
        elif match := RESOLVE.fullmatch(unquote(url.path)):
            self._resolve(match["repo"], match["revision"], match["file"])
        else:
            self._send(404, b"nothing here")

    def _model(self, repo: str, what: str, revision: str) -> None:
        if repo not in self.hub.models:
            # The hub does not tell strangers whether a model is private or missing.
            self._send(401, b"Invalid username or password.")
            return
        if revision not in ("main", COMMIT):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        model = self.hub.models[repo]
        if what == "tree":
            listed: Any = [
                {"type": "file", "path": name, "size": len(body), "oid": "0" * 40, **_lfs(body)}
                for name, body in model.items()
            ]
        else:
            files = [
                {"rfilename": name, "size": len(body), "blobId": "0" * 40, **_lfs(body, "sha256")}
                for name, body in model.items()
            ]
            listed = {"id": repo, "sha": COMMIT, "siblings": files, "tags": [], "downloads": 0}
        self._send(200, json.dumps(listed).encode())

    def _resolve(self, repo: str, revision: str, file: str) -> None:
        said = {"X-Repo-Commit": COMMIT}
        if repo not in self.hub.models:
            self._send(401, b"", {"X-Error-Message": "Invalid username or password."})
        elif repo in self.hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, b"", {"X-Error-Code": "GatedRepo"})
        elif revision not in ("main", COMMIT):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif file not in self.hub.models[repo]:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", **said})
        elif _is_large(body := self.hub.models[repo][file]):
            sha256 = hashlib.sha256(body).hexdigest()
            self.hub.files[f"/cdn/{sha256}"] = body
            linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(body))}
            place = {"Location": f"{self.hub.elsewhere}/cdn/{sha256}"}
            self._send(302, b"", {**said, **linked, **place})
        else:
            self._send(200, body, {**said, "ETag": f'"{hashlib.sha1(body).hexdigest()}"'})

    def _send_file(self, body: bytes) -> None:
        """A large file, a part of it where asked, less of it or another where it misbehaves."""
        headers = {"ETag": f'"{hashlib.md5(body).hexdigest()}"'} if self.hub.versioned else {}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if start >= len(body):
            self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return
        sent = bytes(~byte & 255 for byte in body) if self.hub.corrupt else body
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._send(206 if asked else 200, sent[start:], headers, self._cut())

    def _cut(self) -> int | None:
        return self.hub.cuts.pop(0) if self.command == "GET" and self.hub.cuts else None

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", self.hub.content_type)
        if self.hub.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None or not self.hub.lengths:
            self.close_connection = True


def _is_large(body: bytes) -> bool:
    return len(body) > 2000


def _lfs(body: bytes, key: str = "oid") -> dict[str, Any]:
    if not _is_large(body):
        return {}
    digest = hashlib.sha256(body).hexdigest()
    return {"lfs": {key: digest, "size": len(body), "pointerSize": 134}}


@pytest.fixture
def server() -> Iterator[HubServer]:
    """A hub and file server on loopback."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = HubServer(listening.server_port)
    cast(Any, listening).hub = hub
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield hub
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture
def online(server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HubServer:
    """The client talks to `server` and keeps what it gets in a folder of the test's own.

    It reads its settings when it is imported, so that they are changed here and not in the
    environment; `test_environment.py` sets them as a user does.
    """
    from huggingface_hub import constants

    home = tmp_path / "hf"
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    point_to(server.endpoint, monkeypatch)
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
    return server


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `endpoint` the client's hub."""
    from huggingface_hub import constants

    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def offline(online: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The same with HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return online


@pytest.fixture
def model(tiny_source: Path) -> dict[str, bytes]:
    """The files of a small source, as a repository of the hub has them."""
    paths = [path for path in tiny_source.rglob("*") if path.is_file()]
    return {path.relative_to(tiny_source).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def entries(
    online: Any, model: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, Entry]:
    """A catalogue of places on the server."""
    body = bytes(range(256)) * 40
    online.models["some/tiny"] = model
    online.models["some/files"] = {"weights.pt": body}
    online.files["/faces.pt"] = body
    archive = tmp_path / "faces.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("ldm/model.ckpt", body)
        packed.writestr("ldm/config.yaml", "no")
    online.files["/faces.zip"] = archive.read_bytes()
    base = Entry(
        "", 16, "pixels", "adm", "MIT", "", parameters=1, architecture={"num_channels": 128}
    )
    plain, packed = f"{online.endpoint}/faces.pt", f"{online.endpoint}/faces.zip"
    made = [
        replace(base, name="by-hub", hub="some/files", file="weights.pt"),
        replace(base, name="by-folder", hub="some/tiny", format="diffusers"),
        replace(base, name="by-address", address=plain),
        replace(base, name="by-zip", address=packed, member="model.ckpt", format="ldm"),
        replace(base, name="judge", address=plain, kind="classifier"),
        replace(base, name="wrong", address=plain, sha256="0" * 64),
        replace(base, name="known", address=plain, bytes=len(body)),
    ]
    listed = {entry.name: entry for entry in [*made, catalog()["avatars"]]}
    for module in (catalog_module, fetch):
        monkeypatch.setattr(module, "catalog", lambda: listed)
    return listed
