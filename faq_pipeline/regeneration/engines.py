"""The engines there are, by the name that a recipe gives. A new one is one file and one line here."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import Weights
from faq_pipeline.regeneration.engine import Engine

Factory = Callable[[Weights, str, int], Engine]


def _transformers(weights: Weights, device: str, batch_size: int) -> Engine:
    from faq_pipeline.regeneration.transformers_engine import TransformersEngine

    return TransformersEngine(weights, device, batch_size)


ENGINES: dict[str, Factory] = {"transformers": _transformers}


def make_engine(name: str, weights: Weights, device: str, batch_size: int) -> Engine:
    """The engine of that name for a member; nothing is loaded before it is entered.

    Args:
        device: `cpu` or `cuda`.
        batch_size: requests that are sampled together, where the engine does not decide it itself.

    Raises:
        FaqError: no engine has that name.
    """
    if name not in ENGINES:
        near = difflib.get_close_matches(name, ENGINES, n=1)
        mend = f"did you mean {near[0]!r}? " if near else ""
        raise FaqError(f"unknown engine {name!r}", mend=f"{mend}known: {', '.join(sorted(ENGINES))}")
    return ENGINES[name](weights, device, batch_size)
