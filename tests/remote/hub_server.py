"""A server on this machine that speaks what is needed of a model hub's API, and of the web.

Large files are sent from another host (``localhost`` instead of ``127.0.0.1``), as a hub does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".onnx")


@dataclass
class Repository:
    """A repository: its files at one commit, and whether it may be had."""

    files: dict[str, bytes]
    commit: str = ""
    branches: tuple[str, ...] = ("main",)
    gated: bool = False
    listed: tuple[str, ...] = ()
    """Names that are in the listing alone, as a hostile hub might have them."""

    def __post_init__(self) -> None:
        content = b"".join(name.encode() + body for name, body in self.files.items())
        self.commit = self.commit or hashlib.sha1(content).hexdigest()


@dataclass
class Request:
    method: str
    path: str
    range: str | None
    authorization: str | None
    sent: int = 0


@dataclass
class Hub:
    """What the server has, and what it was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    web: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    """Beginning of a path -> the status with which everything below it is answered."""
    answers: dict[str, bytes] = field(default_factory=dict)
    """Path -> what is answered there instead."""
    cut: set[str] = field(default_factory=set)
    """Paths of the web whose content breaks off half-way."""
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def downloads(self) -> list[Request]:
        """Requests for the content of files."""
        return [r for r in self.requests if r.method == "GET" and "/api/" not in r.path]


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.asked = Request(
            self.command, path, self.headers.get("Range"), self.headers.get("Authorization")
        )
        self.hub.requests.append(self.asked)
        for begin, status in self.hub.statuses.items():
            if path.startswith(begin):
                return self.refuse(status)
        if path in self.hub.redirects:
            return self.reply(302, b"", {"Location": self.hub.redirects[path]})
        if path in self.hub.answers:
            return self.reply(200, self.hub.answers[path], {"Content-Type": "application/json"})
        if path == "/api/models":
            return self.search(parse_qs(parts.query))
        if path.startswith("/api/models/"):
            return self.info(path.removeprefix("/api/models/"))
        if path.startswith("/web/"):
            return self.web(path)
        if path.startswith("/lfs/"):
            return self.large(path.removeprefix("/lfs/"))
        return self.resolve(path)

    def search(self, query: dict[str, list[str]]) -> None:
        author, word = query.get("author", [""])[0], query.get("search", [""])[0]
        found = [{"id": name, "modelId": name} for name in self.hub.repositories
                 if name.startswith(f"{author}/") and word in name]  # fmt: skip
        self.reply(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def info(self, rest: str) -> None:
        name, _, revision = rest.partition("/revision/")
        repository = self.find(name, revision or "main")
        if repository is None:
            return
        names = [*repository.files, *repository.listed]
        said = {
            "id": name, "modelId": name, "sha": repository.commit, "tags": [],
            "gated": "manual" if repository.gated else False,
            "siblings": [{"rfilename": file, "size": len(repository.files.get(file, b"?"))}
                         for file in names],
        }  # fmt: skip
        self.reply(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

    def resolve(self, path: str) -> None:
        name, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        repository = self.find(name, revision)
        if repository is None:
            return
        if repository.gated:
            self.refuse(403, "GatedRepo")
        elif file not in repository.files:
            self.refuse(404, "EntryNotFound")
        else:
            self.send_file(name, repository, file)

    def send_file(self, name: str, repository: Repository, file: str) -> None:
        body = repository.files[file]
        digest = hashlib.sha256(body).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": repository.commit}
        if file.endswith(LARGE):
            headers |= {
                "X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(body)),
                "Location": f"http://localhost:{self.hub.port}/lfs/{name}/{repository.commit}/{file}",
            }  # fmt: skip
            self.reply(302, b"", headers)
        else:
            self.send_body(body, headers)

    def large(self, path: str) -> None:
        org, name, _, file = path.split("/", 3)
        self.send_body(self.hub.repositories[f"{org}/{name}"].files[file], {})

    def web(self, path: str) -> None:
        body = self.hub.web.get(path)
        if body is None:
            self.refuse(404)
            return
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            self.reply(304, b"", {"ETag": etag})
            return
        kind = "text/html" if path.endswith(".html") else "application/octet-stream"
        self.send_body(body, {"ETag": etag, "Content-Type": kind}, cut=path in self.hub.cut)

    def find(self, name: str, revision: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self.refuse(404, "RepoNotFound")
        elif revision not in (repository.commit, *repository.branches):
            self.refuse(404, "RevisionNotFound")
        else:
            return repository
        return None

    def refuse(self, status: int, code: str = "") -> None:
        self.reply(status, b"", {"X-Error-Code": code} if code else {})

    def send_body(self, body: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
        span = self.headers.get("Range")
        if span is None:
            return self.reply(200, body, headers, cut=cut)
        first, _, last = span.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(body) - 1) + 1, len(body))
        headers = headers | {"Content-Range": f"bytes {begin}-{end - 1}/{len(body)}"}
        return self.reply(206, body[begin:end], headers)

    def reply(
        self, status: int, body: bytes, headers: dict[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.asked.sent = len(body)
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = cut


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub in a thread."""
    hub = Hub()
    handler = type("OneHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
