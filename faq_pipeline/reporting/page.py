"""The report of a finished cell: one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError, ReadError
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.quantization.serving_format import has_kernel, serve_command
from faq_pipeline.reporting.charts import histogram
from faq_pipeline.reporting.content import arms_of, charts_of, cost_of, notes_of, tasks_of
from faq_pipeline.reporting.contests import contests
from faq_pipeline.reporting.data_account import DataFacts
from faq_pipeline.reporting.finished import FinishedCell, finished_cell
from faq_pipeline.reporting.outcome import outcome
from faq_pipeline.reporting.recipe_text import recipe_text
from faq_pipeline.store.fingerprint import tool_version
from faq_pipeline.store.records import Sample
from faq_pipeline.store.tables import read_rows
from faq_pipeline.util.atomic_files import write_atomic
from faq_pipeline.util.pages import render, size

DOMAINS = 12
"""Domains that are named; the others are summed up."""


def write_page(resolver: CellResolver, cell: Cell, path: Path | None = None) -> tuple[Path, list[str]]:
    """Write the report of a finished cell; no model is loaded.

    Args:
        path: the file, which is replaced; `reports/MEMBER/RECIPE.html` of the home by default.

    Returns:
        The file, and the verdict that it begins with: see `summary`.

    Raises:
        MissingUpstreamError: the cell is not finished.
        FaqError: the file cannot be written.
    """
    finished = finished_cell(resolver.settings, cell)
    page = path or resolver.settings.home / "reports" / cell.target.partition / f"{cell.recipe.name}.html"
    sentences = summary(resolver, finished)
    text = page_text(resolver, finished, sentences)
    try:
        write_atomic(page, text)
    except OSError as error:
        raise FaqError(f"cannot be written: {error.strerror}", file=page) from error
    return page, sentences


def summary(resolver: CellResolver, finished: FinishedCell) -> list[str]:
    """The verdict: what regeneration gained, and what the checkpoint keeps, a sentence each."""
    cell, figures = finished.cell, finished.report.metadata
    now, before = (finished.checkpoint.metadata[name] for name in ("bytes", "original_bytes"))
    less = f"The weights take {size(now)} of {size(before)}"
    sentences = [outcome(resolver.settings, [*_baselines(resolver, cell), cell], evaluated=True)]
    if figures["recovery"] is None:
        return [*sentences, f"{less}."]
    value, low, high = (100 * figures["recovery"][name] for name in ("value", "low", "high"))
    kept = f"the checkpoint keeps {value:.1f}% [{low:.1f}, {high:.1f}] of the unquantized model's accuracy"
    return [*sentences, f"{less}; {kept}."]


def page_text(resolver: CellResolver, finished: FinishedCell, sentences: Sequence[str]) -> str:
    """The page's text. It depends only on the artifacts and the version of this package.

    Args:
        sentences: the verdict, see `summary`.
    """
    cell, figures = finished.cell, finished.report.metadata
    arms = arms_of(resolver.settings, finished, _baselines(resolver, cell))
    facts = DataFacts.of(finished)
    return render(
        "faq_pipeline.reporting",
        "cell.html",
        member=cell.target.name,
        partition=cell.target.partition,
        recipe=cell.recipe,
        base=cell.target.member.hub or cell.target.name,
        teacher=facts.teacher if facts else None,
        summary=sentences,
        account=facts.sentences() if facts else ["No calibration data was used."],
        figures=figures,
        arms=arms,
        charts=charts_of(arms, figures["reference"]),
        tasks=tasks_of(arms),
        data=_data(finished),
        contests=contests(finished) if finished.calibration else [],
        cost=cost_of(finished),
        notes=notes_of(finished),
        kernel=has_kernel(cell.recipe.quantization, "cuda"),
        serve=serve_command(cell.recipe.quantization, f"./{cell.target.name}-{cell.recipe.name}"),
        checkpoint=finished.checkpoint,
        stages=finished.ancestry(),
        recipe_yaml=recipe_text(cell.recipe),
        version=tool_version("faq-pipeline"),
    )


def _data(finished: FinishedCell) -> dict[str, Any] | None:
    """Figures of the calibration set; None where there is none."""
    if finished.calibration is None:
        return None
    found = finished.calibration.metadata
    lengths = [one.tokens for one in read_rows(finished.calibration.file("samples.parquet"), Sample)]
    shares = sorted(found["domain_shares"].items(), key=lambda one: (-one[1], one[0]))
    rest = shares[DOMAINS:]
    return {
        **found,
        "seeds": finished.artifacts[stage_names.SEED_DATA].metadata["seeds"],
        "shortest": min(lengths),
        "longest": max(lengths),
        "mean": sum(lengths) / len(lengths),
        "lengths": histogram(lengths),
        "domains": [(name, 100 * share) for name, share in shares[:DOMAINS]],
        "widest": 100 * shares[0][1],
        "others": len(rest),
        "others_share": 100 * sum(share for _, share in rest),
    }


def _baselines(resolver: CellResolver, cell: Cell) -> list[Cell]:
    """The cells of the recipe's baselines, as far as they can be had now."""
    found = []
    for name in cell.recipe.baselines:
        try:
            found.append(resolver.cell(cell.target.partition, name))
        except ReadError:
            raise
        except FaqError:
            continue  # the recipe was removed or changed since
    return found
