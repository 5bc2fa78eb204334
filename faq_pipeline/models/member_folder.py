"""Member folders with packed weights (see `packed_weights`): what they hold, and their plain form.

The plain form is a complete copy of the folder, made in a cache on first use, since the member's own
folder may be read-only, as that of an installed package.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.models.packed_weights import SUFFIX, read_header, unpack
from faq_pipeline.models.tokenizer_files import tokenizer_files
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.util.atomic_files import fsync_path, make_folder, staging_path
from faq_pipeline.util.files import listing

KEPT = ("*.json", "*.jinja", "*.txt", "LICENSE*", "NOTICE*")
"""Files beside the weights that the copy has too; and all that `tokenizer_files` finds."""


def weight_files(folder: Path) -> dict[str, Path]:
    """Safetensors files of a member folder, plain or packed, by the name of the plain one.

    Raises:
        FaqError: a file is there in both forms.
    """
    with reading_file(folder):
        found = {path.name: path for path in listing(folder, ".safetensors")}
        packed = listing(folder, f".safetensors{SUFFIX}")
    for path in packed:
        if path.stem in found:
            raise FaqError(f"{path.name} is here as {path.stem} too", hint="remove one of them", file=folder)
        found[path.stem] = path
    return dict(sorted(found.items()))


def complete_folder(folder: Path, cache: Path, digest_of: Callable[[Path], str]) -> Path:
    """The member folder itself, or where it holds packed weights its plain copy.

    The copy is named after its content. A file of it that is missing or not what it must be is made
    again; each appears by one rename, so that many processes may call this at once.

    Args:
        cache: the copy is made in its folder `unpacked`.
        digest_of: SHA-256 of a file, in hex.

    Raises:
        FaqError: a packed file is damaged, or the copy cannot be written.
    """
    weights = weight_files(folder)
    if all(path.suffix != SUFFIX for path in weights.values()):
        return folder
    files = {path.name: path for pattern in KEPT for path in folder.glob(pattern) if path.is_file()}
    files |= {name: folder / name for name in tokenizer_files(folder)} | weights
    digests = {
        name: read_header(path).sha256 if path.suffix == SUFFIX else digest_of(path)
        for name, path in sorted(files.items())
    }
    content = "\n".join(f"{name}:{digest}" for name, digest in digests.items())
    target = cache / "unpacked" / short_hash(content.encode())
    try:
        for name, path in files.items():
            copy = make_folder((target / name).parent) / Path(name).name
            if not copy.is_file() or digest_of(copy) != digests[name]:
                (unpack if path.suffix == SUFFIX else _copy)(path, copy)
    except OSError as error:
        raise FaqError(
            f"weights cannot be unpacked into {target}: {error.strerror}",
            hint="make room there, or set another FAQ_HOME",
            file=folder,
        ) from None
    return target


def _copy(source: Path, target: Path) -> None:
    fresh = staging_path(target)
    try:
        shutil.copyfile(source, fresh)
        fsync_path(fresh)
        fresh.replace(target)
        fsync_path(target.parent)
    finally:
        fresh.unlink(missing_ok=True)
