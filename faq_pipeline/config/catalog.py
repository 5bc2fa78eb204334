"""All families, recipes and studies known here: `data/` of the repository and folders of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from faq_pipeline.config.family import Family, KnownFamilies, Member, WithdrawnMember
from faq_pipeline.config.family_files import FamilyFiles, read_families
from faq_pipeline.config.files import (
    Sources,
    defined_twice,
    mentions,
    read_recipe,
    read_study,
    recipe_under,
    yaml_files,
)
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.config.study import Study
from faq_pipeline.config.yaml import place
from faq_pipeline.errors import FaqError, nearest_of_many

T = TypeVar("T")

LISTINGS = {
    "family": "faq members",
    "member": "faq members",
    "recipe": "faq recipes",
    "study": "faq study list",
}
"""The commands that list what is known, by kind."""


@dataclass(frozen=True)
class Catalog:
    """Families, recipes and studies under one or more data folders.

    Whatever is wrong with a file is that file's problem: the others stay usable. A name that two files
    define is nobody's.
    """

    folders: tuple[Path, ...]
    discovered: Callable[[Mapping[str, Family]], KnownFamilies] = KnownFamilies
    """What discovery adds to the families of the files."""

    @property
    def families(self) -> Mapping[str, Family]:
        """Families by name, with the members that were discovered.

        Raises:
            FaqError: the registry of discovered members is broken.
        """
        return self._as_known.families

    @property
    def written(self) -> Mapping[str, Family]:
        """Families by name, as their files have them, but for those whose file is broken."""
        return self._family_files.families

    @property
    def broken_families(self) -> Mapping[str, FaqError]:
        """What is wrong with the family files that are, by family, or by file where that is not known."""
        return self._family_files.broken

    def family_file(self, name: str) -> Path:
        """The file of a family that is known."""
        return self._family_files.files[name]

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """Recipes by name, but for those whose file is `broken`."""
        return {name: found[0] for name, found in self._read.items() if not isinstance(found, FaqError)}

    @property
    def broken(self) -> dict[str, FaqError]:
        """What is wrong with the recipe files that are, by the files' names without `.yaml`."""
        return {name: found for name, found in self._read.items() if isinstance(found, FaqError)}

    def recipe(self, name: str) -> Recipe:
        """The recipe of that name, or a FaqError that suggests near ones; other files are not read."""
        if name in self._recipe_files:
            return self._found(name)[0]
        return _pick("recipe", name, self.recipes)

    def recipe_with(self, name: str, layers: Sequence[tuple[Mapping[str, Any], Sources]]) -> Recipe:
        """A recipe with layers upon it, see `config.files.recipe_under`; its name stays.

        Raises:
            FaqError: no recipe is called that, or a layer is wrong.
        """
        return recipe_under(self._recipe_files[self.recipe(name).name][0], layers)

    def study(self, name: str) -> tuple[Study, Sources]:
        """The study of that name with its parsed files, or a FaqError that suggests near ones."""
        return read_study(_only(f"study {name!r}", _pick("study", name, self._study_files)))

    @property
    def recipe_names(self) -> list[str]:
        """Names of the recipe files; a file may be broken."""
        return list(self._recipe_files)

    @property
    def study_names(self) -> list[str]:
        """Names of the study files; a file may be broken."""
        return list(self._study_files)

    def check_baselines(self, recipe: Recipe) -> None:
        """Refuse a recipe with a baseline that is none.

        Raises:
            FaqError: no recipe is called that, or its file is broken.
        """
        for name in recipe.baselines:
            try:
                self.recipe(name)
            except FaqError as error:
                if error.file is not None:  # it says itself where it is broken
                    raise
                raise FaqError(error.problem, hint=error.hint, key="baselines") from None

    @contextmanager
    def attach_location(self, recipe: Recipe) -> Iterator[None]:
        """Errors that name a key of the recipe leave with the file and line that set it."""
        try:
            yield
        except FaqError as error:
            if not error.key or error.located or recipe.name not in self._recipe_files:
                raise
            file, line = place(error.key.split("."), self._found(recipe.name)[1])
            problem = error.where + error.problem
            found = FaqError(problem, hint=error.hint, file=file, line=line, key=error.key)
            found.located = True
            raise found from error

    def _found(self, name: str) -> tuple[Recipe, Sources]:
        found = self._known.get(name)
        if found is None:
            try:
                found = read_recipe(_only(f"recipe {name!r}", self._recipe_files[name]))
            except FaqError as error:
                found = error
            self._known[name] = found
        if isinstance(found, FaqError):
            raise found
        return found

    @cached_property
    def _known(self) -> dict[str, tuple[Recipe, Sources] | FaqError]:
        """Recipe files that were asked for, or what is wrong with them: each is parsed once."""
        return {}

    @cached_property
    def _read(self) -> dict[str, tuple[Recipe, Sources] | FaqError]:
        """All recipe files."""
        for name in self._recipe_files:
            with suppress(FaqError):
                self._found(name)
        return {name: self._known[name] for name in self._recipe_files}

    def family(self, name: str) -> Family:
        """The family of that name, or a FaqError: what is wrong with its file, or near names."""
        if name in self.broken_families:
            raise self.broken_families[name]
        return self._of_families("family", name, self.families)

    def member(self, name: str) -> tuple[Family, Member]:
        """The member of that name with its family, or a FaqError that suggests near ones."""
        if name in self.withdrawn:
            raise FaqError(f"member {name!r} is {self.withdrawn[name].reason}", hint="see faq members")
        return self._of_families("member", name, self._members)

    def _of_families(self, kind: str, name: str, among: Mapping[str, T]) -> T:
        """As `_pick`; but a name that a broken family file mentions fails with what is wrong there."""
        if name not in among:
            for error in self.broken_families.values():
                if error.file is not None and mentions(Path(error.file), name):
                    raise error
        return _pick(kind, name, among)

    @property
    def withdrawn(self) -> Mapping[str, WithdrawnMember]:
        """Members that were there and are none now, by name."""
        return self._as_known.withdrawn

    @property
    def discovered_members(self) -> frozenset[str]:
        """Names of the members that no file names."""
        return self._as_known.discovered

    def revision(self, member: Member, rev8: str) -> Member:
        """The member at one of its recorded revisions; as it is now where there is none of that name."""
        return self._as_known.revisions.get(member.name, {}).get(rev8, member)

    @cached_property
    def _members(self) -> dict[str, tuple[Family, Member]]:
        return {m.name: (f, m) for f in self.families.values() for m in f.members}

    @cached_property
    def _as_known(self) -> KnownFamilies:
        return self.discovered(self.written)

    @cached_property
    def _family_files(self) -> FamilyFiles:
        return read_families(self._files("families"))

    @cached_property
    def _recipe_files(self) -> dict[str, list[Path]]:
        return self._by_stem("recipes")

    @cached_property
    def _study_files(self) -> dict[str, list[Path]]:
        return self._by_stem("studies")

    def _files(self, kind: str) -> list[Path]:
        return [path for folder in self.folders for path in yaml_files(folder / kind)]

    def _by_stem(self, kind: str) -> dict[str, list[Path]]:
        """Files by the name that they define; more than one of a name is an error for who asks for it."""
        found: dict[str, list[Path]] = {}
        for path in self._files(kind):
            found.setdefault(path.stem, []).append(path)
        return found


def _only(what: str, files: Sequence[Path]) -> Path:
    """The file, if there is just one.

    Raises:
        FaqError: there are several.
    """
    if len(files) > 1:
        raise defined_twice(what, files, files[-1])
    return files[0]


def _pick(kind: str, name: str, among: Mapping[str, T]) -> T:
    if name in among:
        return among[name]
    raise FaqError(f"unknown {kind} {name!r}", hint=nearest_of_many(name, among, LISTINGS[kind]))
