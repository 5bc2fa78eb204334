"""A member's files: found, checked and digested without loading a model library.

A member folder holds safetensors files, plain or packed (see `packed_weights`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models import hub
from faq_pipeline.models.member_folder import complete_folder, weight_files
from faq_pipeline.models.packed_weights import SUFFIX, read_header
from faq_pipeline.store.fingerprint import LENGTH, hash_file, short_hash
from faq_pipeline.util.memoize import memoized

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
COMPANIONS = (*TOKENIZER_FILES, "tokenizer.model", "generation_config.json", "LICENSE", "NOTICE")
"""Files beside the weights that every form of a member takes over unchanged."""


@dataclass(frozen=True)
class Weights:
    """One member at one revision.

    Attributes:
        member: its path, if it has one, is a folder with plain weights, unpacked if need be.
        digest: identity of the weights: the hub commit, or a hash of the local files' bytes.
        tokenizer_digest: identity of tokenizer and chat template.
    """

    member: Member
    digest: str
    tokenizer_digest: str

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def partition(self) -> str:
        """`name@rev8`."""
        return f"{self.member.name}@{self.digest[:8]}"

    @cached_property
    def folder(self) -> Path:
        """The folder with the member's files; a hub member is downloaded on first use.

        Raises:
            FaqError: files are missing, corrupt, not safetensors, want remote code unpinned, or
                cannot be downloaded.
        """
        if self.member.path is not None:
            return self.member.path
        folder = hub.download(self.member)
        check_folder(self.member, folder)
        return folder

    @cached_property
    def config(self) -> dict[str, Any]:
        """The member's `config.json`."""
        return _json(self.folder / "config.json")

    @property
    def context(self) -> int:
        """Most tokens that the member can attend to."""
        return int(self.config.get("max_position_embeddings", 2048))


@memoized
def find_weights(member: Member, cache: Path) -> Weights:
    """Check and digest a member; unpack its weights where they are packed.

    Args:
        cache: folder that remembers digests of unchanged files (by path, size and mtime), and holds
            unpacked weights.

    Raises:
        FaqError: see `check_folder` and `complete_folder`.
    """
    if member.path is None:
        commit = str(member.revision)
        return Weights(member, commit, f"{member.hub}@{commit}")
    check_folder(member, member.path)
    folder = complete_folder(member.path, cache, lambda path: _cached_digest(path, cache))
    if folder != member.path:
        check_folder(member, folder)
        member = member.model_copy(update={"path": folder})
    # The generation config is part of the model: its end marks decide where a sample stops.
    settings = [folder / n for n in ("config.json", "generation_config.json") if (folder / n).is_file()]
    weights = [*settings, *sorted(folder.glob("*.safetensors"))]
    tokenizer = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return Weights(member, _digest(weights, cache), _digest(tokenizer, cache))


def check_folder(member: Member, folder: Path) -> None:
    """Refuse a folder that is not a complete, safe checkpoint.

    Raises:
        FaqError: weights missing, corrupt or not safetensors, no config or tokenizer, or remote code
            asked for without a pin.
    """
    config_path = folder / "config.json"
    if not folder.is_dir() or not config_path.is_file():
        raise FaqError(
            f"member {member.name!r} has no weights here", hint="expected a model folder", file=folder
        )
    for path in (config_path, folder / "tokenizer_config.json"):
        if path.is_file() and "auto_map" in _json(path) and not member.trust_remote_code:
            raise FaqError(
                f"member {member.name!r} asks for remote code",
                hint="only a hub member with a pinned revision may set trust_remote_code: true",
                file=path,
            )
    shards = weight_files(folder)
    if not shards:
        other = next((p for g in ("*.bin", "*.pt", "*.pth") for p in folder.glob(g)), None)
        what = f"weights are not safetensors ({other.name})" if other else "weights are missing"
        raise FaqError(f"member {member.name!r}: {what}", hint="convert them to *.safetensors", file=folder)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        for name in sorted(set(_json(index).get("weight_map", {}).values())):
            if name not in shards:
                raise FaqError(
                    f"member {member.name!r}: shard {name} is missing", hint="copy it here", file=index
                )
    if missing := _missing_parts(shards):
        raise FaqError(
            f"member {member.name!r}: shard {missing} is missing", hint="copy it here", file=folder
        )
    for shard in shards.values():
        if shard.suffix == SUFFIX:
            read_header(shard)
        else:
            _tensors(shard)
    if not (folder / "tokenizer_config.json").is_file():
        raise FaqError(f"member {member.name!r} has no tokenizer here", file=folder)


def _missing_parts(names: Collection[str]) -> str:
    """The first of `model-00001-of-00003.safetensors` and its like that is not there, or ""."""
    for name in sorted(names):
        if part := re.fullmatch(r"(.*-)\d+(-of-(\d+)\.safetensors)", name):
            head, tail, of = part.groups()
            parts = (f"{head}{number:0{len(of)}}{tail}" for number in range(1, int(of) + 1))
            if missing := next((one for one in parts if one not in names), ""):
                return missing
    return ""


def vocabulary_digest(weights: Weights) -> str:
    """Identity of the base vocabulary, without added tokens: what 'same tokenizer' means."""
    path = weights.folder / "tokenizer.json"
    if not path.is_file():
        return weights.tokenizer_digest
    if weights.tokenizer_digest not in _vocabularies:
        model = _json(path).get("model", {})
        content = json.dumps([model.get("vocab"), model.get("merges")], sort_keys=True)
        _vocabularies[weights.tokenizer_digest] = short_hash(content.encode())
    return _vocabularies[weights.tokenizer_digest]


_vocabularies: dict[str, str] = {}
"""Vocabularies by the digest of all tokenizer files: members share them, and one takes seconds to parse."""


def check_vocabulary(teacher: Weights, target: Weights) -> None:
    """Refuse a teacher with another base tokenizer than the target's.

    Raises:
        FaqError: it has; names the way out.
    """
    if vocabulary_digest(teacher) != vocabulary_digest(target):
        raise other_vocabulary(teacher, target)


def other_vocabulary(teacher: Weights, target: Weights) -> FaqError:
    """The error of a teacher with another base tokenizer than the target's."""
    return FaqError(
        f"teacher {teacher.name!r} has another base tokenizer than {target.name!r}",
        hint="choose a teacher of the family, or set regeneration.allow_cross_family: true",
        key="regeneration.teacher",
    )


def count_parameters(folder: Path) -> int:
    """Number of weights in a checked folder, by the headers of its safetensors files."""
    shards = folder.glob("*.safetensors")
    return sum(math.prod(tensor["shape"]) for shard in shards for tensor in _tensors(shard).values())


def _tensors(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file as its header has them, once the file's size agrees with it."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError
            header = json.loads(file.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        ends = [entry["data_offsets"][1] for entry in tensors.values()]
        math.prod(size for entry in tensors.values() for size in entry["shape"])  # of numbers
        if 8 + length + max(ends, default=0) != size:
            raise ValueError
        return tensors
    except (struct.error, ValueError, LookupError, TypeError, AttributeError):
        raise FaqError(
            "corrupt safetensors file (its size does not fit its header)",
            hint="copy or download it again",
            file=path,
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FaqError(f"cannot be read as JSON: {error}", file=path) from None
    if not isinstance(content, dict):
        raise FaqError("expected a JSON object", file=path)
    return content


def _digest(paths: list[Path], cache: Path) -> str:
    parts = [f"{path.name}:{_cached_digest(path, cache)}" for path in paths]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:LENGTH]


def _cached_digest(path: Path, cache: Path) -> str:
    stat = path.stat()
    entry = cache / short_hash(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode())
    try:
        return entry.read_text(encoding="ascii")
    except FileNotFoundError:
        digest = hash_file(path)  # not remembered by path: a copy may be made again
        with suppress(OSError):  # a full or read-only disk only costs the time to hash again
            cache.mkdir(parents=True, exist_ok=True)
            fresh = entry.with_suffix(f".{uuid.uuid4().hex[:8]}")  # another process may write the same
            fresh.write_text(digest, encoding="ascii")
            fresh.replace(entry)
        return digest
