"""A member's files: found, checked (`folder_check`) and digested without loading a model library.

A member folder holds safetensors files, plain or packed (see `packed_weights`).
"""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from faq_pipeline.config.family import Member
from faq_pipeline.config.json_objects import read_object
from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.models import hub
from faq_pipeline.models.finite_weights import check_finite
from faq_pipeline.models.folder_check import check_folder
from faq_pipeline.models.member_folder import complete_folder, weight_files
from faq_pipeline.models.model_context import context_of
from faq_pipeline.models.own_template import template_mark
from faq_pipeline.models.remembered import remembered
from faq_pipeline.models.safetensors_header import read_header
from faq_pipeline.models.tokenizer_files import tokenizer_files
from faq_pipeline.models.vocabulary import vocabulary_digests
from faq_pipeline.store.fingerprint import LENGTH, hash_file
from faq_pipeline.util.atomic_files import make_folder
from faq_pipeline.util.files import stat_or_none
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
            FaqError: files are missing, corrupt, not safetensors, hold a NaN, want remote code
                unpinned, or cannot be downloaded.
        """
        if self.member.path is not None:
            return self.member.path
        folder = hub.download(self.member)
        check_folder(self.member, folder)
        if self.cache is not None:
            _check_finite(folder, self.cache)
        return folder

    @cached_property
    def config(self) -> dict[str, Any]:
        """The member's `config.json`."""
        return read_object(self.folder / "config.json")

    @cached_property
    def context(self) -> int:
        """Most tokens that the member can attend to.

        Raises:
            FaqError: neither its configuration nor transformers says so.
        """
        file = self.folder / "config.json"
        if (context := context_of(self.config, file)) is None:
            from faq_pipeline.models.loading import load_config  # files leave out a class's defaults

            context = context_of(load_config(self).to_dict(), file)
        if context is None:
            hint = 'add "max_position_embeddings" with the most tokens that it can attend to'
            raise FaqError(f"member {self.name!r} has no context length here", hint=hint, file=file)
        return context


@memoized
def find_weights(member: Member, cache: Path) -> Weights:
    """Check and digest a member; unpack its weights where they are packed.

    Args:
        cache: folder that remembers digests of unchanged files (by path, size, times and inode), and
            holds unpacked weights.

    Raises:
        FaqError: see `check_folder`, `complete_folder`, `check_finite` and `template_mark`; a
            `ReadError` where a file cannot be read now.
    """
    template = template_mark(member, cache)
    if member.path is None:
        commit = str(member.revision)
        return Weights(member, commit, f"{member.hub}@{commit}{template}", cache)
    check_folder(member, member.path)
    folder = complete_folder(member.path, cache, lambda path: remembered(path, cache, hash_file))
    if folder != member.path:
        check_folder(member, folder)
        member = member.model_copy(update={"path": folder})
    weights = [*_present(folder, SETTINGS), *weight_files(folder)]
    own, tokenizer = (_digest(folder, names, cache) for names in (weights, tokenizer_files(folder)))
    _check_finite(folder, cache)
    return Weights(member, own, f"{tokenizer}{template}", cache)


def copy_companions(source: Path, target: Path) -> None:
    """Copy what every form of a member takes over unchanged from beside its weights."""
    for name in [
        *tokenizer_files(source),
        *_present(source, ("generation_config.json", "LICENSE", "NOTICE")),
    ]:
        make_folder((target / name).parent)
        shutil.copyfile(source / name, target / name)


def _check_finite(folder: Path, cache: Path) -> None:
    for path in weight_files(folder).values():
        check_finite(path, cache)


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
    return sum(tensor.count for shard in shards for tensor in read_header(shard).values())


def _present(folder: Path, names: Sequence[str]) -> list[str]:
    with reading_file(folder):
        found = {name: stat_or_none(folder / name) for name in names}
    return [name for name, state in found.items() if state is not None and stat.S_ISREG(state.st_mode)]


def _digest(folder: Path, names: Sequence[str], cache: Path) -> str:
    parts = [f"{name}:{remembered(folder / name, cache, hash_file)}" for name in names]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:LENGTH]
