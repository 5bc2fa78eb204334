"""A hub that takes uploads: the few requests that the real client makes to publish. Real HTTP, no git.

It is careless on purpose: an error repeats the token that it was given.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Commit:
    """One commit of a repository, with all files as they were after it."""

    oid: str
    title: str
    description: str
    files: dict[str, bytes]


@dataclass
class Repo:
    """A repository; the newest commit is the last."""

    name: str
    commits: list[Commit] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1].files

    @property
    def titles(self) -> list[str]:
        return [commit.title for commit in self.commits]

    def add(self, title: str, description: str, files: dict[str, bytes]) -> Commit:
        content = json.dumps([len(self.commits), title, sorted(files)])
        commit = Commit(hashlib.sha1(content.encode()).hexdigest(), title, description, files)
        self.commits.append(commit)
        return commit


class StubHub:
    """The hub in a thread of its own, from `with` to its end.

    Attributes:
        token: the only one that may write.
        large: whether a file, by its name, is uploaded as a large one (LFS).
        fault: an HTTP status that a request fails with, by method and path; None: it goes well.
        committed: called when a commit is made, before it is answered.
        asked: method, path and authorization of each request.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.large: Callable[[str], bool] = lambda name: False
        self.fault: Callable[[str, str], int | None] = lambda method, path: None
        self.committed: Callable[[Commit], None] = lambda commit: None
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            stub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def writes(self) -> list[str]:
        """Paths of the requests that changed something."""
        return [path for method, path, _ in self.asked if method != "GET" and "/commit/" in path]


class _Handler(BaseHTTPRequestHandler):
    stub: StubHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self, method: str) -> None:
        path, given = urlsplit(self.path).path, self.headers.get("authorization")
        body = self._body()
        self.stub.asked.append((method, path, given))
        status = self.stub.fault(method, path)
        if status is not None:
            return self._answer(status, {"error": f"broken for {given}"})
        if method == "PUT":
            self.stub.objects[path.rpartition("/")[2]] = body
            return self._answer(200, {})
        if given != f"Bearer {self.stub.token}":
            return self._answer(401, {"error": f"wrong token: {given}"})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(\w+)/(\w+)", path)
        repo = self.stub.repos.get(found[1]) if found else None
        if found is None or repo is None:
            return self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return getattr(self, f"_{found[2]}")(repo, found[3], body)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        known = name in self.stub.repos
        if not known:
            self.stub.repos[name] = Repo(name)
            self.stub.repos[name].add("initial commit", "", {".gitattributes": b""})
        self._answer(409 if known else 200, {"url": f"{self.stub.url}/{name}"})

    def _commits(self, repo: Repo, revision: str, body: bytes) -> None:
        listed = [
            {
                "id": one.oid,
                "title": one.title,
                "message": one.description,
                "authors": [],
                "date": "2026-01-01T00:00:00.000Z",
            }
            for one in reversed(repo.commits)
        ]
        self._answer(200, listed)

    def _tree(self, repo: Repo, revision: str, body: bytes) -> None:
        commit = next((c for c in repo.commits if c.oid == revision), repo.commits[-1])
        files = commit.files.items()
        self._answer(
            200,
            [
                {"type": "file", "path": name, "size": len(data), "oid": _git_oid(data)}
                for name, data in files
            ],
        )

    def _preupload(self, repo: Repo, revision: str, body: bytes) -> None:
        names = [file["path"] for file in json.loads(body)["files"]]
        modes = {name: "lfs" if self.stub.large(name) else "regular" for name in names}
        self._answer(
            200,
            {"files": [{"path": name, "uploadMode": modes[name], "shouldIgnore": False} for name in names]},
        )

    def _batch(self, wanted: dict[str, Any]) -> None:
        objects: list[dict[str, Any]] = []
        for one in wanted["objects"]:
            upload = {"upload": {"href": f"{self.stub.url}/storage/{one['oid']}"}}
            known = one["oid"] in self.stub.objects
            objects.append({**one, **({} if known else {"actions": upload})})
        self._answer(200, {"objects": objects, "transfer": "basic"})

    def _commit(self, repo: Repo, revision: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        with self.stub.lock:
            moved = header.get("parentCommit") not in (None, repo.commits[-1].oid)
            files = dict(repo.files)
            for line in lines[1:]:
                value = line["value"]
                match line["key"]:
                    case "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    case "lfsFile":
                        files[value["path"]] = self.stub.objects[value["oid"]]
                    case "deletedFile":
                        del files[value["path"]]
            made = None if moved else repo.add(header["summary"], header["description"], files)
        if made is None:
            self._answer(412, {"error": "A commit has happened since"})
        else:
            self.stub.committed(made)
            url = f"{self.stub.url}/{repo.name}/commit/{made.oid}"
            self._answer(200, {"commitUrl": url, "commitOid": made.oid})

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
