"""Checks of `seed_data` and `regenerated_corpus`."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.check import Check, CheckResult
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Seed
from faq_pipeline.store.tables import read_rows

MOST_TRUNCATED = 0.2
"""Share of candidates that may be cut, empty or looping before a corpus is worth a warning."""


def _seed_schema(cell: Cell, artifact: Artifact) -> CheckResult:
    seeds = read_rows(artifact.file("seeds.parquet"), Seed)
    ids, texts = {s.id for s in seeds}, {s.text for s in seeds}
    return CheckResult(
        bool(seeds) and len(ids) == len(seeds) and all(s.text.strip() for s in seeds),
        {
            "seeds": len(seeds),
            "repeated_ids": len(seeds) - len(ids),
            "repeated_texts": len(seeds) - len(texts),
        },
    )


def _candidate_quality(cell: Cell, artifact: Artifact) -> CheckResult:
    figures = artifact.metadata
    bad = {name: int(figures.get(name, 0)) for name in ("truncated", "empty", "looping")}
    share = sum(bad.values()) / max(1, int(figures.get("candidates", 0)))
    return CheckResult(share <= MOST_TRUNCATED, {**bad, "share": share})


SEED_CHECKS = (Check("schema_and_duplicates", "Ids are unique, texts are not empty.", True, _seed_schema),)
CORPUS_CHECKS = (
    Check("candidate_quality", "Few candidates are truncated, empty or looping.", False, _candidate_quality),
)
