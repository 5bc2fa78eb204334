"""Asset checks: the contract of each stage. Blocking ones stop what is downstream.

They run with every materialization, on hits too: an artifact that broke a contract is never
passed on because it was cached.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from faq_pipeline.cell import Cell
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.records import Sample, Seed, Standing, read_rows
from faq_pipeline.store.artifact import Artifact

MOST_TRUNCATED = 0.2
"""Share of candidates that may be cut, empty or looping before a corpus is worth a warning."""
MOST_SHORTFALL = 0.1
"""Share of the token budget that may stay unfilled before two sets are no longer comparable."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    passed: bool
    metadata: dict[str, Any] = field(default_factory=dict)


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


def _seed_schema(cell: Cell, artifact: Artifact) -> Finding:
    seeds = read_rows(artifact.file("seeds.parquet"), Seed)
    ids, texts = {s.id for s in seeds}, {s.text for s in seeds}
    return Finding(
        bool(seeds) and len(ids) == len(seeds) and all(s.text.strip() for s in seeds),
        {
            "seeds": len(seeds),
            "repeated_ids": len(seeds) - len(ids),
            "repeated_texts": len(seeds) - len(texts),
        },
    )


def _candidate_quality(cell: Cell, artifact: Artifact) -> Finding:
    figures = artifact.metadata
    bad = {name: int(figures.get(name, 0)) for name in ("truncated", "empty", "looping")}
    share = sum(bad.values()) / max(1, int(figures.get("candidates", 0)))
    return Finding(share <= MOST_TRUNCATED, {**bad, "share": share})


def _groups(cell: Cell, artifact: Artifact) -> Finding:
    standings = read_rows(artifact.file("standings.parquet"), Standing)
    winners = [s.seed_id for s in standings if s.winner]
    groups = {s.seed_id for s in standings}
    return Finding(
        bool(winners) and len(winners) == len(set(winners)),
        {"groups": len(groups), "winners": len(winners), "without_winner": len(groups - set(winners))},
    )


def _contamination(cell: Cell, artifact: Artifact) -> Finding:
    from faq_pipeline.evaluation.contamination import evaluation_documents, find_leaks

    samples = read_rows(artifact.file("samples.parquet"), Sample)
    documents = evaluation_documents(cell.recipe.evaluation)
    leaks = find_leaks(samples, documents)
    blocking = [leak for leak in leaks if leak.blocking]
    shown = [f"{leak.sample_id} ~ {leak.document_id} ({leak.kind}): {leak.matched}" for leak in blocking[:10]]
    return Finding(
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


def _budget(cell: Cell, artifact: Artifact) -> Finding:
    tokens, budget = int(artifact.metadata["tokens"]), cell.recipe.calibration.tokens
    return Finding(budget * (1 - MOST_SHORTFALL) <= tokens <= budget, {"tokens": tokens, "budget": budget})


def _checkpoint(cell: Cell, artifact: Artifact) -> Finding:
    found = artifact.metadata["inspection"]
    sound = found["loads"] and not found["nan_tensors"] and not found["missing_tensors"]
    ignore = cell.recipe.quantization.ignore
    forgotten = [name for name in found["unquantized_linear_layers"] if not is_ignored(name, ignore)]
    names = ("loads", "load_error", "bytes", "original_bytes", "nan_tensors", "missing_tensors")
    return Finding(
        bool(sound and found["bytes"] < found["original_bytes"] and not forgotten),
        {**{name: found[name] for name in names}, "not_quantized": forgotten},
    )


def _no_fallback(cell: Cell, artifact: Artifact) -> Finding:
    fallback = [str(name) for name in artifact.metadata.get("rtn_fallback", [])]
    return Finding(not fallback, {"modules": fallback})


def _gate(cell: Cell, artifact: Artifact) -> Finding:
    gate = artifact.metadata["gate"]
    if gate is None:
        return Finding(True, {"gate": "none in this recipe"})
    recovery = artifact.metadata["recovery"]
    bounds = {} if recovery is None else {"recovery": recovery["value"], "lower_bound": recovery["low"]}
    return Finding(bool(gate["passed"]), {**bounds, "gate": gate["threshold"]})


CHECKS = (
    Check("seed_data", "schema_and_duplicates", "Ids are unique, texts are not empty.", True, _seed_schema),
    Check(
        "regenerated_corpus",
        "candidate_quality",
        "Few candidates are truncated, empty or looping.",
        False,
        _candidate_quality,
    ),
    Check("competition_scores", "one_winner_a_group", "No group has two winners.", True, _groups),
    Check(
        "calibration_set",
        "contamination",
        "No calibration sample holds an evaluation question, by normalised match and 13-grams.",
        True,
        _contamination,
    ),
    Check("calibration_set", "token_budget", "The budget is filled and not exceeded.", False, _budget),
    Check(
        "quantized_checkpoint",
        "sound_checkpoint",
        "It loads back, is smaller than the original, holds no NaN, and every layer is quantized but for"
        " those that the recipe leaves out.",
        True,
        _checkpoint,
    ),
    Check(
        "quantized_checkpoint",
        "no_silent_fallback",
        "No module fell back to round-to-nearest.",
        True,
        _no_fallback,
    ),
    Check("eval_report", "recovery_gate", "Recovery's lower bound reaches the recipe's gate.", False, _gate),
)
