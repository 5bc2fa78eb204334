"""Which model regenerates the seeds: the target itself, or the one that the user names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.family import Member
from faq_pipeline.config.recipe import Endpoint
from faq_pipeline.discovery.hub_client import RepositoryInfo
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.client.served_model import served_name
from faq_pipeline.inference.client.server_address import server_addresses
from faq_pipeline.models import hub
from faq_pipeline.models.device_memory import device_memory, member_bytes
from faq_pipeline.models.vocabulary import vocabulary_digests
from faq_pipeline.models.weights import count_parameters
from faq_pipeline.quickstart.hub_repository import larger_siblings
from faq_pipeline.quickstart.model_facts import json_object
from faq_pipeline.quickstart.model_source import ModelSource, find_model, is_model_folder
from faq_pipeline.registry.naming import member_name
from faq_pipeline.util.files import subfolders

SELF, AUTO = "self", "auto"
MEASURED = "in our studies a larger one was not shown to do better (docs/RESULTS.md)"
"""What is known of the difference; see 'Teacher against self' there."""
LARGER = 1.5
"""Times the target's parameters that a model has at least to be offered, or taken by `auto`: one that is
larger by a row of the embedding is the same model."""
MOST_FOLDERS = 64
"""Folders beside the model's that are looked into."""
GIB = 2**30


@dataclass(frozen=True)
class Teacher:
    """Who regenerates.

    Attributes:
        source: a model; None for the target itself.
        notes: what the user should know of the choice.
        endpoint: the server that samples; None where the model is loaded here.
    """

    source: ModelSource | None
    notes: tuple[str, ...]
    endpoint: Endpoint | None = None


@dataclass(frozen=True)
class Places:
    """Where models are looked for, and what they must fit on."""

    catalog: Catalog
    home: Path
    digests: Path
    device: str
    template: Path | None = None
    """A chat template for models that have none."""

    def find(self, named: str) -> ModelSource:
        return find_model(named, self.catalog, self.home, self.digests, self.template)


def choose_teacher(
    target: ModelSource, wanted: str | None, places: Places, key: str | None = None
) -> Teacher:
    """The teacher of a target.

    Args:
        wanted: `self`; a folder, member or hub id; the URL of a server; `auto` for the largest sibling
            of at least `LARGER` times the parameters that fits, which is downloaded. None is the target
            itself, as no study showed that a larger teacher does better; a sibling that could be named
            is then mentioned.
        key: the environment variable that holds the server's key.

    Raises:
        FaqError: the named one is unusable: not there, smaller, of another tokenizer, or too large.
    """
    if wanted == SELF:
        return Teacher(None, ("teacher: the model itself",))
    if wanted is not None and wanted.startswith(("http://", "https://")):
        return _served(target, wanted, places, key)
    if wanted not in (None, AUTO):
        return _named(target, places.find(str(wanted)), places)
    here, offered = _here(target, places), _offered(target, places)
    larger = offered if offered is not None and (here is None or _larger(offered, here)) else None
    if wanted is None:
        other = _suggested(here, larger)
        return Teacher(None, (f"teacher: the model itself; {MEASURED}", *([other] if other else [])))
    if larger is not None:
        return _named(target, places.find(larger.id), places)
    if here is None:
        raise FaqError(
            f"no larger model of the family of {target.named} was found that fits"
            f" (with at least {LARGER} times its parameters)",
            hint="name one with --teacher, or use --teacher self",
        )
    return Teacher(here, (f"teacher: {_described(here.member)}, the largest of its family that is here",))


def _served(target: ModelSource, url: str, places: Places, key: str | None) -> Teacher:
    """The model that a server serves: its name there is a hub id, a folder or a member's name."""
    if "@" in urlsplit(url).netloc:
        raise FaqError(
            "--teacher: a URL holds no password, since it is written to a file",
            hint="name a variable that holds the key: --set regeneration.endpoint.key=NAME",
        )
    addresses = server_addresses(Endpoint(base_urls=[url], key=key))
    name = served_name(addresses, None)
    endpoint = Endpoint(base_urls=[url], model=name, key=key)
    note = f"teacher: {name}, as {addresses[0].name} serves it"
    if name in (target.named, target.member.name, target.member.hub, str(target.member.path)):
        return Teacher(None, (f"{note}: the model itself",), endpoint)
    try:
        source = places.find(name)
    except FaqError as error:
        raise FaqError(
            f"{addresses[0].name} serves {name!r}: {error.problem}",
            hint="serve it under its hub id or its folder's path: its template and tokenizer are read",
        ) from None
    _check(target, source)
    return Teacher(source, (note,), endpoint)


def _named(target: ModelSource, teacher: ModelSource, places: Places) -> Teacher:
    if teacher.member.name == target.member.name:
        if (teacher.member.path, teacher.member.hub) == (target.member.path, target.member.hub):
            return Teacher(None, ("teacher: the model itself",))
        # Two new models that are called the same, as the folders of two trainings may be.
        known = {one.name for family in places.catalog.families.values() for one in family.members}
        name = member_name(str(teacher.member.path or teacher.member.hub), {*known, target.member.name})
        teacher = replace(teacher, member=teacher.member.model_copy(update={"name": name}))
    member = teacher.member
    _check(target, teacher)
    if not _fits(member.parameters, places.device):
        need, have = _bytes(member.parameters, places.device), device_memory(places.device)
        raise FaqError(
            f"teacher {teacher.named} needs about {need / GIB:.1f} GiB, and the {places.device} device has"
            f" {have / GIB:.1f} GiB",
            hint="name a smaller one, or use --teacher self",
        )
    size = f", {teacher.size / 1e9:.1f} GB to download" if teacher.size else ""
    return Teacher(teacher, (f"teacher: {_described(member)}{size}",))


def _check(target: ModelSource, teacher: ModelSource) -> None:
    """Refuse a teacher that is smaller than the target, or has another tokenizer."""
    if teacher.member.parameters < target.member.parameters:
        raise FaqError(
            f"teacher {teacher.named} ({teacher.member.parameters:,} parameters) is smaller than"
            f" {target.named} ({target.member.parameters:,})",
            hint="name a larger one, or use --teacher self",
        )
    if not _same_vocabulary(teacher.folder, target.folder):
        raise FaqError(
            f"teacher {teacher.named} has another base tokenizer than {target.named}",
            hint="name one of its family, or use --teacher self",
        )


def _here(target: ModelSource, places: Places) -> ModelSource | None:
    """The largest model of the target's kind and tokenizer that needs no download, and fits."""
    found = [one for one in _beside(target) if _clearly_larger(one.parameters, target)]
    for one in sorted(found, key=lambda one: -one.parameters):
        if not _fits(one.parameters, places.device):
            continue
        with suppress(FaqError):  # a broken folder beside the model is none of the user's concern now
            if _kind(one.folder) == _kind(target.folder) and _same_vocabulary(one.folder, target.folder):
                return places.find(one.named)
    return None


def _clearly_larger(parameters: int, target: ModelSource) -> bool:
    return parameters >= LARGER * target.member.parameters


@dataclass(frozen=True)
class _Candidate:
    named: str
    folder: Path
    parameters: int


def _beside(target: ModelSource) -> Iterator[_Candidate]:
    """Members of the target's family, folders beside its own, and its owner's in the hub's cache."""
    for member in target.family.members if target.family is not None else ():
        folder = member.path or hub.cached(member)
        if folder is not None:
            yield _Candidate(member.name, folder, member.parameters)
    folders = [] if target.repository is None else hub.snapshots(target.repository.partition("/")[0])
    if target.member.path is not None:
        folders += subfolders(target.member.path.parent)[:MOST_FOLDERS]
    for folder in folders:
        with suppress(FaqError, OSError):
            if is_model_folder(folder):
                yield _Candidate(str(folder), folder, count_parameters(folder))


def _kind(folder: Path) -> object:
    return json_object(folder / "config.json").get("model_type")


def _same_vocabulary(one: Path, other: Path) -> bool:
    return not set(vocabulary_digests(one)).isdisjoint(vocabulary_digests(other))


def _fits(parameters: int, device: str) -> bool:
    return _bytes(parameters, device) <= device_memory(device)


def _bytes(parameters: int, device: str) -> float:
    return member_bytes(Member(name="any", path=Path(), parameters=parameters), device)


def _offered(target: ModelSource, places: Places) -> RepositoryInfo | None:
    """The largest sibling on the hub that would fit; None where the hub does not say."""
    if target.repository is None:
        return None
    with suppress(FaqError):  # without the hub there is only no suggestion
        for sibling in reversed(larger_siblings(target.member)):
            parameters = sibling.parameters or 0
            if _clearly_larger(parameters, target) and _fits(parameters, places.device):
                return sibling
    return None


def _larger(repository: RepositoryInfo, here: ModelSource) -> bool:
    return (repository.parameters or 0) > here.member.parameters


def _suggested(here: ModelSource | None, larger: RepositoryInfo | None) -> str:
    """Names a larger sibling that would fit: one that is here before one to download; empty without any."""
    if here is not None:
        return f"a larger one is here: --teacher {here.named} ({millions(here.member.parameters)} parameters)"
    if larger is None:
        return ""
    parameters = larger.parameters or 0
    return (
        f"a larger one: --teacher {larger.id} ({parameters / 1e9:.1f} billion parameters, about"
        f" {2 * parameters / 1e9:.0f} GB to download, {2.5 * parameters / GIB:.0f} GiB of memory)"
    )


def _described(member: Member) -> str:
    return f"{member.hub or member.name} ({millions(member.parameters)} parameters)"


def millions(parameters: int) -> str:
    """A number of parameters for people: `8.2 billion`, `3.7 million`."""
    return f"{parameters / 1e9:.1f} billion" if parameters >= 1e9 else f"{parameters / 1e6:.1f} million"
