"""The repositories of a stub hub, and what goes wrong with it: files that any process may change."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import uuid
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any


@dataclass
class Faults:
    """What goes wrong with every answer of the hub.

    Attributes:
        mode: `` | `drop` (the connection is closed) | `500` | `429` | `401` | `not json` | `object`
            (an object in place of a list) | `no sha` | `wrong types` | `empty list` | `half list` |
            `no sizes` (the list does not tell of safetensors) | `not a hub` (404 for everything).
        retry_after: seconds, for `500` and `429`.
        seconds: that every answer takes.
        path: only requests whose path starts so are concerned.
        after: so many answers are good first, counted by the server since it started.
    """

    mode: str = ""
    retry_after: int | None = None
    seconds: float = 0.0
    path: str = "/"
    after: int = 0


@dataclass
class Commit:
    """One commit: its weights as the hub's index counts them, and its licence."""

    parameters: int | None
    licence: str | None
    files: list[str]


@dataclass
class Repo:
    """A repository: its commits, and which of them `main` names. `readers` are tokens that open it."""

    main: str
    commits: dict[str, Commit] = field(default_factory=dict)
    gated: str = ""
    readers: list[str] = field(default_factory=list)
    disabled: bool = False
    withdrawn: bool = False


class HubFolder:
    """Repositories under `path/<owner>/<name>/`, each with `repo.json` and a folder for each commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    @property
    def datasets(self) -> HubFolder:
        """The hub's data sets, as repositories of their own folder."""
        return HubFolder(self.path / "datasets")

    def add(
        self,
        repo: str,
        files: Path | None = None,
        *,
        commit: str = "",
        parameters: int | None = None,
        licence: str | None = "apache-2.0",
        gated: str = "",
        readers: tuple[str, ...] = (),
    ) -> str:
        """A new repository whose `main` is a first commit; returns that.

        Args:
            files: a model folder, copied; without one the repository has a config and, where it has
                `parameters`, claims to have safetensors.
            parameters: as the hub's index counts them; counted in `files` where absent.
            gated: `auto` or `manual`; then only `readers` may download.
        """
        self._write(repo, Repo("", gated=gated, readers=list(readers)))
        return self.push(repo, files, commit=commit, parameters=parameters, licence=licence)

    def push(
        self,
        repo: str,
        files: Path | None = None,
        *,
        commit: str = "",
        parameters: int | None = None,
        licence: str | None = "apache-2.0",
    ) -> str:
        """A new commit, which `main` then names; returns it."""
        found = self.read(repo)
        commit = commit or hashlib.sha1(f"{repo} {len(found.commits)} {uuid.uuid4()}".encode()).hexdigest()
        folder = self.path / repo / commit
        if files is not None:
            shutil.copytree(files, folder)
            parameters = parameters if parameters is not None else _count(folder)
        else:
            folder.mkdir()
            (folder / "config.json").write_text("{}")
        names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
        if files is None and parameters is not None:
            names.append("model.safetensors")
        found.commits[commit] = Commit(parameters, licence, names)
        found.main = commit
        self._write(repo, found)
        return commit

    def roll_back(self, repo: str, commit: str) -> None:
        """`main` names an earlier commit."""
        self.change(repo, main=commit)

    def withdraw(self, repo: str) -> None:
        """It is neither listed nor found."""
        self.change(repo, withdrawn=True)

    def restore(self, repo: str) -> None:
        """It is back."""
        self.change(repo, withdrawn=False)

    def change(self, repo: str, **values: Any) -> None:
        """Set attributes of a repository."""
        found = self.read(repo)
        for name, value in values.items():
            setattr(found, name, value)
        self._write(repo, found)

    def fail(self, mode: str = "", **values: Any) -> None:
        """What goes wrong from now on; nothing, without arguments."""
        _replace(self.path / "faults.json", asdict(Faults(mode, **values)))

    @property
    def faults(self) -> Faults:
        path = self.path / "faults.json"
        return Faults(**json.loads(path.read_text())) if path.exists() else Faults()

    def read(self, repo: str) -> Repo:
        """The repository as it is; KeyError if there is none."""
        try:
            content = json.loads((self.path / repo / "repo.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(repo) from None
        commits = {name: Commit(**one) for name, one in content.pop("commits").items()}
        return Repo(commits=commits, **content)

    def repos(self) -> dict[str, Repo]:
        """All repositories by `owner/name`, withdrawn ones too."""
        names = ("/".join(path.parts[-3:-1]) for path in sorted(self.path.glob("*/*/repo.json")))
        return {name: self.read(name) for name in names}

    def _write(self, repo: str, content: Repo) -> None:
        (self.path / repo).mkdir(parents=True, exist_ok=True)
        _replace(self.path / repo / "repo.json", asdict(content))


def _replace(path: Path, content: Any) -> None:
    fresh = path.with_suffix(f".{uuid.uuid4().hex[:8]}")
    fresh.write_text(json.dumps(content))
    fresh.replace(path)


def _count(folder: Path) -> int | None:
    """Weights by the headers of the safetensors files; None where there are none."""
    total = None
    for shard in folder.glob("*.safetensors"):
        with shard.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        sizes = [prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"]
        total = (total or 0) + sum(sizes)
    return total
