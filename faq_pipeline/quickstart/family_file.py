"""Writes the family file of a model that no family knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faq_pipeline.config.family import Family, Member
from faq_pipeline.errors import reading_file
from faq_pipeline.quickstart.model_source import ModelSource
from faq_pipeline.quickstart.seeds import find_development
from faq_pipeline.quickstart.written_files import WrittenFiles, is_unedited, write_own, yaml_text
from faq_pipeline.settings import Settings
from faq_pipeline.util.files import ABSENT

COMMENTS = {
    "repositories": "Hub repositories that you named: these may be loaded, and no other of their owners.",
    "memory_budget_gib": "The most that a teacher may take where a recipe leaves the choice to `auto`.",
    "development": "Prompts as the model gets them in use. They are answered, and never calibrated on.",
    "thinking": "Marks around reasoning, as the chat template writes them.",
    "members": "The model and, where there is one, its teacher.",
}


def write_family(
    settings: Settings,
    target: ModelSource,
    teacher: ModelSource | None,
    budget_gib: float,
    by: str,
    record: WrittenFiles,
) -> tuple[str, list[Path]]:
    """The name of the target's family, and the files that were written for it and its teacher.

    A family that is known from elsewhere, or that the user has edited, is used as it is; a teacher
    that it does not know gets a family file of its own.

    Raises:
        FaqError: a file cannot be written.
    """
    files = []

    def write(name: str, models: list[ModelSource], kept: Family | None) -> None:
        members = {member.name: member for member in (kept.members if kept else ())}
        members |= {model.member.name: model.member for model in models}
        path = _path(settings, name)
        context = min(model.facts.context for model in models)
        development = find_development(models[0], settings.own_data, context, record)
        body = yaml_text(_tree(name, models[0], list(members.values()), budget_gib, development), COMMENTS)
        hint = "add the teacher to its members yourself, or move it away"
        write_own(path, body, record, by=by, schema="family", hint=hint)
        files.append(path)

    family = target.family
    ours = family is None or _is_ours(settings, family.name)
    name = target.member.name if family is None else family.name
    knows = family is not None and teacher is not None and family.member(teacher.member.name) is not None
    if ours:
        joined = [target] if teacher is None or (teacher.family and not knows) else [target, teacher]
        write(name, joined, family)
    if teacher is not None and teacher.family is None and not ours:
        write(teacher.member.name, [teacher], None)
    return name, files


def _path(settings: Settings, name: str) -> Path:
    return settings.own_data / "families" / f"{name}.yaml"


def _is_ours(settings: Settings, name: str) -> bool:
    path = _path(settings, name)
    try:
        with reading_file(path):
            return is_unedited(path.read_text(encoding="utf-8"))
    except ABSENT:
        return False


def _tree(
    name: str, target: ModelSource, members: list[Member], budget_gib: float, development: Path
) -> dict[str, Any]:
    thinking = target.facts.thinking
    kwargs = {"template_kwargs": dict(thinking.template_kwargs)} if thinking.template_kwargs else {}
    repositories = [member.hub for member in members if member.hub is not None]
    return {
        "name": name,
        **({"repositories": repositories} if repositories else {}),
        "memory_budget_gib": round(budget_gib, 1) or 0.1,
        "development": development,
        "thinking": {"open": thinking.open, "close": thinking.close, **kwargs},
        "members": [member.model_dump(exclude_defaults=True) for member in members],
    }
