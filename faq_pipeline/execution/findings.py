"""What is found when an artifact is held against the contract of its stage.

Asset checks turn findings into verdicts for Dagster; the gate of publishing asks the same questions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.tables import Sample, Seed, Standing, read_rows

MOST_TRUNCATED = 0.2
"""Share of candidates that may be cut, empty or looping before a corpus is worth a warning."""
MOST_SHORTFALL = 0.1
"""Share of the token budget that may stay unfilled before two sets are no longer comparable."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    passed: bool
    metadata: dict[str, Any] = field(default_factory=dict)


def seed_schema(cell: Cell, artifact: Artifact) -> Finding:
    """Of `seed_data`: ids are unique, texts are not empty."""
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


def candidate_quality(cell: Cell, artifact: Artifact) -> Finding:
    """Of `regenerated_corpus`: few candidates are cut, empty or looping."""
    figures = artifact.metadata
    bad = {name: int(figures.get(name, 0)) for name in ("truncated", "empty", "looping")}
    share = sum(bad.values()) / max(1, int(figures.get("candidates", 0)))
    return Finding(share <= MOST_TRUNCATED, {**bad, "share": share})


def groups(cell: Cell, artifact: Artifact) -> Finding:
    """Of `competition_scores`: no group has two winners."""
    standings = read_rows(artifact.file("standings.parquet"), Standing)
    winners = [s.seed_id for s in standings if s.winner]
    found = {s.seed_id for s in standings}
    return Finding(
        bool(winners) and len(winners) == len(set(winners)),
        {"groups": len(found), "winners": len(winners), "without_winner": len(found - set(winners))},
    )


def contamination(cell: Cell, artifact: Artifact) -> Finding:
    """Of `calibration_set`: no sample holds an evaluation document."""
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


def budget(cell: Cell, artifact: Artifact) -> Finding:
    """Of `calibration_set`: the budget is filled and not exceeded."""
    tokens, most = int(artifact.metadata["tokens"]), cell.recipe.calibration.tokens
    return Finding(most * (1 - MOST_SHORTFALL) <= tokens <= most, {"tokens": tokens, "budget": most})


def soundness(cell: Cell, artifact: Artifact) -> Finding:
    """Of `quantized_checkpoint`: it can be used, and is quantized where the recipe says so."""
    found = artifact.metadata["inspection"]
    sound = found["loads"] and not found["nan_tensors"] and not found["missing_tensors"]
    ignore = cell.recipe.quantization.ignore
    forgotten = [name for name in found["unquantized_linear_layers"] if not is_ignored(name, ignore)]
    names = ("loads", "load_error", "bytes", "original_bytes", "nan_tensors", "missing_tensors")
    return Finding(
        bool(sound and found["bytes"] < found["original_bytes"] and not forgotten),
        {**{name: found[name] for name in names}, "not_quantized": forgotten},
    )


def fallback(cell: Cell, artifact: Artifact) -> Finding:
    """Of `quantized_checkpoint`: no module fell back to round-to-nearest."""
    modules = [str(name) for name in artifact.metadata.get("rtn_fallback", [])]
    return Finding(not modules, {"modules": modules})


def recovery(cell: Cell, artifact: Artifact) -> Finding:
    """Of `eval_report`: recovery's lower bound reaches the recipe's gate, where it has one."""
    gate = artifact.metadata["gate"]
    if gate is None:
        return Finding(True, {"gate": "none in this recipe"})
    figure = artifact.metadata["recovery"]
    bounds = {} if figure is None else {"recovery": figure["value"], "lower_bound": figure["low"]}
    return Finding(bool(gate["passed"]), {**bounds, "gate": gate["threshold"]})
