"""What AWQ searches among."""

from __future__ import annotations

from typing import Any

import pytest
from llmcompressor.modifiers.transform.awq import AWQModifier

from faq_pipeline.core.cell import Cell
from faq_pipeline.quantization.methods.awq import Awq
from faq_pipeline.quantization.oneshot import run
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_rows, make_spec

FORMS: tuple[Any, ...] = (True, False, "both")


def test_both_forms_are_never_worse_than_either(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three searches on the same layers with the same inputs, as the quantization comes to them."""
    grids = {
        form: Awq().modifiers(make_spec("awq", duo_scaling=form))[0]._get_grid_search_params()
        for form in FORMS
    }
    search = AWQModifier._compute_best_scale
    found: list[dict[Any, float]] = []

    def searches(self: AWQModifier, mapping: Any, outputs: Any, originals: Any) -> Any:
        errors = {}
        for form in FORMS:
            for layer, weight in originals.items():  # a search leaves its last try in the layers
                layer.weight.data.copy_(weight)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(AWQModifier, "_get_grid_search_params", lambda _, form=form: grids[form])
                scales = search(self, mapping, outputs, originals)
            errors[form] = self._error_metrics[-1]["best_error"]
        found.append(errors)
        return scales

    monkeypatch.setattr(AWQModifier, "_compute_best_scale", searches)
    run(make_spec("awq", "W3A16", 32), tiny_cell.target, make_rows(2), "cpu", SilentProgress())
    assert found and all(errors["both"] == min(errors.values()) for errors in found)
    assert all(any(errors["both"] < errors[form] for errors in found) for form in (True, False))
