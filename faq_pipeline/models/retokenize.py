"""Recovers a model's tokens from text that it wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def written_ids(encode: Callable[[str], Sequence[int]], prompt: str, text: str) -> list[int]:
    """Tokens of `text` as it follows `prompt`: the usual ones for it, which a model nearly always wrote."""
    before, whole = list(encode(prompt)), list(encode(prompt + text))
    if whole[: len(before)] == before:
        return whole[len(before) :]
    # The text's first characters would merge into the prompt's last token.
    return list(encode(text))
