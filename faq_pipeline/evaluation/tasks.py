"""The lm-eval task YAMLs of a folder: the files of each task, and copies that lm-eval can load.

lm-eval resolves `data_files` against the working directory; here they are relative to the YAML that
names them. So the copies contain absolute paths. They also set a separate folder for the datasets cache,
so that no stale or foreign cache is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from faq_pipeline.config.files import SUFFIXES, mentions
from faq_pipeline.config.yaml import look, plain, read
from faq_pipeline.errors import FaqError, nearest_or_known
from faq_pipeline.evaluation.task_data import data_files, evaluated_files, with_absolute_files
from faq_pipeline.store.fingerprint import file_digest, short_hash
from faq_pipeline.util.memoize import memoized


@dataclass(frozen=True)
class TaskSource:
    """One task: its evaluated data files, and its templates (None if a function is used instead)."""

    name: str
    evaluated: list[Path]
    question: str | None
    answer: str | None
    generates: bool
    """Whether the model generates its answer, rather than choosing an option."""


@dataclass(frozen=True)
class TaskFolder:
    """The task YAMLs under `root`, indexed by the names that they define."""

    root: Path

    @memoized
    def digests(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Digests of all files that each task depends on: its YAMLs, their modules and data files.

        Raises:
            FaqError: a task is unknown, or a file that it names does not exist.
        """
        return {name: sorted({file_digest(path) for path in self._files(name)}) for name in names}

    def resolve(self, names: Sequence[str], folder: Path) -> None:
        """Write copies of the tasks' YAMLs with absolute paths into `folder`.

        Raises:
            FaqError: see `digests`.
        """
        for path in {path: None for name in names for path in self._yamls(name)}:
            tree = with_absolute_files(read(path), path, folder / "cache")
            if "include" in tree:
                tree["include"] = [str(_copy_of(p, folder)) for p in _included(path, tree)]
            copy = _copy_of(path, folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("w", encoding="utf-8") as file:
                YAML(typ="rt").dump(tree, file)
            for module in path.parent.glob("*.py"):
                shutil.copy(module, copy.parent)

    def sources(self, name: str) -> list[TaskSource]:
        """The tasks of a name (several for a group or tag), found without loading lm-eval.

        Raises:
            FaqError: see `digests`.
        """
        found = []
        for path in dict.fromkeys(self._yamls(name)):
            tree = _merged(path)
            if isinstance(tree.get("task"), str):
                templates = [tree.get(key) for key in ("doc_to_text", "doc_to_target")]
                question, answer = (t if isinstance(t, str) else None for t in templates)
                generates = tree.get("output_type", "generate_until") == "generate_until"
                found.append(TaskSource(tree["task"], evaluated_files(tree), question, answer, generates))
        return found

    @cached_property
    def _paths(self) -> list[Path]:
        return sorted(path for suffix in SUFFIXES for path in self.root.glob(f"**/*{suffix}"))

    @cached_property
    def _index(self) -> dict[str, list[Path]]:
        """YAMLs by the name of their task, group or tag; a tag may have several. Broken ones have none."""
        found: dict[str, list[Path]] = {}
        for path in self._paths:
            try:
                tree = look(path)
            except FaqError:
                continue
            for name in [tree.get("group"), tree.get("task"), *_listed(tree.get("tag"))]:
                if isinstance(name, str):
                    found.setdefault(name, []).append(path)
        return found

    def _files(self, name: str) -> Iterator[Path]:
        for path in self._yamls(name):
            yield path
            yield from data_files(read(path), path)
            if "!function" in path.read_text(encoding="utf-8"):
                yield from path.parent.glob("*.py")

    def _yamls(self, name: str, seen: frozenset[str] = frozenset()) -> Iterator[Path]:
        """The YAMLs of a task, group or tag, and the YAMLs that they include."""
        if name not in self._index:
            for path in self._paths:
                if mentions(path, name):
                    look(path)  # raises if it is broken
            hint = nearest_or_known(name, self._index)
            raise FaqError(f"unknown task {name!r}", hint=hint, file=self.root, key="evaluation.tasks")
        for path in self._index[name]:
            yield from _with_included(path)
            for member in _members(look(path)):
                if member in self._index and member not in seen:
                    yield from self._yamls(member, seen | {name})


def _members(tree: CommentedMap) -> list[str]:
    """The names that a group's YAML lists under `task`."""
    task = tree.get("task")
    listed = task if isinstance(task, list) else []
    names = [m.get("task", m.get("group")) if isinstance(m, dict) else m for m in listed]
    return [name for name in names if isinstance(name, str)]


def _with_included(path: Path, seen: tuple[Path, ...] = ()) -> Iterator[Path]:
    if path in seen:
        raise FaqError("its 'include' goes in a circle", file=path)
    yield path
    for other in _included(path, look(path)):
        yield from _with_included(other, (*seen, path))


def _merged(path: Path) -> dict[str, Any]:
    """The YAML merged over those that it includes, with absolute data files."""
    tree = read(path)
    merged: dict[str, Any] = {}
    for other in _included(path, tree):
        merged |= _merged(other)
    return merged | plain(with_absolute_files(tree, path, path.parent))


def _included(path: Path, tree: CommentedMap) -> list[Path]:
    return [(path.parent / name).resolve() for name in _listed(tree.get("include"))]


def _copy_of(path: Path, folder: Path) -> Path:
    """lm-eval looks for `.yaml` alone."""
    return folder / short_hash(str(path.parent.resolve()).encode()) / f"{path.stem}.yaml"


def _listed(node: Any) -> list[str]:
    return [str(item) for item in node] if isinstance(node, list) else [str(node)] if node else []
