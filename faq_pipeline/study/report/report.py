"""The report of a study: report.md, report.html, results.json, cells.csv, cells.parquet and plots."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.store.store import Key, Store
from faq_pipeline.study.analysis.analysis import Analysis, analyse
from faq_pipeline.study.analysis.cell_table import write_cells
from faq_pipeline.study.analysis.costs import DATA_STAGES
from faq_pipeline.study.analysis.outcomes import SCORED, read_scores
from faq_pipeline.study.analysis.serialized import serialized
from faq_pipeline.study.design.cells import Design
from faq_pipeline.study.execution.results import Result, read_results
from faq_pipeline.study.report.ablation import FOREST
from faq_pipeline.study.report.block import Block
from faq_pipeline.study.report.content import SCATTER, blocks, headline_words
from faq_pipeline.study.report.plots import draw_fitness, draw_forest
from faq_pipeline.util.pages import render

STAGE, VERSION = "study_report", 10
FOREST_PNG = "forest.png"
"""The forest plot as a PNG, for the Dagster UI."""
RESULTS = "results.json"
DISTRIBUTIONS = ("divergence/*.safetensors",)
"""The reference's distributions: gigabytes for a real model, which a report does not read."""


def materialize_report(design: Design, store: Store) -> Artifact:
    """The report of the finished cells of a study. It is made again only if a result changed.

    Raises:
        FaqError: see `analyse`.
    """
    results = read_results(store, design.study.name)
    own = {cell.id: result for cell in design.cells if (result := results.get(cell.id)) is not None}
    identity: dict[str, Any] = {
        "study": fingerprint("study", 1, design.study.model_dump(mode="json"), {}),
        "cells": fingerprint("cells", 1, {cell.id: cell.declared for cell in design.cells}, {}),
        "results": fingerprint("results", 1, {name: asdict(one) for name, one in own.items()}, {}),
    }
    read = {
        f"{stage} of {name}": one.artifacts[stage]
        for name, one in own.items()
        for stage in SCORED
        if stage in one.artifacts
    }
    if missing := _missing_data(own.values(), store):
        identity["missing"] = missing  # costs are told again once the store has these
    digest = fingerprint(STAGE, VERSION, identity, {})
    key = Key(STAGE, VERSION, digest, identity, {}, read, unread=DISTRIBUTIONS)

    def build(folder: Path) -> dict[str, Any]:
        analysis = analyse(design, results, read_scores(design.cells, results, store))
        write_report(folder, analysis)
        figure = analysis.headline.figure
        return {
            "study": design.study.name,
            "headline": figure and figure.estimate.as_dict(),
            "in_words": headline_words(analysis.headline).replace("**", ""),
            "cells": analysis.counts,
        }

    return store.produce(key, build)[0]


def _missing_data(results: Iterable[Result], store: Store) -> list[str]:
    """The artifacts of calibration data that results name and the store lacks."""
    named = {
        (stage, one.artifacts[stage])
        for one in results
        for stage in DATA_STAGES
        if stage in one.artifacts and not one.problem
    }
    return [f"{stage} {name}" for stage, name in sorted(named) if store.get(stage, name) is None]


def write_report(folder: Path, analysis: Analysis) -> None:
    """Write all files of the report into `folder`. Their bytes depend only on the results."""
    write_cells(folder, analysis.rows)
    text = json.dumps(serialized(analysis), indent=1)
    (folder / RESULTS).write_text(text + "\n", encoding="utf-8")
    content = blocks(analysis)
    plots = {block.plot for block in content if block.plot}
    if FOREST in plots:
        draw_forest(analysis, [folder / FOREST, folder / FOREST_PNG])
    if SCATTER in plots:
        draw_fitness(analysis, [folder / SCATTER])
    pictures = {name: _inline(folder / name) for name in plots}
    for name in ("report.md", "report.html"):
        (folder / name).write_text(_rendered(name, content, pictures), encoding="utf-8")


def _rendered(name: str, content: list[Block], pictures: dict[str, str]) -> str:
    facts = {"blocks": content, "pictures": pictures, "inline": _inline_marks, "cell": _table_cell}
    return render("faq_pipeline.study.report", name, **facts).rstrip() + "\n"


def _table_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _inline_marks(text: str) -> Any:
    """Convert Markdown bold and code to HTML, and escape everything else."""
    from markupsafe import Markup, escape

    marked = str(escape(text))
    for mark, tag in (("**", "b"), ("`", "code")):
        parts = marked.split(mark)
        pairs = zip(parts[1::2], parts[2::2], strict=False)
        marked = parts[0] + "".join(f"<{tag}>{inner}</{tag}>{after}" for inner, after in pairs)
    return Markup(marked)


def _inline(path: Path) -> str:
    """The SVG without its XML declaration, to be inlined in a page."""
    text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]
