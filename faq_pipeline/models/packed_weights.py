"""Weights in a tighter, lossless form: a member folder may hold `model.safetensors.packed`.

A file `NAME.safetensors.packed` stands for `NAME.safetensors`, byte for byte, in about two thirds of
the size where the weights are bf16. The member has the digest, and so the revision and the
fingerprints, of the unpacked file. `member_folder` unpacks it on first use. Any member folder may hold
packed files; a hub repository may not.

The form: a line of JSON with `format`, `version`, and `sha256` and `size` of the unpacked file. Then
blocks, each for the next 32 MiB of it: 8 bytes (little-endian) that give the length of a compressed
plane, this plane as XZ, and a plain plane. The unpacked block is read as little-endian words of 16 bits,
each rotated left by one bit, which fills the high byte of a bf16 word with its exponent. The high bytes
are the compressed plane, the low bytes the plain one; a last byte without a pair follows the latter.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.store.fingerprint import hash_file
from faq_pipeline.util.atomic_files import fsync_path, staging_path

SUFFIX = ".packed"
FORMAT, VERSION = "faq-packed-weights", 1
BLOCK = 32 * 2**20
"""Bytes of the unpacked file to a block; bounds the memory that packing and unpacking take."""

_LIMIT = 4096
_COMPRESSION = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}


@dataclass(frozen=True)
class Header:
    """What a packed file says of the unpacked one: SHA-256 in hex, and size in bytes."""

    sha256: str
    size: int


def pack(source: Path, target: Path) -> None:
    """Write a file's packed form; takes some seconds for each MB."""
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": hash_file(source),
        "size": source.stat().st_size,
    }

    def parts() -> Iterator[bytes]:
        yield json.dumps(fields).encode() + b"\n"
        with source.open("rb") as file:
            while block := file.read(BLOCK):
                yield _packed(block)

    _write(target, parts())


def unpack(source: Path, target: Path) -> None:
    """Write the file that a packed one stands for; it appears only if it is that file, byte for byte.

    Raises:
        FaqError: the packed file is damaged, or of a later version.
        OSError: the target cannot be written.
    """
    header = read_header(source)
    digest = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        with source.open("rb") as file:
            file.readline(_LIMIT)
            for start in range(0, header.size, BLOCK):
                block = _unpacked(file, min(BLOCK, header.size - start))
                digest.update(block)
                yield block
            if file.read(1) or digest.hexdigest() != header.sha256:
                raise ValueError

    try:
        _write(target, blocks())
    except (lzma.LZMAError, EOFError, ValueError, struct.error):
        raise _damaged(source) from None


def read_header(path: Path) -> Header:
    """What a packed file says of the unpacked one.

    Raises:
        FaqError: it is no packed file, or of a later version.
    """
    with reading_file(path), path.open("rb") as file:
        line = file.readline(_LIMIT)
    try:
        fields = json.loads(line)
        if fields["format"] != FORMAT:
            raise ValueError
        if fields["version"] != VERSION:
            raise FaqError(
                f"packed weights of version {fields['version']}; this faq-pipeline reads version {VERSION}",
                hint="update faq-pipeline",
                file=path,
            )
        header = Header(fields["sha256"], fields["size"])
        if not re.fullmatch(r"[0-9a-f]{64}", header.sha256) or type(header.size) is not int:
            raise ValueError
    except (ValueError, LookupError, TypeError):
        raise _damaged(path) from None
    return header


def _packed(block: bytes) -> bytes:
    words = np.frombuffer(block, "<u2", count=len(block) // 2)
    turned = (words << 1 | words >> 15).astype("<u2").view(np.uint8)
    filters = [{**_COMPRESSION, "dict_size": max(4096, len(words))}]  # more would only take memory
    plane = lzma.compress(turned[1::2].tobytes(), lzma.FORMAT_XZ, filters=filters)
    return struct.pack("<Q", len(plane)) + plane + turned[0::2].tobytes() + block[2 * len(words) :]


def _unpacked(file: BinaryIO, size: int) -> bytes:
    """The next block; raises what a damaged one makes of it."""
    count = size // 2
    (length,) = struct.unpack("<Q", _exactly(file, 8))
    if length > size + 1024:
        raise ValueError
    # Never more than is wanted, whatever a damaged plane holds.
    high = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(_exactly(file, length), max_length=count)
    low = _exactly(file, size - count)
    turned = np.empty(2 * count, np.uint8)
    turned[1::2] = np.frombuffer(high, np.uint8)
    turned[0::2] = np.frombuffer(low, np.uint8, count=count)
    words = turned.view("<u2")
    return (words >> 1 | words << 15).astype("<u2").tobytes() + low[count:]


def _exactly(file: BinaryIO, size: int) -> bytes:
    found = file.read(size)
    if len(found) != size:
        raise EOFError
    return found


def _write(target: Path, parts: Iterator[bytes]) -> None:
    fresh = staging_path(target)
    try:
        with fresh.open("wb") as file:
            file.writelines(parts)
        fsync_path(fresh)
        fresh.replace(target)
        fsync_path(target.parent)
    finally:
        fresh.unlink(missing_ok=True)


def _damaged(path: Path) -> FaqError:
    return FaqError("damaged packed weights", hint="copy or download the file again", file=path)
