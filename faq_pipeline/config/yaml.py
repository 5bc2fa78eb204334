"""YAML to pydantic, with the line of every mistake."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from faq_pipeline.config.paths import FileText
from faq_pipeline.errors import FaqError, nearest_or_known

Model = TypeVar("Model", bound="Strict")


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    try:
        tree = _parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FaqError("no such file", file=path) from None
    except OSError as error:
        raise FaqError(f"cannot be read: {error.strerror}", file=path) from None
    except UnicodeDecodeError:
        raise FaqError("not valid YAML: not UTF-8 text", file=path) from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error).replace("\n", " ")
        raise FaqError(
            f"not valid YAML: {problem}", file=path, line=mark.line + 1 if mark else None
        ) from None
    if not isinstance(tree, CommentedMap):
        raise FaqError("expected a mapping of keys at the top level", file=path, line=1)
    return tree


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Any:
    """The tree of a YAML text. Remembered: a run asks for the same files in each of its stages."""
    return YAML(typ="rt").load(text)


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
    given = first.get("input")
    shown = f", got {given!r}" if isinstance(given, (str, int, float, bool)) else ""
    if not name:
        return "; ".join(messages), ""
    return f"{name}: {' or '.join(m[0].lower() + m[1:] for m in messages)}{shown}", ""


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
