"""Writes what `faq advise` chose as a recipe of the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from faq_pipeline.advice.candidates import Candidate
from faq_pipeline.config.recipe import NAME
from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.written_files import WrittenFiles, is_unedited, write_own, yaml_text
from faq_pipeline.settings import Settings

HINT = "give another name, or move it away"
COMMAND = "faq advise"


def check_name(settings: Settings, name: str, compared: str) -> None:
    """Refuse a name that cannot be written, before any work.

    Args:
        compared: the recipe whose data is compared.

    Raises:
        FaqError: it is no name of a recipe, or there is a recipe of that name that this did not write.
    """
    if not re.fullmatch(NAME, name):
        raise FaqError(f"--save {name!r}: no name of a recipe", hint="as in my-model-w4a16, without .yaml")
    path = _path(settings, name)
    text = path.read_text(encoding="utf-8") if path.is_file() else None
    if text is not None and not is_unedited(text):
        raise FaqError("this file was edited, and is not replaced", hint=HINT, file=path)
    ours = text is not None and f"`{COMMAND}" in text and name != compared
    if not ours and name in settings.catalog.recipe_names:
        raise FaqError(f"--save {name}: there is a recipe of that name", hint="give another name")


def write_choice(settings: Settings, choice: Candidate, name: str, why: str) -> Path:
    """Write the recipe that makes the chosen set at its whole size; returns its file.

    Args:
        why: it was chosen, in words.

    Raises:
        FaqError: see `check_name`; or the file cannot be written.
    """
    recipe = choice.whole.recipe
    known = settings.catalog.recipe(recipe.name)
    # Baselines have as many seeds and tokens; and seeds as they are have none: they are one.
    sizes = [
        (one.seeds.count, one.calibration.tokens, one.calibration.sequence_length) for one in (known, recipe)
    ]
    comparable = recipe.regeneration.generates and sizes[0] == sizes[1]
    tree: dict[str, Any] = {
        "name": name,
        "title": f"As {recipe.name}, with source {choice.source} and selection {choice.selection}",
        "baselines": known.baselines if comparable else [],
        **recipe.model_dump(mode="json", exclude_defaults=True, exclude={"name", "title", "baselines"}),
    }
    member = choice.whole.target.member.name
    body = yaml_text(tree, {"title": f"Chosen for {member}: {why}."})
    path = _path(settings, name)
    write_own(path, body, WrittenFiles(), by=f"{COMMAND} {member} --save {name}", schema="recipe", hint=HINT)
    return path


def _path(settings: Settings, name: str) -> Path:
    return settings.own_data / "recipes" / f"{name}.yaml"
