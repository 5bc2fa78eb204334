"""Orders winners of different seeds by the recipe's selector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from faq_pipeline.activations.trace_moments import measuring, trace_moments
from faq_pipeline.calibration.assemble import Order
from faq_pipeline.calibration.selectors import Selector, find_selector
from faq_pipeline.calibration.selectors.ordering import ordered
from faq_pipeline.calibration.selectors.protocol import Activations, Pool
from faq_pipeline.calibration.token_budget import BudgetItem
from faq_pipeline.core import stage_names
from faq_pipeline.core.stage import Build
from faq_pipeline.store.records import Trace
from faq_pipeline.store.tables import read_rows


def order_of(task: Build) -> Order | None:
    """How winners are ordered; None where they are taken as drawn.

    Raises:
        FaqError: no selection has that name.
    """
    spec = task.cell.recipe.calibration
    selector = find_selector(spec.selection)
    if selector is None:
        return None

    def order(pieces: Sequence[BudgetItem], samples: Sequence[Sequence[int]]) -> list[BudgetItem]:
        with _pool(task, selector, [ids[: spec.sequence_length] for ids in samples]) as pool:
            return ordered(pieces, selector.start(pool), spec.tokens, spec.sequence_length)

    return order


@contextmanager
def _pool(task: Build, selector: Selector, samples: list[Sequence[int]]) -> Iterator[Pool]:
    """The selector's inputs; the target is loaded only for selectors that need it."""
    if not selector.needs_activations:
        yield Pool(samples)
        return
    traces = read_rows(task.inputs[stage_names.INFERENCE_TRACES].file("traces.parquet"), Trace)
    task.progress.start("traces and winners through the target", len(traces) + len(samples))
    with measuring(task.cell) as model:
        moments = trace_moments(model, traces, task.progress.advance)
        yield Pool(samples, Activations(model, moments, task.directory, task.progress.advance))
