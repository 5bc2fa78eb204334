"""Checks of `calibration_set`."""

from __future__ import annotations

from faq_pipeline.calibration.fill import Fill, is_used
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.check import Check, CheckResult
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Sample
from faq_pipeline.store.tables import read_rows

MOST_SHORTFALL = 0.1
"""Share of the token budget that may stay unfilled before two sets are no longer comparable."""


def check_contamination(cell: Cell, artifact: Artifact) -> CheckResult:
    """No calibration sample holds a document of the recipe's evaluation.

    Where no task is asked, the divergence is measured on replies to the development prompts: these are
    documents then.

    The figures: samples, evaluation_documents, leaks (blocking ones), those of weaker kinds, and up to
    ten examples in words.
    """
    from faq_pipeline.evaluation.contamination import Document, evaluation_documents, find_leaks
    from faq_pipeline.regeneration.traces import load_development

    samples = read_rows(artifact.file("samples.parquet"), Sample)
    documents = evaluation_documents(cell.recipe.evaluation)
    if not cell.recipe.evaluation.tasks:
        documents += [Document(one.id, one.text) for one in load_development(cell.family.development)]
    leaks = find_leaks(samples, documents)
    blocking = [leak for leak in leaks if leak.blocking]
    shown = [f"{leak.sample_id} ~ {leak.document_id} ({leak.kind}): {leak.matched}" for leak in blocking[:10]]
    return CheckResult(
        not blocking,
        {
            "samples": len(samples),
            "evaluation_documents": len(documents),
            "leaks": len(blocking),
            "same_but_for_numbers": sum(leak.kind == "renumbered" for leak in leaks),
            "partial_overlaps": sum(leak.kind == "overlap" for leak in leaks),
            **({"examples": shown} if shown else {}),
        },
    )


def _budget(cell: Cell, artifact: Artifact) -> CheckResult:
    tokens, most = int(artifact.metadata["tokens"]), cell.recipe.calibration.tokens
    return CheckResult(most * (1 - MOST_SHORTFALL) <= tokens <= most, {"tokens": tokens, "budget": most})


def _half_full(cell: Cell, artifact: Artifact) -> CheckResult:
    """As the build does; a set that was made earlier, or for a method that uses none, can be a hit."""
    fill = Fill.of({"budget": cell.recipe.calibration.tokens, **artifact.metadata})
    if not is_used(cell) or fill.is_enough:
        return CheckResult(True, {"tokens": fill.tokens, "budget": fill.budget})
    return CheckResult(False, {"holds": str(fill), "hint": fill.hint})


CALIBRATION_CHECKS = (
    Check(
        "contamination",
        "No calibration sample holds an evaluation question, by normalised match and 13-grams.",
        True,
        check_contamination,
    ),
    Check("half_full", "At least half of the budget is filled.", True, _half_full),
    Check("token_budget", "The budget is filled to nine tenths and not exceeded.", False, _budget),
)
