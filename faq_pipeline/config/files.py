"""The YAML files of families, recipes and studies: read, merged with what they extend, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from faq_pipeline.config.family import Family
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.config.study import Study, names_used, wrong_draws
from faq_pipeline.config.yaml import look, place, plain, read_text, validate
from faq_pipeline.errors import FaqError, nearest_or_known

SUFFIXES = (".yaml", ".yml")
"""Spellings of a YAML file's suffix; both mean the same."""
MOST_PARENTS = 20
"""Files that a file may extend, one the other."""

Sources = list[tuple[Path, CommentedMap]]
"""Parsed files, those that take precedence first."""


def load_family(path: Path) -> Family:
    """Read one family's YAML; relative paths are relative to the file.

    Raises:
        FaqError: naming file, line and hint.
    """
    tree = look(path)
    return validate(plain(tree, path.parent), Family, [(path, tree)])


def load_recipe(path: Path) -> Recipe:
    """Read one recipe's YAML. `extends: other` starts from `other.yaml` beside it, merging mappings.

    A null takes the parent's key away; `experts` replaces the parent's experts as a whole.

    Raises:
        FaqError: naming file, line and hint.
    """
    return read_recipe(path)[0]


def read_recipe(path: Path) -> tuple[Recipe, Sources]:
    """As `load_recipe`, with the parsed files that the recipe was merged from, nearest first."""
    merged, sources = _named(path, "recipe")
    recipe = validate(merged, Recipe, sources)
    if recipe.name in recipe.baselines:
        file, line = place(["baselines"], sources)
        inherited = "" if file == path else f", since {path.stem} extends {file.stem}"
        raise FaqError(
            f"recipe {recipe.name!r} is its own baseline{inherited}",
            hint=f"write baselines: null in {path.name}",
            file=file,
            line=line,
        )
    return recipe, sources


def read_study(path: Path) -> tuple[Study, Sources]:
    """Read one study's YAML, which may extend another as a recipe does; with its parsed files.

    Raises:
        FaqError: naming file, line and hint.
    """
    merged, sources = _named(path, "study")
    study = validate(merged, Study, sources)
    for where, kind, known, name in names_used(study):
        if name not in known:
            file, line = place(where, sources)
            hint = nearest_or_known(name, known)
            raise FaqError(f"unknown {kind} {name!r}", hint=hint, file=file, line=line)
    for where, problem, hint in wrong_draws(study):
        file, line = place(where, sources)
        raise FaqError(problem, hint=hint, file=file, line=line)
    return study, sources


def recipe_under(path: Path, layers: Sequence[tuple[Mapping[str, Any], Sources]]) -> Recipe:
    """The recipe of a file with other layers upon it, by the rules of `extends`.

    Args:
        layers: from the lowest to the topmost; each with the parsed trees that it was made from.

    Raises:
        FaqError: naming file and line of the layer that is wrong.
    """
    tree, sources = _merged(path, seen=())
    for layer, its_sources in layers:
        tree, sources = overlay(tree, layer), [*its_sources, *sources]
    return validate(tree, Recipe, sources)


def _named(path: Path, kind: str) -> tuple[dict[str, Any], Sources]:
    """The merged tree of a file that is named after what it defines."""
    merged, sources = _merged(path, seen=())
    if merged.get("name") != path.stem:
        given = merged.get("name")
        line = place(["name"], sources[:1])[1]
        raise FaqError(
            f"the {kind}'s name is {repr(given)[:80] if isinstance(given, str) else 'missing or no text'}",
            hint=f"a {kind} is named after its file: name: {path.stem}",
            file=path,
            line=line,
        )
    return merged, sources


def _merged(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], Sources]:
    tree = look(path)
    own = plain(tree, path.parent)
    parent = own.pop("extends", None)
    if parent is None:
        return own, [(path, tree)]
    line = place(["extends"], [(path, tree)])[1]
    parent_path = _beside(path, parent, line)
    if parent_path in (*seen, path):
        raise FaqError(f"'extends: {parent}' goes in a circle", file=path, line=line)
    if len(seen) == MOST_PARENTS:
        raise FaqError(f"extends more than {MOST_PARENTS} files", file=path, line=line)
    base, sources = _merged(parent_path, (*seen, path))
    return overlay(base, own), [(path, tree), *sources]


def _beside(path: Path, name: Any, line: int) -> Path:
    """The YAML file of that name in the folder of another."""
    found: list[Path] = []
    if isinstance(name, str):
        with suppress(OSError):  # a name that is too long
            found = [one for suffix in SUFFIXES if (one := path.parent / f"{name}{suffix}").is_file()]
    if not found:
        hint = f"no {name}.yaml here" if isinstance(name, str) else "it is a name: extends: other"
        raise FaqError(f"'extends: {str(name)[:80]}' names no file", hint=hint[:120], file=path, line=line)
    if len(found) > 1:
        raise defined_twice(f"{name!r}", found, path, line)
    return found[0]


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files in a folder, in the order of their names."""
    return sorted(path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}"))


def mentions(path: Path, name: str) -> bool:
    """Whether a file that cannot be parsed holds a name; not if it cannot be read."""
    try:
        return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", read_text(path)) is not None
    except FaqError:
        return False


def defined_twice(what: str, files: Sequence[Path], at: Path, line: int | None = None) -> FaqError:
    """The error for what several files define, told at one place."""
    others = " and ".join(str(file) for file in files if file != at)
    return FaqError(f"{what} is defined twice, by {others} too", hint="rename one", file=at, line=line)


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid upon `base`: mappings merge but for experts, all else replaces; a null takes a key away."""
    out = dict(base)
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(out.get(key), Mapping) and key != "experts":
            out[key] = overlay(out[key], value)
        else:
            out[key] = value
    return out
