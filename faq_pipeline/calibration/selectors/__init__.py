"""The selectors that recipes can name. A new one is a file here and a line below, or a plugin."""

from __future__ import annotations

from faq_pipeline.calibration.selectors.centroid import Centroid
from faq_pipeline.calibration.selectors.clusters import Clusters
from faq_pipeline.calibration.selectors.coverage import Coverage
from faq_pipeline.calibration.selectors.diversity import Diversity
from faq_pipeline.calibration.selectors.entropy import Entropy
from faq_pipeline.calibration.selectors.expert_balance import ExpertBalance
from faq_pipeline.calibration.selectors.fidelity import Fidelity
from faq_pipeline.calibration.selectors.protocol import Selector
from faq_pipeline.config.recipe import DRAW
from faq_pipeline.config.registry import Registry
from faq_pipeline.errors import nearest_and_known

__all__ = ["SELECTORS", "Selector", "find_selector"]

_BUILT_IN: tuple[Selector, ...] = (
    Coverage(),
    Fidelity(),
    Diversity(),
    Centroid(),
    Clusters(),
    Entropy(),
    ExpertBalance(),
)
SELECTORS = Registry(
    "selection",
    "selectors",
    {selector.name: selector for selector in _BUILT_IN},
    key="calibration.selection",
    has=("name", "needs_activations", "start"),
    hint=lambda name, known: nearest_and_known(name, [DRAW, *sorted(known)]),
)


def find_selector(name: str) -> Selector | None:
    """The selector of that name; None for the draw's own order, which needs none.

    Raises:
        FaqError: there is no such selector, see `Registry.find`.
    """
    return None if name == DRAW else SELECTORS.find(name)
