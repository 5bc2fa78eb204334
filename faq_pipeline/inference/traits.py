"""What others must know of an engine without making it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from faq_pipeline.config.family import Serving

Gpus = Callable[[Serving], int]


def _one(serving: Serving) -> int:
    return 1


@dataclass(frozen=True)
class EngineTraits:
    """Traits of an engine, declared where it is registered. The defaults: the model is in this process.

    Attributes:
        remote: the model is loaded elsewhere, on the servers that the recipe's `endpoint` names: nothing
            of it is downloaded, and it takes no memory or GPU of this machine.
        served: it is a `ServedEngine`, one with a server of its own, which answers an evaluation's
            questions too.
        evaluates: recipes may name it as `evaluation.engine`: a served one, or that of transformers.
        installed: it runs in a Python environment of its own, which `faq engines install` makes.
        gpus: on how many GPUs of this machine the model runs, by the family's `serving`.
        gpus_per_copy: on how many of them one copy of the weights is spread.
    """

    remote: bool = False
    served: bool = False
    evaluates: bool = False
    installed: bool = False
    gpus: Gpus = _one
    gpus_per_copy: Gpus = _one
