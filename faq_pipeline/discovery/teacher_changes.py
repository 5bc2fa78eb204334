"""Finds members whose teacher changes when the family changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from faq_pipeline.config.family import Family, Member
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.core.resolver import auto_teacher
from faq_pipeline.errors import FaqError


@dataclass(frozen=True)
class TeacherChange:
    """Members whose teacher `auto` is now another member, or the same member at another commit.

    Attributes:
        members: names of the targets.
        before, now: the teacher as `name@rev8`; `now` is "" where none is left.
        recipes: names of those that regenerate with teacher `auto`.
    """

    members: tuple[str, ...]
    before: str
    now: str
    recipes: tuple[str, ...]

    def __str__(self) -> str:
        teacher = f"the teacher is now {self.now}" if self.now else "no teacher is left"
        return (
            f"stale corpora of {', '.join(self.members)}: {teacher}, it was {self.before};"
            f" recipes {', '.join(self.recipes)}"
        )


def teacher_changes(
    before: Family, after: Family, moved: Mapping[str, str], recipes: Iterable[Recipe]
) -> list[TeacherChange]:
    """Compare the teachers of a family's members before and after a change.

    Members that had no teacher before have no corpus that could be stale.

    Args:
        moved: members that are at another commit now, with that commit.
    """
    concerned = tuple(
        recipe.name
        for recipe in recipes
        if after.name in recipe.families and recipe.regeneration.follows_family
    )
    changes: dict[tuple[str, str], list[str]] = {}
    for member in after.members:
        old = before.member(member.name)
        was, now = _teacher(before, old, {}), _teacher(after, member, moved)
        if concerned and was and was != now:
            changes.setdefault((was, now), []).append(member.name)
    return [TeacherChange(tuple(names), was, now, concerned) for (was, now), names in changes.items()]


def _teacher(family: Family, target: Member | None, moved: Mapping[str, str]) -> str:
    try:
        teacher = auto_teacher(family, target) if target is not None else None
    except FaqError:
        teacher = None
    if teacher is None:
        return ""
    # A folder's member says no revision: it is told where it has changed.
    commit = moved.get(teacher.name) or teacher.revision
    return f"{teacher.name}@{commit[:8]}" if commit else teacher.name
