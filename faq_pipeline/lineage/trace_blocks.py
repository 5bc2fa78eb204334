"""The blocks of a trace for the terminal: an artifact, a group, a sample, a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from faq_pipeline.lineage.trace import (
    ArtifactSummary,
    JudgedCandidate,
    Licences,
    MadeCheckpoint,
    TracedGroup,
    TracedSample,
)
from faq_pipeline.store.records import EvaluationRow, Seed

EXCERPT = 72
"""Characters of a text that a line shows."""
KL = "kl"
TASKS_OR_PROSE = {"traces": "tasks", "prose": "prose"}
"""What the text of a divergence is called, by scope."""
FIRST = {
    ("all", "quantized"): ("accuracy", 100, " %"),
    ("all", "reference"): ("unquantized", 100, " %"),
    ("all", "loss"): ("loss", 100, " points"),
    ("traces", KL): ("KL on tasks", 1000, ""),
    ("prose", KL): ("KL on prose", 1000, ""),
}
"""Figures of an evaluation that a line shows, by scope and metric: name, scale and unit."""


def _named(tree: Tree, lines: Sequence[str], few: int | None) -> None:
    """Add lines to a tree, some of them and how many more if `few` is not None."""
    for line in lines[:few]:
        tree.add(escape(line))
    if few is not None and len(lines) > few:
        tree.add(f"and {len(lines) - few} more")


def artifact_block(artifact: ArtifactSummary, few: int | None) -> Tree:
    """An artifact among its neighbours."""
    tree = Tree(f"[bold]{artifact.stage} {artifact.fingerprint}[/]  made {artifact.created}")
    _named(tree, [f"used by {cell}" for cell in artifact.cells], few)
    _named(tree, [f"from {parent.stage} {parent.fingerprint}" for parent in artifact.parents], few)
    _named(tree, [f"became {child.stage} {child.fingerprint}" for child in artifact.children], few)
    return tree


def group_block(group: TracedGroup) -> Tree:
    """The candidates of a seed, best first."""
    judged = f"judged in {group.scores_fingerprint}" if group.scores_fingerprint else "not judged"
    tree = Tree(f"group of corpus {group.corpus_fingerprint}, {judged}")
    tree.add(_seed(group.seed_id, group.seed))
    for one in group.candidates:
        tree.add(_candidate(one))
    return tree


def sample_block(traced: TracedSample, *, group: bool) -> RenderableType:
    """A sample and, if `group`, how it was made."""
    sample = traced.sample
    tree = Tree(
        f"sample {sample.id}  {escape(sample.domain)}, {sample.tokens} tokens,"
        f" row {sample.row} from {sample.start}, in {traced.calibration_fingerprint}"
    )
    if not group:
        return tree
    tree.add(_seed(sample.seed_id, traced.seed))
    if traced.winner is None:
        # Originals kept beside regenerated samples are in no corpus.
        tree.add(f"{sample.candidate_id}: the seed as it was, or its corpus was removed from the store")
    else:
        tree.add(_candidate(traced.winner))
    for loser in traced.losers:
        tree.add(_candidate(loser))
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
    total = "" if judged.total is None else f"  total {_number(judged.total)}"
    by = candidate.model or candidate.source
    return (
        f"{mark} {candidate.id}  {escape(by)}{total}"
        + (f"  ({escape(scores)})" if scores else "")
        + f"  {_excerpt(candidate.answer or candidate.text)}"
    )


def checkpoint_block(made: MadeCheckpoint, few: int | None, known: tuple[str, ...]) -> Tree:
    """A checkpoint; `known` are cells that the heading names."""
    what = made.checkpoint
    kind = f"  {what.target}, {what.method} {what.scheme}, group {what.group_size}" if what else ""
    tree = Tree(f"[bold]checkpoint {made.fingerprint}[/]{escape(kind)}")
    if made.cells != known:
        _named(tree, [f"used by {cell}" for cell in made.cells], few)
    for report in made.reports:
        title = f"evaluated in {report.fingerprint}"
        if few is None:
            tree.add(Lines(title, _figures(report.figures)))
        else:
            tree.add(f"{title}: {escape(_in_a_line(report.figures))}")
    tree.add(_licences(made.licences))
    return tree


def _licences(licences: Licences) -> str:
    seeds = ", ".join(f"{name} ({count})" for name, count in licences.seeds.items())
    parts = {
        "base": ", ".join(licences.base),
        "teacher": ", ".join(licences.teacher),
        "seeds": seeds,
    }
    return "licences: " + "; ".join(f"{k} {escape(v or 'not recorded')}" for k, v in parts.items())


def _in_a_line(figures: tuple[EvaluationRow, ...]) -> str:
    """The figures that a report's reader asks for first."""
    found = {(one.scope, one.metric): one for one in figures}
    said = [
        f"{name} {_number(one.value * scale)}{_interval(one, scale)}{unit}"
        for (scope, metric), (name, scale, unit) in FIRST.items()
        if (one := found.get((scope, metric))) is not None
    ]
    nats = " (1e-3 nats a token)" if any(metric == KL for _, metric in found) else ""
    return ", ".join(said) + nats if said else "no figures"


def _figures(figures: tuple[EvaluationRow, ...]) -> Table:
    table = Table("scope", "metric", "value", "95% interval", "n", box=None)
    for one in figures:
        scope, metric, scale = (
            (TASKS_OR_PROSE[one.scope], "KL, 1e-3 nats a token", 1000)
            if one.metric == KL
            else (one.scope, one.metric, 1)
        )
        interval = _interval(one, scale).strip()
        table.add_row(escape(scope), metric, _number(one.value * scale), escape(interval), str(one.n))
    return table


def _interval(figure: EvaluationRow, scale: float) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f" [{_number(figure.low * scale)}, {_number(figure.high * scale)}]"


def _number(value: float | None) -> str:
    return "abstains" if value is None else f"{value:.4g}"


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return escape(line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…")
