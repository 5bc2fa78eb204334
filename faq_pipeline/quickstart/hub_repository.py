"""A hub repository that a user names: its commit, size and licence, and its small files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from faq_pipeline.config.family import Member
from faq_pipeline.discovery.hub_client import Gone, HubClient, RepositoryInfo
from faq_pipeline.errors import FaqError
from faq_pipeline.models import hub

SMALL = [
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.jinja",
    "README.md",
]
"""Files that tell of a model without its weights."""
SIZE = re.compile(r"\d+(?:\.\d+)?(?=[BbMm](?![A-Za-z]))")
"""The number in a repository's name that tells its size: the `8` of `Qwen3-8B`."""


def look_up(repository: str) -> RepositoryInfo:
    """What the hub tells of a repository now.

    Raises:
        FaqError: it has none of that name, or none for us, or it holds no safetensors; or the hub
            does not answer.
    """
    with HubClient.connected() as client:
        found = client.info(repository)
        if isinstance(found, Gone):
            raise FaqError(
                f"the hub has no repository {repository!r}",
                hint="check the name; a private one needs HF_TOKEN",
            )
        if found.parameters is None:
            raise FaqError(f"{repository} holds no safetensors", hint="name a repository that does")
        if found.gated and not client.may_read(repository):
            raise FaqError(
                f"{repository} is gated, and HF_TOKEN does not open it",
                hint="accept its licence on the hub, and set HF_TOKEN",
            )
    return found


def larger_siblings(member: Member) -> list[RepositoryInfo]:
    """Repositories of the same owner whose names differ in the size alone and that are larger; largest last.

    Raises:
        FaqError: the hub does not answer.
    """
    assert member.hub is not None
    owner, _, name = member.hub.partition("/")
    if not SIZE.search(name):
        return []
    series = re.compile(f"{re.escape(owner)}/" + _but_for_size(name))
    with HubClient.connected() as client:
        listed = client.list(owner, lambda source: series.fullmatch(source) is not None)
    larger = [one for one in listed if one.parameters is not None and one.parameters > member.parameters]
    return sorted(larger, key=lambda one: one.parameters or 0)


def small_files(member: Member, home: Path) -> Path:
    """A folder with the repository's files but for its weights, fetched once for a commit.

    Raises:
        FaqError: they cannot be had.
    """
    assert member.hub is not None
    folder = home / "hub" / f"{member.hub.replace('/', '--')}@{str(member.revision)[:8]}"
    return hub.fetch(member, SMALL, folder)


def _but_for_size(name: str) -> str:
    return "".join(_parts(name))


def _parts(name: str) -> Iterator[str]:
    end = 0
    for found in SIZE.finditer(name):
        yield re.escape(name[end : found.start()])
        yield r"\d+(?:\.\d+)?"
        end = found.end()
    yield re.escape(name[end:])
