"""The stage `quantized_checkpoint`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.registry import plugin_identity
from faq_pipeline.core import labels, stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.models.device import compute_identity
from faq_pipeline.models.device_memory import roomy_device
from faq_pipeline.models.precision import precision_for
from faq_pipeline.quantization.checks import CHECKPOINT_CHECKS
from faq_pipeline.quantization.cost import checkpoint_work
from faq_pipeline.quantization.learning_check import check_learning_device
from faq_pipeline.quantization.methods import METHODS, find_method, needs_calibration, planning_spec
from faq_pipeline.quantization.schemes import PACKED, SCHEMES, is_packed
from faq_pipeline.quantization.spec_check import check_ranks, check_remote_layers, check_spec
from faq_pipeline.quantization.token_weights import is_weighted
from faq_pipeline.store.fingerprint import ordered, tool_version
from faq_pipeline.store.records import CheckpointRow, PlannedLayer, QuantizedLayer, Sample, TokenRow, Trace
from faq_pipeline.store.tables import read_rows, write_rows

if TYPE_CHECKING:
    from faq_pipeline.quantization.resuming.journal import Journal

CHECKPOINT = "checkpoint"
"""Folder of an artifact that transformers and vLLM load."""

LAYERS, PLAN_COSTS = "layers.parquet", "plan_costs.parquet"

TOOLS = ("llmcompressor", "compressed-tensors", "torch", "transformers")
COMMON = ("method", "scheme", "group_size", "ignore")
EVERY_METHOD = ("observer", "layer_bits", "rotate")
"""Variants that every method has."""


def identity(cell: Cell) -> dict[str, Any]:
    """Fingerprint inputs of a checkpoint, besides the calibration set."""
    spec = cell.recipe.quantization
    tools = (*TOOLS, *getattr(find_method(spec.method), "tools", ()))
    return {
        "quantization": _used(cell),
        "target": cell.target.digest,
        "tokenizer": cell.target.tokenizer_digest,
        **({"storage": PACKED} if is_packed(spec) else {}),
        **compute_identity(cell.target.member, cell.device),
        "tools": {name: tool_version(name) for name in tools},
        **plugin_identity(METHODS.plugins([spec.method]), SCHEMES.plugins([spec.scheme])),
    }


def select(cell: Cell, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """No calibration set for a method that looks at no data, and traces for a bit plan alone."""
    spec = cell.recipe.quantization
    unused = set() if needs_calibration(spec) else {stage_names.CALIBRATION_SET}
    if spec.plan is None:
        unused.add(stage_names.INFERENCE_TRACES)
    return tuple(name for name in inputs if name not in unused)


def build(job: Build) -> dict[str, Any]:
    """Quantize the target.

    Files: `checkpoint/`, `checkpoints.parquet` (one row) and `layers.parquet` (one row for each layer).
    Where a bit plan was made, `plan.parquet` (one row for each layer that engines fuse) and
    `plan_costs.parquet` (one row for each such layer and width).

    Sizes in the metadata are in bytes; `ratio` is quantized to original; `rtn_fallback` lists modules that
    GPTQ gave up; `layer_error_mean` and `layer_error_max` are those of `QuantizedLayer.error`,
    `compensated_error_mean` of `QuantizedLayer.compensated_error`; `resumed` is there where a killed run had
    begun it; `inspection` holds what `inspect_checkpoint` found, so that checks do not load the model again.

    Raises:
        FaqError: see `check_spec`, `run`.
    """
    from faq_pipeline.quantization.inspection import bits_per_weight, inspect_checkpoint, stored_bits
    from faq_pipeline.quantization.layer_report import quantized_layers
    from faq_pipeline.quantization.layers import weight_bytes
    from faq_pipeline.quantization.oneshot import quantize

    cell, spec = job.cell, job.cell.recipe.quantization
    original = cell.target.folder  # a hub member is downloaded here, and so checked below
    check_spec(spec, cell.target)
    folder = job.directory / CHECKPOINT
    planned: dict[str, Any] = {}
    journal = _journal(job)
    if spec.plan is not None:
        spec, planned = _planned(job, journal)
    rows, lengths = _rows(job), _lengths(job)
    log = quantize(spec, cell.target, rows, folder, cell.device, job.progress, lengths, journal)
    job.settled()
    size, original_size = weight_bytes(folder), weight_bytes(original)
    row = CheckpointRow(
        cell.target.partition, spec.method, spec.scheme, str(spec.group_size or "fixed"), size, original_size
    )
    write_rows(job.directory / "checkpoints.parquet", [row], CheckpointRow)
    layers = quantized_layers(spec, cell.target, log, stored_bits(folder, cell.target))
    write_rows(job.directory / LAYERS, layers, QuantizedLayer)
    return {
        "bytes": size,
        "original_bytes": original_size,
        "ratio": size / original_size,
        "bits_per_weight": bits_per_weight(folder, cell.target),
        "rtn_fallback": list(log.fallback),
        **_layer_errors(layers),
        **planned,
        **({"resumed": True} if journal is not None and journal.resumed else {}),
        "inspection": asdict(
            inspect_checkpoint(folder, cell.target, roomy_device(cell.target.member, cell.device))
        ),
    }


def _journal(job: Build) -> Journal | None:
    """Where finished layers are kept; None where none need be, or can be."""
    from faq_pipeline.quantization.layers import weight_bytes
    from faq_pipeline.quantization.resuming.journal import Journal

    spec = job.cell.recipe.quantization
    if spec.ranks is not None or not needs_calibration(spec):
        return None
    try:
        folder = job.unfinished()
        if folder is None:
            return None
        return Journal(folder, job.progress, room=weight_bytes(job.cell.target.folder))
    except OSError as error:
        job.progress.note(f"finished layers are not kept: {error}")
        return None


def _planned(job: Build, journal: Journal | None) -> tuple[Quantization, dict[str, Any]]:
    """The recipe's section with the bits that a plan gives to layers, and figures of the plan."""
    from faq_pipeline.quantization.bit_plan import make_plan

    spec, cell = job.cell.recipe.quantization, job.cell
    assert spec.plan is not None
    traces = read_rows(job.inputs[stage_names.INFERENCE_TRACES].file("traces.parquet"), Trace)
    ids = [trace.input_ids for trace in traces]
    rows, lengths = _rows(job), _lengths(job)
    plan = make_plan(
        spec, spec.plan, cell.target, rows, ids, cell.device, job.progress, lengths, journal=journal
    )
    write_rows(job.directory / "plan.parquet", plan.layers, PlannedLayer)
    write_rows(job.directory / PLAN_COSTS, plan.costs, PlannedLayer)
    if plan.bits is None:
        note = f"{plan.uniform_bits} bits everywhere are kept: the bit plan is no better"
    else:
        mean = sum(row.bits * row.weights for row in plan.layers) / sum(row.weights for row in plan.layers)
        note = (
            f"bits by layer, {mean:.2f} on average: KL {1000 * plan.kl:.3g}e-3 on held-out replies, with"
            f" {plan.uniform_bits} bits everywhere {1000 * plan.uniform_kl:.3g}e-3"
        )
    if (measured := planning_spec(spec)) is not spec:
        note += f" (measured with {measured.method})"
    job.progress.note(note)
    bits = {"re:.*": plan.uniform_bits} if plan.bits is None else plan.bits
    figures = {
        "plan_kept": plan.bits is not None,
        "plan_kl": plan.kl,
        "plan_uniform_bits": plan.uniform_bits,
        "plan_uniform_kl": plan.uniform_kl,
        "notes": [note],
    }
    return spec.model_copy(update={"plan": None, "layer_bits": bits}), figures


def _layer_errors(layers: Sequence[QuantizedLayer]) -> dict[str, float]:
    """Mean and greatest error of the layers, where it was measured, and the mean with their adapters."""
    errors = [layer.error for layer in layers if layer.error is not None]
    if not errors:
        return {}
    found = {"layer_error_mean": sum(errors) / len(errors), "layer_error_max": max(errors)}
    with_adapter = [layer.compensated_error for layer in layers if layer.compensated_error is not None]
    if with_adapter:
        found["compensated_error_mean"] = sum(with_adapter) / len(with_adapter)
    return found


def _rows(job: Build) -> list[list[int]]:
    if stage_names.CALIBRATION_SET not in job.inputs:
        return []
    rows = read_rows(job.inputs[stage_names.CALIBRATION_SET].file("rows.parquet"), TokenRow)
    return [row.input_ids for row in sorted(rows, key=lambda row: row.row)]


def _lengths(job: Build) -> list[list[int]] | None:
    """Lengths of the samples in each row, where the recipe weighs them."""
    if stage_names.CALIBRATION_SET not in job.inputs or not is_weighted(job.cell.recipe.quantization):
        return None
    samples = read_rows(job.inputs[stage_names.CALIBRATION_SET].file("samples.parquet"), Sample)
    lengths: dict[int, list[int]] = {}
    for sample in sorted(samples, key=lambda sample: (sample.row, sample.start)):
        lengths.setdefault(sample.row, []).append(sample.tokens)
    return list(lengths.values())


def _used(cell: Cell) -> dict[str, Any]:
    """The fields that the method reads: others must not move its fingerprint. Variants count where they
    differ from their default."""
    spec = cell.recipe.quantization
    method = find_method(spec.method)
    used = spec.model_dump(mode="json", include={*COMMON, *method.options})
    variants = spec.model_dump(mode="json", include={*EVERY_METHOD, *method.variants}, exclude_defaults=True)
    if bits := variants.get("layer_bits"):
        variants["layer_bits"] = ordered(bits)
    if "token_weights" in variants:
        variants["precision"] = precision_for(cell.target.member, cell.device)
    if spec.plan is not None and (measured := planning_spec(spec)) is not spec:
        fields = {"method", "observer", *find_method(measured.method).options}
        variants["planned_with"] = measured.model_dump(mode="json", include=fields)
    return used | variants


def _preflight(cell: Cell) -> None:
    check_spec(cell.recipe.quantization, cell.target)
    check_ranks(cell.recipe.quantization, cell.device)
    check_learning_device(cell.recipe.quantization, cell.target.member, cell.device)


QUANTIZED_CHECKPOINT = Stage(
    name=stage_names.QUANTIZED_CHECKPOINT,
    version=1,
    inputs=(stage_names.CALIBRATION_SET, stage_names.INFERENCE_TRACES),
    identity=identity,
    build=build,
    gpus=lambda cell: cell.recipe.quantization.ranks or 1,
    select=select,
    measurements=(LAYERS, PLAN_COSTS),
    work=checkpoint_work,
    labels=labels.TARGET,
    checks=CHECKPOINT_CHECKS,
    preflight=_preflight,
    preflight_missing=lambda cell: check_remote_layers(cell.recipe.quantization, cell.target),
)
