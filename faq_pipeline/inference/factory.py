"""The engines there are, by the name that a recipe gives. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from faq_pipeline.config.family import Serving
from faq_pipeline.config.recipe import Endpoint
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError, nearest_and_known
from faq_pipeline.inference.engine import Engine
from faq_pipeline.models.weights import Weights


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is made for.

    Attributes:
        device: see `models.device`.
        batch_size: requests that are sampled together, where the engine does not decide it itself.
    """

    weights: Weights
    device: str
    batch_size: int
    serving: Serving = field(default_factory=Serving)
    endpoint: Endpoint | None = None


def _transformers(work: EngineSpec) -> Engine:
    from faq_pipeline.inference.transformers_engine import TransformersEngine

    return TransformersEngine(work.weights, work.device, work.batch_size)


def _vllm(work: EngineSpec) -> Engine:
    from faq_pipeline.inference.vllm_engine import VllmEngine

    return VllmEngine(work.weights, work.device, work.serving)


def _endpoint(work: EngineSpec) -> Engine:
    from faq_pipeline.inference.endpoint_engine import EndpointEngine

    assert work.endpoint is not None
    return EndpointEngine(work.weights, work.endpoint)


ENGINES: dict[str, Callable[[EngineSpec], Engine]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "endpoint": _endpoint,
}


def make_engine(name: str, work: EngineSpec) -> Engine:
    """The engine of that name for a member; nothing is loaded before it is entered.

    Raises:
        FaqError: no engine has that name.
    """
    if name not in ENGINES:
        raise FaqError(
            f"unknown engine {name!r}",
            hint=nearest_and_known(name, sorted(ENGINES)),
            key="regeneration.engine",  # the evaluation's is one of two, which its section checks
        )
    return ENGINES[name](work)


def target_gpus(cell: Cell) -> int:
    """GPUs that the target takes: one in memory; behind vLLM as many as the family says."""
    return cell.serving(cell.target).gpus if cell.recipe.evaluation.engine == "vllm" else 1


def target_engine(cell: Cell) -> Engine:
    """The evaluation's engine for the target, in batches of its size.

    What else asks the target (traces, likelihoods) asks as the evaluation does, and not as the
    regeneration: controls and teachers of other sizes then share its artifacts.
    """
    evaluation = cell.recipe.evaluation
    work = EngineSpec(cell.target, cell.device, evaluation.batch_size, cell.serving(cell.target))
    return make_engine(evaluation.engine, work)
