"""The selectors that recipes can name. A new one is a file here and a line below."""

from __future__ import annotations

from faq_pipeline.calibration.selectors.coverage import Coverage
from faq_pipeline.calibration.selectors.diversity import Diversity
from faq_pipeline.calibration.selectors.fidelity import Fidelity
from faq_pipeline.calibration.selectors.protocol import Selector
from faq_pipeline.config.recipe import DRAW
from faq_pipeline.errors import FaqError, nearest_and_known

__all__ = ["SELECTORS", "Selector", "find_selector"]

SELECTORS: dict[str, Selector] = {s.name: s for s in (Coverage(), Fidelity(), Diversity())}


def find_selector(name: str) -> Selector | None:
    """The selector of that name; None for the draw's own order, which needs none.

    Raises:
        FaqError: there is no such selector; names the known ones.
    """
    if name == DRAW:
        return None
    if name in SELECTORS:
        return SELECTORS[name]
    known = [DRAW, *sorted(SELECTORS)]
    raise FaqError(
        f"unknown selection {name!r}", hint=nearest_and_known(name, known), key="calibration.selection"
    )
