"""Reads the files of all families: each by itself, so that a broken one leaves the others usable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faq_pipeline.config.family import Family
from faq_pipeline.config.files import defined_twice, load_family
from faq_pipeline.errors import FaqError


@dataclass(frozen=True)
class FamilyFiles:
    """What the files of families hold.

    Attributes:
        families: by name.
        broken: what is wrong with the other files, by family; by file where a family's name is not known.
        files: by family.
    """

    families: Mapping[str, Family]
    broken: Mapping[str, FaqError]
    files: Mapping[str, Path]


@dataclass
class _Found:
    families: dict[str, Family] = field(default_factory=dict)
    broken: dict[str, FaqError] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    """By family."""
    owners: dict[str, str] = field(default_factory=dict)
    """Families by member."""

    def add(self, path: Path) -> None:
        try:
            family = load_family(path)
        except FaqError as error:
            self._refuse(path.stem, path, error)
            return
        name = family.name
        if name in self.files:
            self.families.pop(name, None)
            self.broken[name] = defined_twice(f"family {name!r}", [self.files[name], path], path)
            return
        self.files[name] = path
        twice = next((member.name for member in family.members if member.name in self.owners), None)
        if twice is not None:
            problem = f"member {twice!r} is already in family {self.owners[twice]!r}"
            self._refuse(name, path, FaqError(problem, hint="rename one", file=path))
            return
        self.families[name] = family
        self.owners |= {member.name: name for member in family.members}

    def _refuse(self, name: str, path: Path, error: FaqError) -> None:
        known = name in self.broken or name in self.families
        self.broken[str(path) if known else name] = error


def read_families(files: Sequence[Path]) -> FamilyFiles:
    """The families of the files. A name that two files define is nobody's; a member stays with the first."""
    found = _Found()
    spelled: dict[Path, list[Path]] = {}
    for path in files:
        spelled.setdefault(path.with_suffix(""), []).append(path)
    for paths in spelled.values():
        if len(paths) > 1:  # x.yaml and x.yml
            found.broken[paths[-1].stem] = defined_twice(f"family {paths[-1].stem!r}", paths, paths[-1])
        else:
            found.add(paths[0])
    return FamilyFiles(found.families, found.broken, found.files)
