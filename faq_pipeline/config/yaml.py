"""YAML to pydantic, with the line of every mistake."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from faq_pipeline.config.bounded_yaml import MOST_BYTES, BadYamlError, parse
from faq_pipeline.config.paths import FileText
from faq_pipeline.errors import FaqError, nearest_or_known

Model = TypeVar("Model", bound="Strict")

ENDPOINT = "endpoint"
"""Section of a recipe in which values may be secrets."""
WITHHELD = "withheld"
"""Type of a validation error whose value may be a secret and is not told."""
SHOWN = 80
"""Characters of a wrong value that a message repeats."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def read(path: Path) -> CommentedMap:
    """Parse a YAML file into a mapping that remembers its lines.

    Raises:
        FaqError: the file is missing, is not YAML, or its top level is not a mapping.
    """
    return deepcopy(look(path))


def look(path: Path) -> CommentedMap:
    """As `read`, for those who change nothing: the tree is shared, which is quicker by far.

    Raises:
        FaqError: as `read`.
    """
    text = read_text(path)
    try:
        tree = parse(text)
    except BadYamlError as error:
        raise FaqError(error.problem, hint=error.hint, file=path, line=error.line) from None
    if not isinstance(tree, CommentedMap):
        raise FaqError("expected a mapping of keys at the top level", file=path, line=1)
    return tree


def read_text(path: Path) -> str:
    """The text of a YAML file, with line feeds.

    Raises:
        FaqError: it is missing, too large, no file or not UTF-8, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise FaqError("cannot be read: not a file", file=path)
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise FaqError("no such file", file=path) from None
    except OSError as error:
        raise FaqError(f"cannot be read: {error.strerror}", file=path) from None
    if len(content) > MOST_BYTES:
        raise FaqError(f"larger than {MOST_BYTES // 2**20} MiB", file=path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FaqError("not valid YAML: not UTF-8 text", file=path, line=line) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def validate(tree: Any, model: type[Model], sources: list[tuple[Path, CommentedMap]]) -> Model:
    """Check `tree` (plain data) against `model`.

    Args:
        sources: the parsed files that `tree` was merged from, nearest first; an error is
            reported at the line of the first that holds the offending key.

    Raises:
        FaqError: the first mistake, with its file, line and hint.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first, *others = _by_weight(error)
        location = _given(first, tree)
        same = [other for other in others if _given(other, tree) == location]
        file, line = place(location, sources)
        problem, hint = explain(first, location, model, same)
        raise FaqError(problem, hint=hint, file=file, line=line) from None


def plain(node: Any, folder: Path | None = None) -> Any:
    """A parsed YAML tree as ordinary dicts, lists and scalars.

    Args:
        folder: of the file; strings then remember it, for the paths among them (`config.paths`).
    """
    if isinstance(node, dict):
        return {str(key): plain(value, folder) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value, folder) for value in node]
    if isinstance(node, str):
        return str(node) if folder is None else FileText.of(node, folder)
    return node


def commented(tree: Mapping[str, Any]) -> CommentedMap:
    """A tree that was made in Python in the form of a parsed file; every key is on line 1."""
    return CommentedMap({k: commented(v) if isinstance(v, Mapping) else v for k, v in tree.items()})


def _by_weight(error: ValidationError) -> list[ErrorDetails]:
    """The mistakes, unknown keys first: a misspelt key says more than the key that it leaves missing."""
    return sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")


def _given(mistake: ErrorDetails, tree: Any) -> tuple[int | str, ...]:
    """Where the mistake is, without the labels that pydantic adds for the members of a union."""
    location = tuple(mistake["loc"])
    if mistake["type"] == "missing":
        return location
    node = tree
    for depth, step in enumerate(location):
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return location[:depth]
    return location


def place(location: Sequence[int | str], sources: Sequence[tuple[Path, CommentedMap]]) -> tuple[Path, int]:
    """The file and 1-based line that comes closest to `location`."""
    best: tuple[int, Path, int] = (-1, sources[0][0], 1)
    for path, tree in sources:
        node: Any = tree
        depth, line = 0, 1
        for step in location:
            if isinstance(node, CommentedMap) and step in node:
                line = _key_line(node, step, line)
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                line = node.lc.item(step)[0] + 1
            else:
                break
            node = node[step]
            depth += 1
        if depth > best[0]:
            best = (depth, path, line)
    return best[1], best[2]


def _key_line(node: CommentedMap, key: int | str, around: int) -> int:
    """The line of a key; a key that came by a merge (`<<`) has none of its own."""
    place = (node.lc.data or {}).get(key)
    return place[0] + 1 if place else around


def explain(
    first: ErrorDetails,
    location: tuple[int | str, ...],
    model: type[BaseModel],
    same: Sequence[ErrorDetails] = (),
) -> tuple[str, str]:
    """Problem and hint of one mistake; `same`: what other members of a union say of the same place."""
    name = ".".join(str(step) for step in location)
    if first["type"] == "extra_forbidden":
        known = _keys_beside(location, model)
        hint = nearest_or_known(str(location[-1]), known, "known keys")
        return f"unknown key {name!r}", hint if known else "remove it"
    if first["type"] == "missing":
        return f"missing key {name!r}", "add it"
    messages = dict.fromkeys(one["msg"].removeprefix("Value error, ") for one in (first, *same))
    secretive = first["type"] == WITHHELD or ENDPOINT in location
    shown = "" if secretive else _got(first.get("input"))
    if not name:
        return "; ".join(messages), ""
    return f"{name}: {' or '.join(m[0].lower() + m[1:] for m in messages)}{shown}", ""


def _got(value: Any) -> str:
    """A wrong value as the end of a message; nothing if it is not a scalar."""
    if not isinstance(value, (str, int, float, bool)):
        return ""
    text = repr(value)
    return f", got {text if len(text) <= SHOWN else text[:SHOWN] + '...'}"


def _keys_beside(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The keys that the model allows where an unknown one stood."""
    here: Any = model
    for step in location[:-1]:
        if isinstance(step, int):
            continue
        field = here.model_fields.get(step)
        if field is None:
            return []
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not models:
            return []
        here = models[0]
    return list(here.model_fields)
