"""Checks of `eval_report`."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.check import Check, CheckResult
from faq_pipeline.store.artifact import Artifact


def _recovery(cell: Cell, artifact: Artifact) -> CheckResult:
    gate = artifact.metadata["gate"]
    if gate is None:
        return CheckResult(True, {"gate": "none in this recipe"})
    figure = artifact.metadata["recovery"]
    bounds = {} if figure is None else {"recovery": figure["value"], "lower_bound": figure["low"]}
    return CheckResult(bool(gate["passed"]), {**bounds, "gate": gate["threshold"]})


REPORT_CHECKS = (
    Check("recovery_gate", "Recovery's lower bound reaches the recipe's gate.", False, _recovery),
)
