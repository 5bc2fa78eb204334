"""A member's weights in the tighter form in which large ones are tracked, and back.

The form and its reader are the pipeline's: `faq_pipeline.models.packed_weights`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from faq_pipeline.models.member_folder import complete_folder, weight_files
from faq_pipeline.models.packed_weights import SUFFIX, pack, unpack
from faq_pipeline.store.fingerprint import hash_file


def pack_folder(folder: Path) -> None:
    """Replace the folder's safetensors files by packed ones, once these are known to give them back."""
    for name, path in weight_files(folder).items():
        if path.suffix == SUFFIX:
            continue
        packed = path.with_name(name + SUFFIX)
        pack(path, packed)
        with TemporaryDirectory() as trial:
            unpack(packed, Path(trial) / name)
        print(f"{packed}: {packed.stat().st_size / path.stat().st_size:.2f} of the size", flush=True)
        path.unlink()


def unpack_folder(folder: Path) -> None:
    """Replace the folder's packed files by plain ones."""
    for name, path in weight_files(folder).items():
        if path.suffix == SUFFIX:
            unpack(path, path.with_name(name))
            path.unlink()


@contextmanager
def plain_folder(folder: Path) -> Iterator[Path]:
    """The folder, or for as long as it is needed a copy of it with its weights unpacked."""
    with TemporaryDirectory() as cache:
        yield complete_folder(folder, Path(cache), hash_file)
