"""The stub hub's HTTP side: lists, infos of models and data sets, trees and downloads."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.folder import Faults, HubFolder, Repo

PAGE = 100
"""Repositories on a page of the list."""


class HubServer:
    """Serves a `HubFolder` from `with` to its end.

    Attributes:
        requests: method and path of every request about models, in order.
        tokens: what requests carried as authorization.
    """

    def __init__(self, folder: HubFolder, port: int = 0) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.tokens: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def serve(self) -> None:
        """Serve in this thread, without end."""
        self._server.serve_forever(poll_interval=0.05)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Refused(Exception):
    """An answer that is an error, with the header that `huggingface_hub` reads."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._answer()

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self) -> None:
            if not self.path.startswith("/api/agent"):  # the library may ask about itself
                hub.requests.append(f"{self.command} {self.path}")
            self._token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            hub.tokens.add(self._token)
            self._faults = self._faults_now()
            time.sleep(self._faults.seconds)
            if self._failed(self._faults):
                return
            url = urlsplit(self.path)
            parts = [unquote(part) for part in url.path.strip("/").split("/")]
            query = parse_qs(url.query)
            self._repos = hub.folder
            if parts[0] == "datasets" or parts[:2] == ["api", "datasets"]:
                self._repos = hub.folder.datasets
                parts = parts[1:] if parts[0] == "datasets" else ["api", "models", *parts[2:]]
            try:
                match parts:
                    case ["api", "models"]:
                        self._list(query)
                    case ["api", "models", owner, name, *rest]:
                        self._api(f"{owner}/{name}", rest, query)
                    case [owner, name, "resolve", revision, *path]:
                        self._file(f"{owner}/{name}", revision, "/".join(path))
                    case _:
                        raise _Refused(404)
            except _Refused as refused:
                headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
                self._send(
                    refused.status, {"error": refused.message}, {k: v for k, v in headers.items() if v}
                )

        def _faults_now(self) -> Faults:
            faults = hub.folder.faults
            concerned = self.path.startswith(faults.path) and len(hub.requests) > faults.after
            return faults if concerned else Faults()

        def _failed(self, faults: Faults) -> bool:
            """Whether the request was answered by a fault."""
            wait = {} if faults.retry_after is None else {"Retry-After": str(faults.retry_after)}
            match faults.mode:
                case "drop":
                    self.close_connection = True
                    self.connection.close()
                case "500" | "429":
                    self._send(int(faults.mode), {"error": "no\nluck"}, wait)
                case "401":
                    message = "Invalid credentials in Authorization header"
                    self._send(401, {"error": message}, {"X-Error-Message": message})
                case "not a hub":
                    self._raw(404, b"<html>nothing here</html>", {"Content-Type": "text/html"})
                case "not json":
                    self._raw(200, b'[{"id": "acme/', {"Content-Type": "application/json"})
                case _:
                    return False
            return True

        def _list(self, query: dict[str, list[str]]) -> None:
            owner = query.get("author", [""])[0]
            start = int(query.get("cursor", ["0"])[0])
            names = [n for n, r in hub.folder.repos().items() if self._listed(n, r, owner)]
            page = [self._told(n, hub.folder.read(n), query) for n in names[start : start + PAGE]]
            headers = {}
            more = start + PAGE < len(names)
            match self._faults.mode:
                case "object":
                    self._send(200, {"models": page})
                    return
                case "empty list":
                    page, more = [], False
                case "half list":
                    page, more = page[: len(page) // 2], False
                case "no sha":
                    page = [{k: v for k, v in one.items() if k != "sha"} for one in page]
                case "wrong types":
                    page = [{**one, "sha": 7, "tags": "apache"} for one in page]
                case "no sizes":
                    page = [{k: v for k, v in one.items() if k != "safetensors"} for one in page]
            if more:
                here = urlsplit(self.path)
                rest = [f"{k}={v}" for k, values in query.items() if k != "cursor" for v in values]
                link = f"{hub.url}{here.path}?{'&'.join([*rest, f'cursor={start + PAGE}'])}"
                headers["Link"] = f'<{link}>; rel="next"'
            self._send(200, page, headers)

        def _listed(self, name: str, repo: Repo, owner: str) -> bool:
            return name.split("/")[0] == owner and not repo.withdrawn and not repo.disabled

        def _api(self, name: str, rest: list[str], query: dict[str, list[str]]) -> None:
            repo = self._repo(name)
            match rest:
                case []:
                    self._send(200, self._told(name, repo, query))
                case ["revision", revision]:
                    self._send(200, self._told(name, repo, query, self._commit(repo, revision)))
                case ["auth-check"]:
                    self._check_access(repo)
                    self._send(200, {})
                case ["tree", revision, *below]:
                    folder = self._repos.path / name / self._commit(repo, revision)
                    start = folder.joinpath(*below)
                    found = start.rglob("*") if query.get("recursive") == ["true"] else start.glob("*")
                    self._send(200, [_tree_entry(path, folder) for path in sorted(found)])
                case ["paths-info", revision]:
                    folder = self._repos.path / name / self._commit(repo, revision)
                    wanted = [folder / path for path in json.loads(self._body)["paths"]]
                    self._send(200, [_tree_entry(path, folder) for path in wanted if path.exists()])
                case _:
                    raise _Refused(404)

        def _told(
            self, name: str, repo: Repo, query: dict[str, list[str]], revision: str = ""
        ) -> dict[str, Any]:
            commit = repo.commits[revision or repo.main]
            everything = {
                "sha": revision or repo.main,
                "gated": repo.gated or False,
                "private": False,
                "disabled": repo.disabled,
                "tags": ["safetensors", *([f"license:{commit.licence}"] if commit.licence else [])],
                "siblings": [{"rfilename": file} for file in commit.files],
            }
            if commit.parameters is not None:
                everything["safetensors"] = {
                    "parameters": {"BF16": commit.parameters},
                    "total": commit.parameters,
                }
            wanted = query.get("expand") or list(everything)
            return {"id": name, **{key: everything[key] for key in wanted if key in everything}}

        def _file(self, name: str, revision: str, path: str) -> None:
            repo = self._repo(name)
            self._check_access(repo)
            commit = self._commit(repo, revision)
            file = self._repos.path / name / commit / path
            if not file.is_file():
                raise _Refused(404, "EntryNotFound", "Entry not found")
            content = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit}
            if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
                self._raw(206, content[first : last + 1], headers)
                return
            self._raw(200, content, headers)

        def _repo(self, name: str) -> Repo:
            try:
                repo = self._repos.read(name)
            except KeyError:
                raise _Refused(404, "RepoNotFound", "Repository not found") from None
            if repo.withdrawn:
                raise _Refused(404, "RepoNotFound", "Repository not found")
            if repo.disabled:
                raise _Refused(403, message="Access to this resource is disabled.")
            return repo

        def _commit(self, repo: Repo, revision: str) -> str:
            commit = repo.main if revision == "main" else revision
            if commit not in repo.commits:
                raise _Refused(404, "RevisionNotFound", "Invalid rev id")
            return commit

        def _check_access(self, repo: Repo) -> None:
            if repo.gated and self._token not in repo.readers:
                raise _Refused(403 if self._token else 401, "GatedRepo", "Access is restricted")

        def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
            body = json.dumps(content).encode()
            self._raw(status, body, {"Content-Type": "application/json", **(headers or {})})

        def _raw(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def _tree_entry(path: Path, folder: Path) -> dict[str, Any]:
    if path.is_dir():
        return {"type": "directory", "path": str(path.relative_to(folder)), "oid": "0" * 40}
    content = path.read_bytes()
    return {
        "type": "file",
        "path": str(path.relative_to(folder)),
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }
