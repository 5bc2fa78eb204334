"""Finds the model that a user names: a member's name, a model folder, or a hub id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.family import Family, Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models import hub
from faq_pipeline.models.member_folder import weight_files
from faq_pipeline.models.weights import Weights
from faq_pipeline.quickstart.hub_repository import look_up, small_files
from faq_pipeline.quickstart.model_facts import (
    ModelFacts,
    chat_template,
    model_facts,
    stated_licence,
    thinking_of,
    usable_template,
)
from faq_pipeline.quickstart.written_files import is_unedited
from faq_pipeline.registry.naming import member_name

HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
"""OWNER/NAME; a path that begins with a dot is none."""


@dataclass(frozen=True)
class ModelSource:
    """A model that a user named.

    Attributes:
        named: as the user wrote it.
        member: as a family file has it. A member of a known family has that family's settings.
        family: the family that knows it; None where none does.
        facts: what its files say.
        folder: where these are; of a hub repository that is not here, all but its weights.
        size: bytes that are to be downloaded; 0 where it is here.
    """

    named: str
    member: Member
    family: Family | None
    facts: ModelFacts
    folder: Path
    size: int = 0

    @property
    def repository(self) -> str | None:
        """The hub repository, where it is one."""
        return self.member.hub


def find_model(
    named: str, catalog: Catalog, home: Path, digests: Path, given: Path | None = None
) -> ModelSource:
    """The model of that name, folder or hub id.

    Args:
        home: where small files of a hub repository are kept.
        digests: as the cache of `find_weights`.
        given: a chat template for a model that has none of its own; others keep theirs.

    Raises:
        FaqError: there is none; its files are unusable, or the hub does not offer it.
    """
    folder = Path(named).expanduser()
    known = _members(catalog.families)
    if folder.is_dir():
        place = folder.resolve()
        family, member = next(
            ((f, m) for f, m in known if m.path is not None and m.path.resolve() == place), (None, None)
        )
        return _in_folder(named, place, family, member, catalog, digests, given)
    if named in {m.name for _, m in known}:
        family, member = catalog.member(named)
        if member.path is not None:
            return _in_folder(named, member.path, family, member, catalog, digests, given)
        return _on_hub(named, family, member, home, given)
    if HUB_ID.fullmatch(named) and not folder.exists():
        family, member = next(((f, m) for f, m in known if m.hub == named), (None, None))
        if member is None:
            member = _new_hub_member(named, {m.name for _, m in known})
        return _on_hub(named, family, member, home, given)
    if folder.exists():
        raise FaqError(
            "this is a file", hint="name the folder with config.json and *.safetensors", file=folder
        )
    raise FaqError(
        f"no model {named!r}", hint="a folder with config.json and *.safetensors, or a hub id as owner/name"
    )


def is_model_folder(folder: Path) -> bool:
    """Whether a folder looks like a model's: a config and weights."""
    return (folder / "config.json").is_file() and bool(weight_files(folder))


def _members(families: Mapping[str, Family]) -> list[tuple[Family, Member]]:
    return [(family, member) for family in families.values() for member in family.members]


def _in_folder(
    named: str,
    folder: Path,
    family: Family | None,
    member: Member | None,
    catalog: Catalog,
    digests: Path,
    given: Path | None,
) -> ModelSource:
    template = _template_for(member, given, chat_template(folder))
    facts = model_facts(folder, digests, template)
    if member is None or family is None:
        name = member_name(_called(folder), {m.name for _, m in _members(catalog.families)})
        member = Member(name=name, path=folder, parameters=facts.parameters, licence=facts.licence)
    elif is_unedited(catalog.family_file(family.name).read_text(encoding="utf-8")):
        # Another model may lie in the folder by now.
        member = member.model_copy(update={"parameters": facts.parameters, "licence": facts.licence})
    member = member.model_copy(update={"chat_template": template})
    return ModelSource(named, member, family, facts, facts.weights.folder)


def _template_for(member: Member | None, given: Path | None, own: str | None) -> Path | None:
    """The file of the template that a model is given: the user's, else its family file's.

    A model that has a template of its own, and of which no family file says otherwise, keeps it.
    """
    known = None if member is None else member.chat_template
    return given if given is not None and (known is not None or own is None) else known


def _called(folder: Path) -> str:
    """What a member is named after: the folder; in the hub's cache the repository, not its commit."""
    cached = folder.parent.parent.name
    if folder.parent.name == "snapshots" and cached.startswith("models--"):
        return cached.removeprefix("models--").replace("--", "/", 1)
    return str(folder)


def _new_hub_member(repository: str, taken: set[str]) -> Member:
    try:
        info = look_up(repository)
    except FaqError as error:  # OWNER/NAME is a path, too
        known = f"; {error.hint}" if error.hint else ""
        hint = f"no folder {repository} exists{known}"
        raise FaqError(error.problem, hint=hint, file=error.file, line=error.line, key=error.key) from error
    assert info.parameters is not None
    return Member(
        name=member_name(repository, taken),
        hub=repository,
        revision=info.sha,
        parameters=info.parameters,
        licence=info.licence or "unknown",
    )


def _on_hub(named: str, family: Family | None, member: Member, home: Path, given: Path | None) -> ModelSource:
    """A hub member; of one that is not here its small files alone are fetched."""
    here = hub.cached(member)
    folder = here or small_files(member, home)
    own = chat_template(folder)
    member = member.model_copy(update={"chat_template": _template_for(member, given, own)})
    template = usable_template(own, member.chat_template, str(member.hub))
    commit = str(member.revision)
    weights = Weights(_placed(member, folder), commit, f"{member.hub}@{commit}")
    licence = member.licence if member.licence != "unknown" else stated_licence(folder)
    facts = ModelFacts(weights, member.parameters, licence, weights.context, template, thinking_of(template))
    size = 0 if here is not None else 2 * member.parameters
    return ModelSource(named, member.model_copy(update={"licence": licence}), family, facts, folder, size)


def _placed(member: Member, folder: Path) -> Member:
    """The member with its files in a folder."""
    return member.model_copy(update={"path": folder, "hub": None, "revision": None})
