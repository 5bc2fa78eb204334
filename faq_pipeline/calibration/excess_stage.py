"""Stage `excess_error`: how far a calibration set misleads GPTQ on the target's own inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faq_pipeline.activations.trace_moments import measuring
from faq_pipeline.core import labels, stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.core.stage_work import StageWork
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import compute_identity, device_kind
from faq_pipeline.store.fingerprint import tool_version
from faq_pipeline.store.records import LayerExcess, TokenRow, Trace
from faq_pipeline.store.tables import read_rows, write_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from faq_pipeline.activations.input_hessians import InputHessian

TABLE = "excess.parquet"


def _identity(cell: Cell) -> dict[str, Any]:
    from faq_pipeline.activations.excess_error import DAMPENING
    from faq_pipeline.activations.input_hessians import CHANNELS

    return {
        "target": cell.target.digest,
        "channels": CHANNELS,
        "dampening": DAMPENING,
        "tools": {name: tool_version(name) for name in ("torch", "transformers")},
        **compute_identity(cell.target.member, cell.device),
    }


def _build(task: Build) -> dict[str, Any]:
    """Write `excess.parquet`, a row an input; `excess` is the mean over linear layers.

    Raises:
        FaqError: there are no inference traces, or no linear layer.
    """
    from faq_pipeline.activations.excess_error import excess_errors, mean_excess
    from faq_pipeline.activations.input_hessians import input_hessians

    rows = read_rows(task.inputs[stage_names.CALIBRATION_SET].file("rows.parquet"), TokenRow)
    with measuring(task.cell) as model:
        theirs = _of_traces(task, model)
        task.progress.start("rows through the target", len(rows))
        mine = input_hessians(model, (row.input_ids for row in rows), task.progress.advance)
    found = excess_errors(mine, theirs)
    if not found:
        raise FaqError(f"{task.cell.target.name!r} has no linear layer whose inputs can be measured")
    write_rows(task.directory / TABLE, found, LayerExcess)
    return {"excess": mean_excess(found)}


_known: dict[tuple[str, ...], list[InputHessian]] = {}
"""The traces' Hessians that were computed last: several sets of a target are compared with them in turn."""


def _of_traces(task: Build, model: PreTrainedModel) -> list[InputHessian]:
    """The traces' Hessians, on the CPU.

    Raises:
        FaqError: there are no traces.
    """
    from faq_pipeline.activations.input_hessians import input_hessians

    artifact, cell = task.inputs[stage_names.INFERENCE_TRACES], task.cell
    key = (artifact.digest, cell.target.digest, cell.device)
    if key not in _known:
        traces = read_rows(artifact.file("traces.parquet"), Trace)
        own = [trace.input_ids for trace in traces if trace.input_ids]
        if not own:
            raise FaqError("there are no inference traces to compare calibration sets with")
        task.progress.start("traces through the target", len(own))
        _known.clear()
        _known[key] = [one.on_cpu() for one in input_hessians(model, own, task.progress.advance)]
    return _known[key]


def _work(cell: Cell) -> StageWork:
    """The set goes through the target, with the traces."""
    tokens = cell.recipe.calibration.tokens
    return StageWork(device_kind(cell.device), tokens, cell.target.member.parameters, None, gpus=1)


EXCESS_ERROR = Stage(
    name=stage_names.EXCESS_ERROR,
    version=1,
    inputs=(stage_names.CALIBRATION_SET, stage_names.INFERENCE_TRACES),
    identity=_identity,
    build=_build,
    gpus=lambda cell: 1,
    work=_work,
    labels=labels.TARGET,
)
"""Not part of the pipeline's own graph: `faq advise` uses it."""
