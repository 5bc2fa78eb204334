"""Locate the data files of a task YAML: `dataset_kwargs.data_files`, relative to the YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from faq_pipeline.errors import FaqError


def with_absolute_files(tree: CommentedMap, path: Path, cache: Path) -> CommentedMap:
    """Make the local data files in the tree of the YAML `path` absolute, and set the datasets cache.

    Raises:
        FaqError: a data file does not exist or is empty.
    """
    section = tree.get("dataset_kwargs")
    if isinstance(section, dict) and "data_files" in section:
        section["data_files"] = _each(section["data_files"], lambda name: _located(name, path, section))
        section["cache_dir"] = str(cache)
    return tree


def data_files(tree: CommentedMap, path: Path) -> list[Path]:
    """The local data files that the YAML `path` names, with patterns expanded.

    Raises:
        FaqError: a data file does not exist or is empty.
    """
    return _listed(with_absolute_files(tree, path, path.parent).get("dataset_kwargs"))


def evaluated_files(tree: Mapping[str, Any]) -> list[Path]:
    """The data files of the evaluated split, from a merged tree with absolute paths."""
    section = tree.get("dataset_kwargs")
    split = tree.get("test_split") or tree.get("validation_split")
    if isinstance(section, dict) and isinstance(section.get("data_files"), dict) and split:
        return _listed({"data_files": section["data_files"].get(split, [])})
    return _listed(section)


def _listed(section: Any) -> list[Path]:
    found: list[Path] = []

    def note(name: str) -> str:
        path = Path(name)
        if "://" not in name:
            found.extend(sorted(path.parent.glob(path.name)) if _is_pattern(name) else [path])
        return name

    if isinstance(section, dict):
        _each(section.get("data_files", []), note)
    return found


def _located(name: str, path: Path, section: Any) -> str:
    if "://" in name:
        return name
    found = (path.parent / name).resolve()
    line = section.lc.line + 1 if isinstance(section, CommentedMap) else None
    if not found.is_file() and not _is_pattern(name):
        raise FaqError(f"data file {name!r} does not exist", hint=f"expected {found}", file=path, line=line)
    if found.is_file() and not found.stat().st_size:
        raise FaqError(f"data file {name!r} is empty", hint=f"it is {found}", file=path, line=line)
    return str(found)


def _each(node: Any, change: Callable[[str], str]) -> Any:
    """Apply `change` to every name in `data_files`, which may be a name, a list, or a mapping by split."""
    if isinstance(node, dict):
        return {key: _each(value, change) for key, value in node.items()}
    if isinstance(node, list):
        return [_each(value, change) for value in node]
    return change(str(node))


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")
