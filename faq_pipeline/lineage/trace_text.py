"""Renders a trace for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from faq_pipeline.lineage.trace import (
    ArtifactSummary,
    JudgedCandidate,
    Licences,
    LineageTrace,
    MadeCheckpoint,
    TracedGroup,
    TracedSample,
)
from faq_pipeline.store.records import EvaluationRow, Seed

EXCERPT = 72
"""Characters of a text that a line shows."""


def render(trace: LineageTrace, most: int | None = None) -> RenderableType:
    """The trace as trees and tables.

    Args:
        most: calibration samples to show; all if None.
    """
    return Lines(*_parts(trace, most))


def _parts(trace: LineageTrace, most: int | None) -> Iterator[RenderableType]:
    if trace.artifact is None:
        yield f"[bold]{trace.kind} {escape(trace.id)}[/]"
    else:
        yield _artifact(trace.artifact)
    for group in trace.groups:
        yield _group(group)
    if trace.samples:
        yield _samples(trace.samples, most, groups=not trace.groups)
    for checkpoint in trace.checkpoints:
        yield _checkpoint(checkpoint)
    if trace.artifact is None and not trace.samples:
        yield "no calibration sample was made from it"


def _artifact(artifact: ArtifactSummary) -> Tree:
    tree = Tree(f"[bold]{artifact.stage} {artifact.fingerprint}[/]  made {artifact.created}")
    for cell in artifact.cells:
        tree.add(f"used by {escape(cell)}")
    for parent in artifact.parents:
        tree.add(f"from {parent.stage} {parent.fingerprint}")
    for child in artifact.children:
        tree.add(f"became {child.stage} {child.fingerprint}")
    return tree


def _group(group: TracedGroup) -> Tree:
    judged = f"judged in {group.scores_fingerprint}" if group.scores_fingerprint else "not judged"
    tree = Tree(f"group of corpus {group.corpus_fingerprint}, {judged}")
    tree.add(_seed(group.seed_id, group.seed))
    for one in group.candidates:
        tree.add(_candidate(one))
    return tree


def _samples(samples: tuple[TracedSample, ...], most: int | None, *, groups: bool) -> Tree:
    tree = Tree(f"[bold]{len(samples)} calibration sample{'s' * (len(samples) != 1)}[/]")
    for traced in samples[:most]:
        sample = traced.sample
        branch = tree.add(
            f"sample {sample.id}  {escape(sample.domain)}, {sample.tokens} tokens,"
            f" row {sample.row} from {sample.start}, in {traced.calibration_fingerprint}"
        )
        if not groups:
            continue
        branch.add(_seed(sample.seed_id, traced.seed))
        if traced.winner is None:
            # Originals kept beside regenerated samples are in no corpus.
            branch.add(f"{sample.candidate_id}: the seed as it was, or its corpus was removed from the store")
        else:
            branch.add(_candidate(traced.winner))
        for loser in traced.losers:
            branch.add(_candidate(loser))
    if most is not None and len(samples) > most:
        tree.add(f"and {len(samples) - most} more")
    return tree


def _seed(seed_id: str, seed: Seed | None) -> str:
    if seed is None:
        return f"seed {escape(seed_id)}: its artifact was removed from the store"
    return (
        f"[cyan]seed[/] {escape(seed.id)}  {_excerpt(seed.text)}"
        f"  [dim]{escape(seed.source)}, {escape(seed.licence)}[/]"
    )


def _candidate(judged: JudgedCandidate) -> str:
    candidate = judged.candidate
    mark = "[green]winner[/]" if judged.winner else "[dim]loser[/]"
    if judged.place is None:
        mark = "candidate"
    scores = ", ".join(f"{one.expert} {_number(one.raw)}" for one in judged.scores)
    total = "" if judged.place is None else f"  total {_number(judged.total)}"
    by = candidate.model or candidate.source
    return (
        f"{mark} {candidate.id}  {escape(by)}{total}"
        + (f"  ({escape(scores)})" if scores else "")
        + f"  {_excerpt(candidate.answer or candidate.text)}"
    )


def _checkpoint(made: MadeCheckpoint) -> Tree:
    what = made.checkpoint
    kind = f"  {what.target}, {what.method} {what.scheme}, group {what.group_size}" if what else ""
    tree = Tree(f"[bold]checkpoint {made.fingerprint}[/]{escape(kind)}")
    for cell in made.cells:
        tree.add(f"used by {escape(cell)}")
    tree.add(_licences(made.licences))
    for report in made.reports:
        tree.add(Lines(f"evaluated in {report.fingerprint}", _figures(report.figures)))
    return tree


def _licences(licences: Licences) -> str:
    seeds = ", ".join(f"{name} ({count})" for name, count in licences.seeds.items())
    parts = {
        "base": ", ".join(licences.base),
        "teacher": ", ".join(licences.teacher),
        "seeds": seeds,
    }
    return "licences: " + "; ".join(f"{k} {escape(v or 'not recorded')}" for k, v in parts.items())


def _figures(figures: tuple[EvaluationRow, ...]) -> Table:
    table = Table("scope", "metric", "value", "95% interval", "n", box=None)
    for one in figures:
        interval = "" if one.low is None else f"[{_number(one.low)}, {_number(one.high)}]"
        table.add_row(escape(one.scope), one.metric, _number(one.value), escape(interval), str(one.n))
    return table


def _number(value: float | None) -> str:
    return "abstains" if value is None else f"{value:.4g}"


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return escape(line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…")
