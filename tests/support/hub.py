"""A small Hugging Face Hub on this machine: it answers the real client, and misbehaves when told to."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from multibench import network

FAULTS = {"503", "stalled", "truncated", "wrong", "gated", "forbidden"}
LARGE = (".safetensors", ".bin", ".h5")
"""Files that the Hub keeps as LFS objects, known by SHA-256; others by git's hash."""


@dataclass
class Repository:
    """Files by name. ``fault`` befalls files named ``on`` (all requests if None), ``times`` times (None: always)."""

    files: dict[str, bytes]
    fault: str | None = None
    """One of ``FAULTS``."""
    on: str | None = None
    times: int | None = None

    @property
    def commit(self) -> str:
        content = [[name, self.digest(name)] for name in sorted(self.files)]
        return hashlib.sha1(json.dumps(content).encode()).hexdigest()

    def digest(self, name: str) -> str:
        content = self.files[name]
        if name.endswith(LARGE):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def sibling(self, name: str) -> dict[str, Any]:
        """The file's entry in the answer about the repository."""
        size, digest = len(self.files[name]), self.digest(name)
        entry: dict[str, Any] = {"rfilename": name, "size": size, "blobId": digest[:40]}
        if name.endswith(LARGE):
            entry["lfs"] = {"size": size, "sha256": digest, "pointerSize": 130}
        return entry

    def leaf(self, name: str) -> dict[str, Any]:
        """The file's entry in the listing of the tree."""
        size, digest = len(self.files[name]), self.digest(name)
        entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": digest[:40]}
        if name.endswith(LARGE):
            entry["lfs"] = {"size": size, "oid": digest, "pointerSize": 130}
        return entry

    def tree(self, below: str, deep: bool) -> list[dict[str, Any]]:
        """The listing of what is below the folder ``below``, or of what is directly in it."""
        files = [name for name in sorted(self.files) if name.startswith(below)]
        direct = [name for name in files if "/" not in name[len(below) :]]
        folders = sorted({below + name[len(below) :].split("/")[0] for name in files} - set(direct))
        listed = [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in folders]
        return listed + [self.leaf(name) for name in (files if deep else direct)]

    def fails(self, name: str | None) -> str | None:
        """The fault that befalls a request for the file ``name``, or for the repository (None)."""
        if self.fault is None or self.times == 0 or (self.on is not None and self.on != name):
            return None
        if self.times is not None:
            self.times -= 1
        return self.fault


@dataclass
class Hub:
    """What it serves, and what it was asked for: ``asked["GET google/x model.safetensors"]``.

    Data sets are repositories named ``datasets/OWNER/NAME``.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    archives: Repository = field(default_factory=lambda: Repository({}))
    """Files that have an address and belong to no repository."""
    asked: Counter[str] = field(default_factory=Counter)
    endpoint: str = ""
    apart: bool = False
    """Whether large files are on another host, to which the Hub redirects: so it is with the real one."""
    stall_seconds: float = 60.0
    closing: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, folder: Path, **fault: Any) -> Repository:
        """Serve the files of ``folder`` as the repository ``name``."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        self.repositories[name] = Repository(files, **fault)
        return self.repositories[name]

    def bytes_sent_for(self, word: str) -> int:
        """How often content was asked for by a request whose description holds ``word``."""
        return sum(count for what, count in self.asked.items() if what.startswith("GET") and word in what)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            parts = unquote(self.path).strip("/").split("/")
            repository = hub.repositories["/".join(parts[1:4])]
            leaves = [repository.leaf(path) for path in asked.get("paths", []) if path in repository.files]
            self._send(200, json.dumps(leaves).encode(), {"Content-Type": "application/json"})

        def _answer(self) -> None:
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            if parts[0] == "archives":
                hub.asked[f"{self.command} {'/'.join(parts)}"] += 1
                self._content(hub.archives, parts[1])
            elif parts[:2] == ["api", "models"]:
                self._about("/".join(parts[2:4]), parts[4:])
            elif parts[:2] == ["api", "datasets"]:
                self._about("/".join(parts[1:4]), parts[4:])
            elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
                self._file("/".join(parts[:3]), "/".join(parts[5:]))
            elif len(parts) >= 5 and parts[2] == "resolve":
                self._file("/".join(parts[:2]), "/".join(parts[4:]))
            else:
                self._send(404, b"", {})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _repository(self, name: str, file: str | None) -> Repository | None:
            """The repository if it can be served normally; otherwise the request has been answered."""
            hub.asked[f"{self.command} {name} {file or ''}"] += 1
            if name in hub.moved:
                self._send(307, b"", {"Location": self.path.replace(name, hub.moved[name])})
                return None
            repository = hub.repositories.get(name)
            if repository is None:
                # What the Hub says to strangers: it does not tell private from missing.
                self._send(
                    401, b'{"error": "Invalid username or password."}', {"X-Error-Code": "RepoNotFound"}
                )
            return repository

        def _about(self, name: str, rest: list[str]) -> None:
            repository = self._repository(name, None)
            if repository is None:
                return
            if repository.on is None and self._refused(repository, None):
                return
            if rest[:1] == ["tree"]:
                deep = parse_qs(urlsplit(self.path).query).get("recursive") == ["True"]
                answer: Any = repository.tree("".join(f"{part}/" for part in rest[2:]), deep)
            else:
                siblings = [repository.sibling(file) for file in sorted(repository.files)]
                answer = {"id": name, "sha": repository.commit, "siblings": siblings, "tags": []}
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _refused(self, repository: Repository, file: str | None) -> str | None:
            """The fault of this request, answered here if it is not about the content of a file."""
            if (
                file is not None
                and repository.fault in {"stalled", "truncated", "wrong"}
                and self.command == "HEAD"
            ):
                return None
            if file is None and repository.fault in {"truncated", "wrong", "gated"}:
                return None
            fault = repository.fails(file)
            if fault == "503":
                self._send(503, b"busy", {})
            elif fault == "gated":
                self._send(401, b'{"error": "Access is restricted."}', {"X-Error-Code": "GatedRepo"})
            elif fault == "forbidden":
                self._send(403, b'{"error": "Forbidden"}', {})
            elif fault == "stalled" and file is None:
                hub.closing.wait(hub.stall_seconds)
                self.close_connection = True
            return fault

        def _file(self, name: str, file: str) -> None:
            repository = self._repository(name, file)
            if repository is None:
                return
            if hub.apart and file.endswith(LARGE) and "Host" in self.headers:
                self._redirect(repository, file)
            else:
                self._content(repository, file)

        def _redirect(self, repository: Repository, file: str) -> None:
            host, _, port = self.headers["Host"].partition(":")
            if host == "localhost":
                assert "authorization" not in self.headers
                self._content(repository, file)
                return
            headers = {
                "Location": f"http://localhost:{port}{self.path}",
                "X-Repo-Commit": repository.commit,
                "X-Linked-Etag": f'"{repository.digest(file)}"',
                "X-Linked-Size": str(len(repository.files[file])),
            }
            self._send(302, b"", headers)

        def _content(self, repository: Repository, file: str) -> None:
            if file not in repository.files:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commit})
                return
            fault = self._refused(repository, file)
            if fault in {"503", "gated", "forbidden"}:
                return
            content = repository.files[file]
            md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
            if fault == "wrong":
                content = content[:-1] + bytes([content[-1] ^ 1])
            headers = {
                "X-Repo-Commit": repository.commit,
                "ETag": f'"{repository.digest(file)}"',
                "Accept-Ranges": "bytes",
                "x-goog-hash": f"crc32c=AAAAAA==,md5={md5}",
            }
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            body = content[start:]
            if fault not in {"stalled", "truncated"}:
                self._send(206 if start else 200, body, headers)
                return
            self._send_half(206 if start else 200, body, headers)
            if fault == "stalled":
                hub.closing.wait(hub.stall_seconds)
            self.close_connection = True

        def _send_half(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()

    return Handler


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """``hub`` on a port of this machine until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def point_client_at(hub: Hub, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Make the client of this process, which was told to stay offline, talk to ``hub`` and use ``cache``."""
    from huggingface_hub import constants

    from multibench.checkpoints.download import hub as module

    patch.setenv("HF_ENDPOINT", hub.endpoint)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        patch.setenv(name, "0")
    patch.setattr(constants, "ENDPOINT", hub.endpoint)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    patch.setattr(module, "_PAUSES", (0.01, 0.01))
    network._attempt.cache_clear()
