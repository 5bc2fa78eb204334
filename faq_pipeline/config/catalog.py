"""All families, recipes and studies known here: `data/` of the repository and folders of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from faq_pipeline.config.family import Family, KnownFamilies, Member, WithdrawnMember
from faq_pipeline.config.files import Sources, load_family, read_recipe, read_study, recipe_under
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.config.study import Study
from faq_pipeline.config.yaml import place
from faq_pipeline.errors import FaqError, nearest_or_known

T = TypeVar("T")


@dataclass(frozen=True)
class Catalog:
    """Families and recipes under one or more data folders; a name in a later folder must be new."""

    folders: tuple[Path, ...]
    discovered: Callable[[Mapping[str, Family]], KnownFamilies] = KnownFamilies
    """What discovery adds to the families of the files."""

    @property
    def families(self) -> Mapping[str, Family]:
        """Families by name, with the members that were discovered.

        Raises:
            FaqError: as for `written`, or the registry of discovered members is broken.
        """
        return self._as_known.families

    @cached_property
    def written(self) -> dict[str, Family]:
        """Families by name, as their files have them.

        Raises:
            FaqError: a file is wrong, or two define the same family or member.
        """
        found: dict[str, Family] = {}
        owner: dict[str, str] = {}
        for path in self._files("families"):
            family = load_family(path)
            if family.name in found:
                raise FaqError(f"family {family.name!r} is defined twice", hint="rename one", file=path)
            for member in family.members:
                if member.name in owner:
                    raise FaqError(
                        f"member {member.name!r} is already in family {owner[member.name]!r}",
                        hint="rename one",
                        file=path,
                    )
                owner[member.name] = family.name
            found[family.name] = family
        return found

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """Recipes by name, but for those whose file is `broken`.

        Raises:
            FaqError: two files define the same recipe.
        """
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
        return recipe_under(self._recipe_files[self.recipe(name).name], layers)

    def study(self, name: str) -> tuple[Study, Sources]:
        """The study of that name with its parsed files, or a FaqError that suggests near ones."""
        return read_study(_pick("study", name, self.study_files))

    @cached_property
    def study_files(self) -> dict[str, Path]:
        """Study files by the name that they define.

        Raises:
            FaqError: two of a name.
        """
        return self._by_stem("studies", "study")

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
            if not error.key or recipe.name not in self._recipe_files:
                raise
            file, line = place(error.key.split("."), self._found(recipe.name)[1])
            raise FaqError(error.where + error.problem, hint=error.hint, file=file, line=line) from error

    def _found(self, name: str) -> tuple[Recipe, Sources]:
        found = self._known.get(name)
        if found is None:
            try:
                found = read_recipe(self._recipe_files[name])
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
        """The family of that name, or a FaqError that suggests near ones."""
        return _pick("family", name, self.families)

    def member(self, name: str) -> tuple[Family, Member]:
        """The member of that name with its family, or a FaqError that suggests near ones."""
        if name in self.withdrawn:
            raise FaqError(f"member {name!r} is {self.withdrawn[name].reason}", hint="see faq members")
        return _pick("member", name, self._members)

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

    def _files(self, kind: str) -> list[Path]:
        return [path for folder in self.folders for path in sorted((folder / kind).glob("*.yaml"))]

    @cached_property
    def _recipe_files(self) -> dict[str, Path]:
        """Recipe files by the name that they define.

        Raises:
            FaqError: two of a name.
        """
        return self._by_stem("recipes", "recipe")

    def _by_stem(self, folder: str, kind: str) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in self._files(folder):
            if path.stem in found:
                raise FaqError(f"{kind} {path.stem!r} is defined twice", hint="rename one", file=path)
            found[path.stem] = path
        return found


def _pick(kind: str, name: str, among: Mapping[str, T]) -> T:
    if name in among:
        return among[name]
    raise FaqError(f"unknown {kind} {name!r}", hint=nearest_or_known(name, among))
