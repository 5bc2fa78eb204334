"""The quantization methods by name. A new one is a file here and an entry below, or a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.registry import Registry
from faq_pipeline.quantization.methods.autoround import AutoRound
from faq_pipeline.quantization.methods.awq import Awq
from faq_pipeline.quantization.methods.decoupleq import DecoupleQ
from faq_pipeline.quantization.methods.foem import Foem
from faq_pipeline.quantization.methods.gptaq import Gptaq
from faq_pipeline.quantization.methods.gptq import Gptq
from faq_pipeline.quantization.methods.protocol import Method
from faq_pipeline.quantization.methods.quantease import QuantEase
from faq_pipeline.quantization.methods.rtn import Rtn
from faq_pipeline.quantization.methods.smoothquant import SmoothQuant
from faq_pipeline.quantization.schemes import SCHEMES

_BUILT_IN: tuple[Method, ...] = (
    Rtn(),
    Gptq(),
    Awq(),
    SmoothQuant(),
    Gptaq(),
    Foem(),
    QuantEase(),
    DecoupleQ(),
    AutoRound(),
)
METHODS = Registry(
    "quantization method",
    "methods",
    {method.name: method for method in _BUILT_IN},
    key="quantization.method",
    has=("name", "calibrated", "options", "variants", "modifiers"),
)


def needs_calibration(spec: Quantization) -> bool:
    """Whether the method, the search for scales, activations or a cache need a calibration set.

    An unknown scheme needs none: `check_spec` refuses it.
    """
    if find_method(spec.method).calibrated or spec.observer == "imatrix" or spec.kv_cache is not None:
        return True
    return spec.scheme in SCHEMES and SCHEMES.find(spec.scheme).calibrated


def learns_rounding(spec: Quantization) -> bool:
    """Whether the method learns roundings and scales step by step, for as many `iterations`."""
    return getattr(find_method(spec.method), "learns_rounding", False)


def time_over_gptq(spec: Quantization) -> float | None:
    """How many times as long as GPTQ the method takes on a CPU; None if it is not known to be much slower."""
    times: float | None = getattr(find_method(spec.method), "time_over_gptq", None)
    if times is None or not learns_rounding(spec):
        return times
    usual: int = Quantization.model_fields["iterations"].default
    return times * spec.iterations / usual  # nearly all of its time goes into them


def planning_spec(spec: Quantization) -> Quantization:
    """The section whose roundings a bit plan measures: the recipe's own, or a quicker method's."""
    quicker: Mapping[str, Any] | None = getattr(find_method(spec.method), "planned_with", None)
    return spec if quicker is None else spec.model_copy(update=dict(quicker))


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        FaqError: unknown, see `Registry.find`.
    """
    return METHODS.find(name)
