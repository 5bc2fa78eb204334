"""The two files of a finished step: its tensors, and a line that tells of them."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.store import checked_json
from faq_pipeline.store.fingerprint import hash_file
from faq_pipeline.util.atomic_files import fsync_path, make_folder, set_mode, staging_path

if TYPE_CHECKING:
    import torch


def read_line(path: Path) -> dict[str, Any] | None:
    """An object that was written by `checked_json.written`; None where it is not there, damaged or cannot
    be read."""
    try:
        body, protected = checked_json.checked(path.read_bytes())
    except (OSError, ValueError):
        return None
    return json.loads(body) if protected else None


def size_and_digest(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    return {"bytes": path.stat().st_size, "sha256": hash_file(path)}


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Write a safetensors file by one rename: a file of that name that is mapped keeps its bytes.

    Returns:
        What `size_and_digest` gives.

    Raises:
        OSError, SafetensorError: it cannot be written.
        RuntimeError: tensors share memory.
    """
    from safetensors.torch import save_file

    make_folder(path.parent)
    fresh = staging_path(path)
    try:
        save_file(dict(tensors), fresh)
        set_mode(fresh, stat.S_IMODE(path.parent.stat().st_mode) & 0o666)  # safetensors' own is 0600
        written = size_and_digest(fresh)
        fsync_path(fresh)
        fresh.replace(path)
        fsync_path(path.parent)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    return written


def mapped_tensors(path: Path) -> dict[str, torch.Tensor]:
    """A file's tensors by name, in memory that the file backs.

    The mapping is private: what is written into such a tensor never reaches the file, which may be deleted
    meanwhile, and must not be cut short.

    Raises:
        OSError, SafetensorError: it is not there, or cannot be read.
    """
    from safetensors.torch import load_file

    return load_file(path)
