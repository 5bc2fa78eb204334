"""A model's context length: the most tokens that it can attend to, as its configuration has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faq_pipeline.errors import FaqError

TEXT_PARTS = ("text_config", "llm_config", "language_config")
"""Where models of several parts keep the configuration of their language model."""
KEYS = (
    *("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "max_seq_length"),
    *("seq_length", "n_ctx", "context_length", "model_max_length", "max_target_positions"),
)
"""What architectures call it."""


def context_of(config: Mapping[str, Any], file: Path) -> int | None:
    """Tokens; None where the configuration has none of these keys.

    Args:
        config: the content of a `config.json`.

    Raises:
        FaqError: it is no positive number.
    """
    parts = [config[name] for name in TEXT_PARTS if isinstance(config.get(name), Mapping)]
    for part in (*parts, config):
        for key in KEYS:
            if (value := part.get(key)) is None:
                continue
            if type(value) is not int or value < 1:
                raise FaqError(
                    f"{key} is {value!r}, and not a number of tokens", hint="correct it", file=file
                )
            return value
    return None
