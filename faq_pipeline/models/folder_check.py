"""Refuses a member folder that is not a complete, safe checkpoint; reads headers and small files only."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from faq_pipeline.config.family import Member
from faq_pipeline.config.json_objects import read_object
from faq_pipeline.errors import FaqError
from faq_pipeline.models import packed_weights, safetensors_header
from faq_pipeline.models.member_folder import weight_files

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""What transformers looks for in a folder: all weights in one file, or else the list of shards."""


def check_folder(member: Member, folder: Path) -> None:
    """Refuse a folder that is not a complete, safe checkpoint.

    Raises:
        FaqError: weights missing, corrupt, not safetensors or here twice, no config or tokenizer, or
            remote code asked for without a pin.
    """
    config_path = folder / "config.json"
    if not folder.is_dir() or not config_path.is_file():
        raise FaqError(
            f"member {member.name!r} has no weights here", hint="expected a model folder", file=folder
        )
    for path in (config_path, folder / "tokenizer_config.json"):
        if path.is_file() and "auto_map" in read_object(path) and not member.trust_remote_code:
            raise FaqError(
                f"member {member.name!r} asks for remote code",
                hint="only a hub member with a pinned revision may set trust_remote_code: true",
                file=path,
            )
    shards = weight_files(folder)
    if not shards:
        other = next((p for g in ("*.bin", "*.pt", "*.pth") for p in folder.glob(g)), None)
        if other is None:
            raise FaqError(f"member {member.name!r}: no *.safetensors in this folder", file=folder)
        raise FaqError(
            f"member {member.name!r}: weights are not safetensors ({other.name})",
            hint="convert them to *.safetensors",
            file=folder,
        )
    _check_index(member, folder, shards)
    if missing := _missing_parts(shards):
        raise FaqError(
            f"member {member.name!r}: shard {missing} is missing", hint="copy it here", file=folder
        )
    _check_all_are_loaded(member, folder, shards)
    for shard in shards.values():
        if shard.suffix == packed_weights.SUFFIX:
            packed_weights.read_header(shard)
        else:
            safetensors_header.read_header(shard)
    if not (folder / "tokenizer_config.json").is_file():
        raise FaqError(f"member {member.name!r} has no tokenizer here", file=folder)


def _check_index(member: Member, folder: Path, shards: Collection[str]) -> None:
    """Refuse an index whose shards are not all in the folder."""
    index = folder / INDEX
    for name in _indexed(folder):
        if Path(name).name != name or (name in shards and _is_elsewhere(folder / name)):
            raise FaqError(
                f"member {member.name!r}: shard {name} is not in this folder", hint="copy it here", file=index
            )
        if name not in shards:
            raise FaqError(
                f"member {member.name!r}: shard {name} is missing", hint="copy it here", file=index
            )


def _indexed(folder: Path) -> list[str]:
    """The shards that the folder's index names; none where it has no index."""
    index = folder / INDEX
    if not index.is_file():
        return []
    named = read_object(index).get("weight_map", {})
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise FaqError("not an index: weight_map names no file for a tensor", file=index)
    return sorted(set(named.values()))


def _check_all_are_loaded(member: Member, folder: Path, shards: Mapping[str, Path]) -> None:
    """Refuse weights that transformers does not load beside those that it does.

    Mostly the same weights in another form, as `consolidated.safetensors`. They would count in the
    member's size and identity, and no checkpoint would hold their tensors.
    """
    loaded = [WHOLE] if WHOLE in shards else _indexed(folder)
    if (folder / "adapter_config.json").is_file():
        loaded = [*loaded, "adapter_model.safetensors"]
    if not any(name in shards for name in loaded):
        raise FaqError(
            f"member {member.name!r}: neither {WHOLE} nor {INDEX} is here, where transformers looks",
            hint="save the model with save_pretrained, or rename its weights",
            file=folder,
        )
    for name, path in shards.items():
        if name not in loaded:
            raise FaqError(
                f"member {member.name!r}: transformers loads {loaded[0]} and not this file:"
                " the weights may be here twice",
                hint="take it out of the folder",
                file=path,
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
