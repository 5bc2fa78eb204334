"""Checks of `competition_scores`."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.check import Check, CheckResult
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Standing
from faq_pipeline.store.tables import read_rows


def _winners(cell: Cell, artifact: Artifact) -> CheckResult:
    standings = read_rows(artifact.file("standings.parquet"), Standing)
    winners = [s.seed_id for s in standings if s.winner]
    found = {s.seed_id for s in standings}
    figures = {"groups": len(found), "winners": len(winners), "without_winner": len(found - set(winners))}
    wrong = artifact.metadata.get("wrong_alone")
    return CheckResult(
        bool(found) and len(winners) == len(set(winners)),
        {**figures, **({"wrong_answer_alone": wrong} if wrong else {})},
    )


COMPETITION_CHECKS = (Check("one_winner_a_group", "No group has two winners.", True, _winners),)
