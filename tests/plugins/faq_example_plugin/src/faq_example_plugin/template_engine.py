"""An engine that loads no model: it fills a template by the request's seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.engine import Completion, Request, Unit
from faq_pipeline.inference.factory import EngineKind, EngineSpec
from faq_pipeline.inference.traits import EngineTraits

TEXT = "<think>\nMira has {apples} apples and gives 5 away.\n</think>\n\nAnswer: {left}"


@dataclass
class TemplateEngine:
    """Each request is answered for itself."""

    spec: EngineSpec
    repeats: bool = True

    def identity(self) -> dict[str, Any]:
        """The template; faq_pipeline adds the plugin's name and version."""
        return {"engine": "template", "text": TEXT}

    def units(self, requests: Iterable[Request]) -> list[Unit]:
        """Every request for itself."""
        return [Unit((request,)) for request in requests]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def generate(self, units: Sequence[Unit], sampling: Sampling) -> Iterator[Completion]:
        """Completions in the order of the requests."""
        for unit in units:
            for request in unit.requests:
                apples = 7 + request.seed % 90
                text = TEXT.format(apples=apples, left=apples - 5)
                yield Completion(request.id, text, tokens=20, logprob=None, finish="stop")

    def figures(self) -> dict[str, Any]:
        """It needs no GPU."""
        return {"gpus": 0}


TEMPLATE = EngineKind(TemplateEngine, EngineTraits(gpus=lambda serving: 0, gpus_per_copy=lambda serving: 0))
