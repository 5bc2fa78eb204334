"""What a member is quantized and measured with, from its recipe's artifacts."""

from __future__ import annotations

from dataclasses import dataclass

from faq_pipeline import materialize, resolve
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.core import stage_names
from faq_pipeline.evaluation.documents import prose_rows
from faq_pipeline.models.loading import load_tokenizer
from faq_pipeline.models.weights import Weights
from faq_pipeline.store.records import TokenRow, Trace
from faq_pipeline.store.tables import read_rows


@dataclass(frozen=True)
class Data:
    """Token ids: calibration rows, traces for plans, and what divergence is measured on."""

    weights: Weights
    rows: list[list[int]]
    planning: list[list[int]]
    traces: list[list[int]]
    prose: list[list[int]]

    @property
    def all_traces(self) -> list[list[int]]:
        """For what makes no plans."""
        return [*self.planning, *self.traces]


def read_data(member: str, recipe: str | Recipe) -> Data:
    """The calibration set, traces and prose of a member; made where they are not there yet."""
    cell = resolve(member, recipe)
    made = materialize(cell, stage_names.CALIBRATION_SET)
    written = materialize(cell, stage_names.INFERENCE_TRACES)
    rows = [row.input_ids for row in read_rows(made.file("rows.parquet"), TokenRow)]
    traces = [trace.input_ids for trace in read_rows(written.file("traces.parquet"), Trace)]
    traces = traces[: cell.recipe.evaluation.traces]
    tokenizer = load_tokenizer(cell.target)
    passages = prose_rows(cell.recipe.evaluation.prose)[: cell.recipe.evaluation.traces]
    prose = [tokenizer(row.text)["input_ids"] for row in passages]
    return Data(cell.target, rows, traces[1::2], traces[::2], prose)
