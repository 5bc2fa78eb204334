"""Which artifacts of a store are damaged, and which were made from damaged ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from faq_pipeline.errors import ReadError
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store


@dataclass(frozen=True)
class Damage:
    """What is wrong in a store.

    Attributes:
        count: artifacts there are.
        broken: problems of each damaged artifact, one line each.
        suspect: artifacts that may have been made from damaged bytes.
        unread: a line for each artifact that could not be read now: it may be whole.
    """

    count: int
    broken: Mapping[Artifact, list[str]]
    suspect: list[Artifact]
    unread: list[str]

    @property
    def problems(self) -> list[str]:
        """All lines."""
        return [line for lines in self.broken.values() for line in lines] + self.unread


def find_damage(store: Store) -> Damage:
    """Read every artifact of a store.

    Raises:
        ReadError: a folder of the store cannot be read now.
    """
    broken: dict[Artifact, list[str]] = {}
    unread = []
    there = list(store.folders())
    for artifact in there:
        try:
            problems = store.verify(artifact)
        except ReadError as error:
            unread.append(str(error))
            continue
        if problems:
            broken[artifact] = problems
    return Damage(len(there), broken, _made_from(broken, there), unread)


def _made_from(broken: Collection[Artifact], there: Collection[Artifact]) -> list[Artifact]:
    """What may have been made from the bytes of a broken artifact after they were damaged.

    Not what verified its inputs before it was made, unless one of these was itself made from damaged
    bytes: those are as its manifest says, and wrong.
    """
    rotten = {artifact.path.name for artifact in broken}
    readable = [artifact for artifact in there if _is_readable(artifact)]
    suspect: dict[str, Artifact] = {}
    while found := [a for a in readable if a.path.name not in suspect and _is_suspect(a, rotten, suspect)]:
        suspect |= {artifact.path.name: artifact for artifact in found}
    return [artifact for name, artifact in suspect.items() if name not in rotten]


def _is_suspect(artifact: Artifact, rotten: Set[str], suspect: Mapping[str, Artifact]) -> bool:
    manifest = artifact.manifest
    sources = set(manifest.upstream.values())
    unverified = not manifest.inputs_verified
    return not sources.isdisjoint(suspect) or (unverified and not sources.isdisjoint(rotten))


def _is_readable(artifact: Artifact) -> bool:
    try:
        return artifact.readable
    except ReadError:
        return False
