"""Checks that prompts fit the context of the model that reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from faq_pipeline.errors import FaqError, library_errors
from faq_pipeline.models.weights import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Item = TypeVar("Item")


def check_leaves_room(new_tokens: int, member: Weights, key: str) -> None:
    """Refuse a limit of generated tokens that leaves no room for any prompt.

    Raises:
        FaqError: it does.
    """
    if new_tokens >= member.context:
        raise FaqError(
            f"{key} {new_tokens} leaves no room for a prompt: the context of {member.name} is"
            f" {member.context}",
            hint=f"lower it below {member.context}",
            key=key,
        )


def check_fits_context(
    texts: Iterable[tuple[Item, str]],
    tokenizer: PreTrainedTokenizerBase,
    member: Weights,
    error: Callable[[Item, str, str], FaqError],
    *,
    new_tokens: int = 0,
    key: str = "",
) -> None:
    """Refuse the first text that, with `new_tokens` after it, is longer than the member's context.

    Args:
        texts: each with what it came from.
        error: makes the error from that, a problem and a hint; it knows file and line.
        key: of the recipe, where `new_tokens` is from.

    Raises:
        FaqError: what `error` made; or `new_tokens` leaves no room for any prompt.
    """
    check_leaves_room(new_tokens, member, key)
    pairs = list(texts)
    if not pairs:
        return
    folder = Path(tokenizer.name_or_path)
    with library_errors("the tokenizer fails", file=folder, hint="copy or download its files again"):
        ids = tokenizer([text for _, text in pairs], add_special_tokens=False)["input_ids"]
    padding = [] if tokenizer.pad_token_id is None else [tokenizer.pad_token_id]
    _check_vocabulary([padding, *ids], member)
    for (item, _), these in zip(pairs, ids, strict=True):
        if len(these) + new_tokens > member.context:
            also = f" and max_new_tokens {new_tokens}" if new_tokens else ""
            raise error(
                item,
                f"takes {len(these)} tokens{also}, and the context of {member.name} is {member.context}",
                "shorten it, or lower max_new_tokens" if new_tokens else "shorten it",
            )


def _check_vocabulary(ids: Iterable[Iterable[int]], member: Weights) -> None:
    """Refuse tokens that the member has no embedding for."""
    parts = (member.config.get("text_config"), member.config)
    sizes = [part.get("vocab_size") for part in parts if isinstance(part, dict)]
    size = next((size for size in sizes if isinstance(size, int)), None)
    greatest = max((token for these in ids for token in these), default=0)
    if size is not None and greatest >= size:
        raise FaqError(
            f"the tokenizer of {member.name} makes token {greatest}, and vocab_size is {size}",
            hint="is it the tokenizer of another model?",
            file=member.folder / "config.json",
        )
