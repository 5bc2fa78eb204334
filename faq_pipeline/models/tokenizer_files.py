"""Which files of a member folder its tokenizer, chat template and processors are read from."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from faq_pipeline.errors import reading_file
from faq_pipeline.util.files import listing

USUAL = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
FURTHER = (
    *("tokenizer*", "*.tokenizer", "*.model", "*.model.v*", "*.tiktoken", "*.spm", "tekken.json"),
    *(
        "*vocab*",
        "merges*",
        "*.bpe",
        "bpe.codes",
        "encoder.json",
        "dict.txt",
        "normalizer.json",
        "emoji.json",
    ),
    *("special_tokens*", "added_tokens*", "*chat_template*", "*.jinja", "*processor*.json"),
)
"""Patterns of what else a tokenizer or processor of transformers or vLLM may be read from."""
TEMPLATES = "additional_chat_templates"
"""A folder with further chat templates."""
LEFT_OUT = ("*.safetensors", "*.packed", "*.index.json", "*.md", "*~", "*.bak", "*.orig")
"""Weights, which have a digest of their own, texts for people and what editors leave."""


def tokenizer_files(folder: Path) -> list[str]:
    """Names of these files, relative to the folder: the usual ones first, then others by name.

    The order is part of a member's tokenizer digest.

    Raises:
        ReadError: the folder cannot be read now.
    """
    with reading_file(folder):
        names = [path.name for path in listing(folder) if path.is_file()]
        templates = [f"{TEMPLATES}/{path.name}" for path in listing(folder / TEMPLATES, ".jinja")]
    further = [name for name in names if _is_further(name)]
    return [*(name for name in USUAL if name in names), *further, *templates]


def _is_further(name: str) -> bool:
    if name in USUAL or any(fnmatchcase(name, pattern) for pattern in LEFT_OUT):
        return False
    return any(fnmatchcase(name, pattern) for pattern in FURTHER)
