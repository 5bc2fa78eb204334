"""Asset checks: the contract of each stage. Blocking ones stop what is downstream.

They run with every materialization, on hits too: an artifact that broke a contract is never
passed on because it was cached.
"""

from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.execution import findings
from faq_pipeline.execution.findings import Finding
from faq_pipeline.store.artifact import Artifact


@dataclass(frozen=True)
class Check:
    """One contract of one stage. A check that does not block is a warning."""

    stage: str
    name: str
    description: str
    blocking: bool
    find: Callable[[Cell, Artifact], Finding]


def checks_of(stage: str) -> list[Check]:
    """The checks of one stage."""
    return [check for check in CHECKS if check.stage == stage]


def run_check(check: Check, cell: Cell, artifact: Artifact) -> dg.AssetCheckResult:
    """The check's verdict on an artifact, as Dagster takes it."""
    finding = check.find(cell, artifact)
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        # The UI shows the latest result of a check whatever its partition: let it say whose it is.
        metadata={"cell": cell.partition, **finding.metadata},
    )


def blocking_problem(stage: str, cell: Cell, artifact: Artifact) -> str:
    """What a blocking check has against an artifact, in one line; empty where none has anything.

    For those who make artifacts outside of Dagster.
    """
    for check in checks_of(stage):
        if check.blocking and not (finding := check.find(cell, artifact)).passed:
            facts = "; ".join(f"{name}: {value}" for name, value in finding.metadata.items() if value)
            return f"check {check.name} failed: {facts}"
    return ""


CHECKS = (
    Check(
        "seed_data",
        "schema_and_duplicates",
        "Ids are unique, texts are not empty.",
        True,
        findings.seed_schema,
    ),
    Check(
        "regenerated_corpus",
        "candidate_quality",
        "Few candidates are truncated, empty or looping.",
        False,
        findings.candidate_quality,
    ),
    Check("competition_scores", "one_winner_a_group", "No group has two winners.", True, findings.groups),
    Check(
        "calibration_set",
        "contamination",
        "No calibration sample holds an evaluation question, by normalised match and 13-grams.",
        True,
        findings.contamination,
    ),
    Check(
        "calibration_set", "token_budget", "The budget is filled and not exceeded.", False, findings.budget
    ),
    Check(
        "quantized_checkpoint",
        "sound_checkpoint",
        "It loads back, is smaller than the original, holds no NaN, and every layer is quantized but for"
        " those that the recipe leaves out.",
        True,
        findings.soundness,
    ),
    Check(
        "quantized_checkpoint",
        "no_silent_fallback",
        "No module fell back to round-to-nearest.",
        True,
        findings.fallback,
    ),
    Check(
        "eval_report",
        "recovery_gate",
        "Recovery's lower bound reaches the recipe's gate.",
        False,
        findings.recovery,
    ),
)
