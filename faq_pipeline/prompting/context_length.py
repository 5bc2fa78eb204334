"""Checks that prompts fit the context of the model that reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from faq_pipeline.errors import FaqError
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
    ids = tokenizer([text for _, text in pairs], add_special_tokens=False)["input_ids"]
    for (item, _), these in zip(pairs, ids, strict=True):
        if len(these) + new_tokens > member.context:
            also = f" and max_new_tokens {new_tokens}" if new_tokens else ""
            raise error(
                item,
                f"takes {len(these)} tokens{also}, and the context of {member.name} is {member.context}",
                "shorten it, or lower max_new_tokens" if new_tokens else "shorten it",
            )
