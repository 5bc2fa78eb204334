"""All families and recipes that are known here: `data/` of the repository and folders of the user's."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml.comments import CommentedMap

from faq_pipeline.config.family import Family, Member
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.config.yaml import plain, read, validate
from faq_pipeline.errors import FaqError

T = TypeVar("T")

PATH_KEYS = {"path", "include", "prose", "development"}


def load_family(path: Path) -> Family:
    """Read one family's YAML; relative paths are relative to the file.

    Raises:
        FaqError: naming file, line and mend.
    """
    tree = read(path)
    return validate(_resolved(plain(tree), path.parent), Family, [(path, tree)])


def load_recipe(path: Path) -> Recipe:
    """Read one recipe's YAML. `extends: other` starts from `other.yaml` beside it, merging mappings.

    A null takes the parent's key away; `experts` replaces the parent's experts as a whole.

    Raises:
        FaqError: naming file, line and mend.
    """
    merged, sources = _merged(path, seen=())
    if merged.get("name") != path.stem:
        line = sources[0][1].lc.key("name")[0] + 1 if "name" in sources[0][1] else 1
        raise FaqError(
            f"the recipe's name is {merged.get('name')!r}",
            mend=f"a recipe is named after its file: name: {path.stem}",
            file=path,
            line=line,
        )
    return validate(merged, Recipe, sources)


def _merged(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], list[tuple[Path, CommentedMap]]]:
    tree = read(path)
    own = _resolved(plain(tree), path.parent)
    parent = own.pop("extends", None)
    if parent is None:
        return own, [(path, tree)]
    parent_path = path.parent / f"{parent}.yaml"
    line = tree.lc.key("extends")[0] + 1
    if parent_path in (*seen, path):
        raise FaqError(f"'extends: {parent}' goes in a circle", file=path, line=line)
    if not parent_path.is_file():
        raise FaqError(
            f"'extends: {parent}' names no recipe", mend=f"no {parent_path.name} here", file=path, line=line
        )
    base, sources = _merged(parent_path, (*seen, path))
    return _overlay(base, own), [(path, tree), *sources]


def _overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid upon `base`: mappings merge, all else replaces; an explicit null takes a key away."""
    out = dict(base)
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict) and key != "experts":
            out[key] = _overlay(out[key], value)
        else:
            out[key] = value
    return out


def _resolved(node: Any, folder: Path) -> Any:
    """The tree with relative paths made absolute, so that a merged recipe keeps each file's own base."""
    if isinstance(node, dict):
        return {
            key: str((folder / value).resolve())
            if key in PATH_KEYS and isinstance(value, str)
            else _resolved(value, folder)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_resolved(value, folder) for value in node]
    return node


@dataclass(frozen=True)
class Catalog:
    """Families and recipes under one or more data folders; a name in a later folder must be new."""

    folders: tuple[Path, ...]

    @cached_property
    def families(self) -> dict[str, Family]:
        """Families by name.

        Raises:
            FaqError: a file is wrong, or two define the same family or member.
        """
        found: dict[str, Family] = {}
        owner: dict[str, str] = {}
        for path in self._files("families"):
            family = load_family(path)
            if family.name in found:
                raise FaqError(f"family {family.name!r} is defined twice", mend="rename one", file=path)
            for member in family.members:
                if member.name in owner:
                    raise FaqError(
                        f"member {member.name!r} is already in family {owner[member.name]!r}",
                        mend="rename one",
                        file=path,
                    )
                owner[member.name] = family.name
            found[family.name] = family
        return found

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """Recipes by name; raises FaqError as `load_recipe` does."""
        found: dict[str, Recipe] = {}
        for path in self._files("recipes"):
            recipe = load_recipe(path)
            if recipe.name in found:
                raise FaqError(f"recipe {recipe.name!r} is defined twice", mend="rename one", file=path)
            found[recipe.name] = recipe
        return found

    def recipe(self, name: str) -> Recipe:
        """The recipe of that name, or a FaqError that suggests near ones; other files are not read."""
        if name not in self._known:
            files = [path for path in self._files("recipes") if path.stem == name]
            one = load_recipe(files[0]) if len(files) == 1 else _pick("recipe", name, self.recipes)
            self._known[name] = one
        return self._known[name]

    @cached_property
    def _known(self) -> dict[str, Recipe]:
        """Recipes that were asked for by name: each file is parsed once."""
        return {}

    def member(self, name: str) -> tuple[Family, Member]:
        """The member of that name with its family, or a FaqError that suggests near ones."""
        members = {m.name: (f, m) for f in self.families.values() for m in f.members}
        return _pick("member", name, members)

    def _files(self, kind: str) -> list[Path]:
        return [path for folder in self.folders for path in sorted((folder / kind).glob("*.yaml"))]


def _pick(kind: str, name: str, among: Mapping[str, T]) -> T:
    if name in among:
        return among[name]
    near = difflib.get_close_matches(name, among, n=1)
    mend = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(among))}"
    raise FaqError(f"unknown {kind} {name!r}", mend=mend)
