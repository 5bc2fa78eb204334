"""The engines there are, by the name that a recipe gives. A new one is one file and one entry here,
or a plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from faq_pipeline.config.endpoint import Endpoint
from faq_pipeline.config.family import Serving
from faq_pipeline.config.registry import Registry, plugin_identity
from faq_pipeline.inference.engine import Engine, ServedEngine
from faq_pipeline.inference.traits import EngineTraits
from faq_pipeline.models.weights import Weights


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is made for.

    Attributes:
        device: see `models.device`.
        batch_size: requests that are sampled together, where the engine does not decide it itself.
        endpoint: where the engine is remote, the servers to ask.
    """

    weights: Weights
    device: str
    batch_size: int
    serving: Serving = field(default_factory=Serving)
    endpoint: Endpoint | None = None


@dataclass(frozen=True)
class EngineKind:
    """An engine as it is registered.

    Attributes:
        make: makes one for a member; it loads no model library and no model.
    """

    make: Callable[[EngineSpec], Engine]
    traits: EngineTraits = field(default_factory=EngineTraits)


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


IN_PROCESS = "transformers"
"""The engine that has the model in this process."""

_BUILT_IN: dict[str, EngineKind] = {
    IN_PROCESS: EngineKind(_transformers, EngineTraits(evaluates=True)),
    "vllm": EngineKind(
        _vllm,
        EngineTraits(
            served=True,
            evaluates=True,
            installed=True,
            gpus=lambda serving: serving.gpus,
            gpus_per_copy=lambda serving: serving.gpus_per_copy,
        ),
    ),
    "endpoint": EngineKind(
        _endpoint, EngineTraits(remote=True, gpus=lambda serving: 0, gpus_per_copy=lambda serving: 0)
    ),
}


ENGINES = Registry("engine", "engines", _BUILT_IN, key="regeneration.engine", has=("make", "traits"))


def find_engine(name: str, key: str = "regeneration.engine") -> EngineKind:
    """The engine of that name.

    Args:
        key: of the recipe, which names it.

    Raises:
        FaqError: no engine has that name, see `Registry.find`.
    """
    return ENGINES.find(name, key)


def make_engine(name: str, work: EngineSpec) -> Engine:
    """The engine of that name for a member; nothing is loaded before it is entered.

    Raises:
        FaqError: no engine has that name.
    """
    return find_engine(name).make(work)


def engine_identity(name: str, engine: Engine) -> dict[str, Any]:
    """What of an engine shapes its samples; a plugin's version too."""
    return {**engine.identity(), **plugin_identity(ENGINES.plugins([name]))}


def make_served_engine(name: str, work: EngineSpec) -> ServedEngine:
    """The same for an engine whose trait is `served`."""
    kind = find_engine(name)
    assert kind.traits.served, f"engine {name!r} has no server of its own"
    return cast(ServedEngine, kind.make(work))
