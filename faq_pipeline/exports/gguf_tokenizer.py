"""A byte-level BPE tokenizer in a GGUF file's metadata."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from faq_pipeline.config.json_objects import read_object
from faq_pipeline.errors import FaqError
from faq_pipeline.exports.gguf_names import gguf_package

_BEFORE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_AFTER = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {_BEFORE + r"\p{N}" + _AFTER: "qwen2", _BEFORE + r"\p{N}{1,3}" + _AFTER: "llama-bpe"}
"""How a tokenizer splits text before it merges, by regular expression: llama.cpp's name of it."""
OTHER = "default"


def add_tokenizer(writer: Any, folder: Path, vocabulary: int) -> list[str]:
    """Add the tokenizer of a checkpoint's folder, and its chat template.

    Args:
        vocabulary: rows of the model's embedding; those without a token are named as unused.

    Returns:
        What a user must know of it.

    Raises:
        FaqError: it is no byte-level BPE.
    """
    gguf = gguf_package()
    content = read_object(folder / "tokenizer.json")
    model, split = content["model"], content.get("pre_tokenizer") or {}
    parts = split.get("pretokenizers", [split])
    levels = [part for part in parts if part.get("type") == "ByteLevel"]
    if model.get("type") != "BPE" or not levels or model.get("byte_fallback"):
        raise FaqError(
            "this tokenizer is no byte-level BPE",
            hint="use --to imatrix or text",
            file=folder / "tokenizer.json",
        )
    tokens = [f"[PAD{i}]" for i in range(vocabulary)]
    types = [gguf.TokenType.UNUSED] * vocabulary
    for token, i in model["vocab"].items():
        tokens[i], types[i] = token, gguf.TokenType.NORMAL
    for added in content.get("added_tokens", ()):
        tokens[added["id"]] = added["content"]
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    named = _split_name(parts)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(named)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    logging.getLogger("gguf.vocab").setLevel(logging.ERROR)
    gguf.SpecialVocab(folder, load_merges=True, n_vocab=vocabulary).add_to_gguf(writer, quiet=True)
    if named == OTHER:
        return [
            "note: llama.cpp cannot split text as this tokenizer does; give it token ids,"
            " or some texts get other tokens"
        ]
    return []


def _split_name(parts: list[dict[str, Any]]) -> str:
    for part in parts:
        if part.get("type") == "Split":
            return SPLITS.get(part["pattern"].get("Regex", ""), OTHER)
        if part.get("type") == "ByteLevel" and part.get("use_regex", True):
            return "gpt-2"
    return OTHER
