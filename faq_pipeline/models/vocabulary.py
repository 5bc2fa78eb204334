"""A tokenizer's base vocabulary, without added tokens, however its files spell it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from faq_pipeline.config.json_objects import read_object
from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.models.tokenizer_files import tokenizer_files
from faq_pipeline.store.fingerprint import hash_file, short_hash

BINARY = (".model", ".tiktoken", ".spm")


def vocabulary_digests(folder: Path) -> list[str]:
    """Digests of a folder's base vocabulary: the present one first, then that of earlier versions.

    Equal vocabularies have equal digests whatever the order of keys, the white space, the form of the
    merges (`"a b"` or `["a", "b"]`) and the file (`tokenizer.json`, or `vocab.json` and `merges.txt`).
    Empty where no file is known to hold a vocabulary.

    Raises:
        FaqError: a file is no JSON of this form, or cannot be read.
    """
    names = tokenizer_files(folder)
    if "tokenizer.json" in names:
        model = read_object(folder / "tokenizer.json").get("model")
        model = model if isinstance(model, dict) else {}
        vocabulary, merges = model.get("vocab"), model.get("merges")
        return list(dict.fromkeys([_digest(vocabulary, _pairs(merges)), _digest(vocabulary, merges)]))
    if {"vocab.json", "merges.txt"} <= set(names):
        lines = _lines(folder / "merges.txt")
        return [
            _digest(read_object(folder / "vocab.json"), _pairs([ln for ln in lines if ln[:1] != "#" and ln]))
        ]
    if "vocab.txt" in names:
        return [_digest({token: number for number, token in enumerate(_lines(folder / "vocab.txt"))}, None)]
    held = [name for name in names if name == "tekken.json" or Path(name).suffix in BINARY]
    if not held:
        return []
    with reading_file(folder):
        return [short_hash("\n".join(hash_file(folder / name) for name in held).encode())]


def _pairs(merges: Any) -> Any:
    """Merges as pairs of tokens: a merge written as one text has its tokens on both sides of a space."""
    if not isinstance(merges, list):
        return merges
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]


def _digest(vocabulary: Any, merges: Any) -> str:
    return short_hash(json.dumps([vocabulary, merges], sort_keys=True).encode())


def _lines(path: Path) -> list[str]:
    try:
        with reading_file(path):
            return path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except ValueError as error:
        raise FaqError(f"is not UTF-8: {error}", file=path) from None
