"""An artifact's manifest: what the artifact is, and how its own bytes are protected.

The file is JSON. Its first line is a SHA-256 of all that follows that line, so that any change of the
file is found. Manifests of earlier versions have no checksum and are read too; of these, `contradictions`
recomputes what can be.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from faq_pipeline.store.fingerprint import LENGTH, fingerprint

MANIFEST = "manifest.json"


class ChecksumError(ValueError):
    """A manifest whose content is not what its checksum was made of."""


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True)
    path: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What an artifact is, where it comes from and what it cost. Not part of the digest."""

    model_config = ConfigDict(frozen=True)
    stage: str
    stage_version: int
    fingerprint: str
    digest: str
    """Hash over the files' paths and hashes, measurements left out."""
    identity: dict[str, Any]
    inputs: dict[str, str]
    """Digest of each input artifact, by stage."""
    upstream: dict[str, str]
    """Fingerprint of each input artifact, by stage: where this one was made from."""
    files: list[FileEntry]
    metadata: dict[str, Any]
    created: str
    seconds: float
    measurements: list[str] = []
    """Files that are no part of the digest."""
    inputs_verified: bool = False
    """Whether the bytes of all inputs were compared with their manifests before it was made."""
    checksum: str = Field(default="", exclude=True)
    """Of the manifest's file; empty in one of an earlier version."""


_ALWAYS = {name for name, field in Manifest.model_fields.items() if field.is_required()}
_UNPROTECTED = Manifest.model_fields.keys() - {"checksum"}
_FIRST_LINE = re.compile(r'\{\n "checksum": "([0-9a-f]{64})",\n')


def written(manifest: Manifest) -> str:
    """The text of a manifest's file, with its checksum."""
    body = json.dumps(manifest.model_dump(), indent=1, sort_keys=True, ensure_ascii=False)
    body = body.removeprefix("{\n") + "\n"
    return f'{{\n "checksum": "{_sha256(body)}",\n{body}'


def parsed(text: str) -> Manifest:
    """The manifest that a file's text holds.

    Raises:
        ValueError: it holds none; a `ChecksumError` where it holds another than was written.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("not a manifest")
    if "checksum" in content:
        first = _FIRST_LINE.match(text)
        if first is None or first[1] != _sha256(text[first.end() :]):
            raise ChecksumError("its content differs from its checksum")
    elif not _ALWAYS <= content.keys() <= _UNPROTECTED:  # another key may be a damaged "checksum"
        raise ValueError("not a manifest")
    return Manifest.model_validate(content)


def digest_of(files: Sequence[FileEntry], measurements: Collection[str] = ()) -> str:
    """The digest of files in the order of their manifest, measurements left out."""
    listing = "".join(f"{file.path}\0{file.sha256}\n" for file in files if file.path not in measurements)
    return hashlib.sha256(listing.encode()).hexdigest()[:LENGTH]


def contradictions(manifest: Manifest) -> list[str]:
    """What a manifest says that does not follow from the rest of it.

    A fingerprint is recomputed where no checksum vouches for it: its maker may name an artifact as it
    likes.
    """
    found = []
    if not _has_own_digest(manifest):
        found.append("its digest is not that of its files")
    key = fingerprint(manifest.stage, manifest.stage_version, manifest.identity, manifest.inputs)
    if not manifest.checksum and key != manifest.fingerprint:
        found.append("its fingerprint is not that of its stage, identity and inputs")
    return found


def _has_own_digest(manifest: Manifest) -> bool:
    if manifest.checksum:
        return digest_of(manifest.files, manifest.measurements) == manifest.digest
    # An earlier version did not say which files are measurements: at most two of a stage were.
    names = [file.path for file in manifest.files]
    left_out = (chosen for count in range(3) for chosen in combinations(names, count))
    return any(digest_of(manifest.files, chosen) == manifest.digest for chosen in left_out)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
