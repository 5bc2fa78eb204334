"""Writes what `faq advise` chose as a recipe of the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from faq_pipeline.advice.candidates import Candidate
from faq_pipeline.config.recipe import NAME
from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.written_files import SCHEMAS, is_unedited, write_own, yaml_text
from faq_pipeline.settings import Settings

HINT = "give another name, or move it away"


def check_name(settings: Settings, name: str) -> None:
    """Refuse a name that cannot be written, before any work.

    Raises:
        FaqError: it is no name of a recipe, another folder has a recipe of that name, or the file was edited.
    """
    if not re.fullmatch(NAME, name):
        raise FaqError(f"--save {name!r}: no name of a recipe", hint="as in my-model-w4a16, without .yaml")
    path = _path(settings, name)
    if path.is_file():
        if not is_unedited(path.read_text(encoding="utf-8")):
            raise FaqError("this file was edited, and is not replaced", hint=HINT, file=path)
    elif name in settings.catalog.recipe_names:
        raise FaqError(f"--save {name}: there is a recipe of that name", hint="give another name")


def write_choice(settings: Settings, choice: Candidate, name: str, why: str) -> Path:
    """Write the recipe that makes the chosen set at its whole size; returns its file.

    Args:
        why: it was chosen, in words.

    Raises:
        FaqError: see `check_name`; or the file cannot be written.
    """
    recipe = choice.whole.recipe
    tree: dict[str, Any] = {
        "name": name,
        "title": f"As {recipe.name}, with source {choice.source} and selection {choice.selection}",
        # Seeds as they are have no baseline: they are one.
        "baselines": settings.catalog.recipe(recipe.name).baselines if recipe.regeneration.generates else [],
        **recipe.model_dump(mode="json", exclude_defaults=True, exclude={"name", "title", "baselines"}),
    }
    member = choice.whole.target.member.name
    body = yaml_text(tree, {"title": f"Chosen for {member}: {why}."})
    path = _path(settings, name)
    write_own(path, body, by=f"faq advise {member} --save {name}", schema=SCHEMAS / "recipe.json", hint=HINT)
    return path


def _path(settings: Settings, name: str) -> Path:
    return settings.own_data / "recipes" / f"{name}.yaml"
