"""A member's files: found, checked and digested without loading a model library.

A member folder holds safetensors files, plain or packed (see `packed_weights`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import stat
import struct
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.models import hub
from faq_pipeline.models.member_folder import complete_folder, weight_files
from faq_pipeline.models.packed_weights import SUFFIX, read_header
from faq_pipeline.models.tokenizer_files import tokenizer_files
from faq_pipeline.models.vocabulary import vocabulary_digests
from faq_pipeline.store.fingerprint import LENGTH, TICK, file_state, hash_file, short_hash
from faq_pipeline.util.atomic_files import make_folder, write_atomic
from faq_pipeline.util.files import ABSENT, stat_or_none
from faq_pipeline.util.memoize import memoized

SETTINGS = ("config.json", "generation_config.json", "adapter_config.json")
"""Part of the model beside its weights: the end marks of the second decide where a sample stops."""


@dataclass(frozen=True)
class Weights:
    """One member at one revision.

    Attributes:
        member: its path, if it has one, is a folder with plain weights, unpacked if need be.
        digest: identity of the weights: the hub commit, or a hash of the local files' bytes.
        tokenizer_digest: identity of tokenizer and chat template.
        cache: folder that remembers what is read of the files, None where nothing is remembered.
    """

    member: Member
    digest: str
    tokenizer_digest: str
    cache: Path | None = field(default=None, compare=False, repr=False)

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
        cache: folder that remembers digests of unchanged files (by path, size, times and inode), and
            holds unpacked weights.

    Raises:
        FaqError: see `check_folder` and `complete_folder`; a `ReadError` where a file cannot be read now.
    """
    if member.path is None:
        commit = str(member.revision)
        return Weights(member, commit, f"{member.hub}@{commit}", cache)
    check_folder(member, member.path)
    folder = complete_folder(member.path, cache, lambda path: _cached_digest(path, cache))
    if folder != member.path:
        check_folder(member, folder)
        member = member.model_copy(update={"path": folder})
    weights = [*_present(folder, SETTINGS), *weight_files(folder)]
    own, tokenizer = (_digest(folder, names, cache) for names in (weights, tokenizer_files(folder)))
    return Weights(member, own, tokenizer, cache)


def copy_companions(source: Path, target: Path) -> None:
    """Copy what every form of a member takes over unchanged from beside its weights."""
    for name in [
        *tokenizer_files(source),
        *_present(source, ("generation_config.json", "LICENSE", "NOTICE")),
    ]:
        make_folder((target / name).parent)
        shutil.copyfile(source / name, target / name)


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
    _check_index(member, folder, shards)
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


def _check_index(member: Member, folder: Path, shards: Collection[str]) -> None:
    """Refuse an index whose shards are not all in the folder."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    named = _json(index).get("weight_map", {})
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise FaqError("not an index: weight_map names no file for a tensor", file=index)
    for name in sorted(set(named.values())):
        if Path(name).name != name or (name in shards and _is_elsewhere(folder / name)):
            raise FaqError(
                f"member {member.name!r}: shard {name} is not in this folder", hint="copy it here", file=index
            )
        if name not in shards:
            raise FaqError(
                f"member {member.name!r}: shard {name} is missing", hint="copy it here", file=index
            )


def _is_elsewhere(shard: Path) -> bool:
    """Whether a shard is a link out of its folder, other than to a blob of the same hub cache."""
    folder, file = shard.parent.resolve(), shard.resolve()
    in_cache = folder.parent.name == "snapshots" and file.parent == folder.parent.parent / "blobs"
    return file.parent != folder and not in_cache


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
    return _vocabulary_digests(weights)[0]


def has_vocabulary(weights: Weights, digest: str) -> bool:
    """Whether a digest that was recorded, perhaps by an earlier version, is of its base vocabulary."""
    return digest in _vocabulary_digests(weights)


def _vocabulary_digests(weights: Weights) -> list[str]:
    key = weights.tokenizer_digest
    if key not in _vocabularies:
        _vocabularies[key] = vocabulary_digests(weights.folder)
    return [*_vocabularies[key], key]


_vocabularies: dict[str, list[str]] = {}
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
    try:
        with reading_file(path), path.open("rb") as file:
            size = path.stat().st_size
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
        with reading_file(path):
            content = json.loads(path.read_text(encoding="utf-8"))
    except (*ABSENT, ValueError) as error:
        raise FaqError(f"cannot be read as JSON: {error}", file=path) from None
    if not isinstance(content, dict):
        raise FaqError("expected a JSON object", file=path)
    return content


def _present(folder: Path, names: Sequence[str]) -> list[str]:
    with reading_file(folder):
        found = {name: stat_or_none(folder / name) for name in names}
    return [name for name, state in found.items() if state is not None and stat.S_ISREG(state.st_mode)]


def _digest(folder: Path, names: Sequence[str], cache: Path) -> str:
    parts = [f"{name}:{_cached_digest(folder / name, cache)}" for name in names]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:LENGTH]


def _cached_digest(path: Path, cache: Path) -> str:
    """SHA-256 of a file, in hex; from the cache where it holds a sound entry for the file as it is."""
    with reading_file(path):
        state = file_state(path.stat())
    name = short_hash(f"{path.resolve()}|{state}".encode())
    with suppress(OSError, ValueError):  # an entry that is absent, damaged or cannot be read only costs time
        digest, check = (cache / name).read_text(encoding="ascii").split()
        if check == short_hash(f"{name} {digest}".encode()):
            return digest
    age = time.time_ns() - max(state[1], state[2])
    if 0 <= age < TICK:  # a change within the same tick would leave the state as it is
        time.sleep((TICK - age) / 1e9)
    with reading_file(path):
        digest = hash_file(path)  # not remembered by path: a copy may be made again
        unchanged = file_state(path.stat()) == state
    if unchanged:
        with suppress(OSError):  # a full or read-only disk only costs the time to hash again
            write_atomic(cache / name, f"{digest} {short_hash(f'{name} {digest}'.encode())}\n")
    return digest
