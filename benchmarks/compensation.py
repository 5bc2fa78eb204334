"""Adapters that make up for rounding, beside bit plans that spend the same bits, on one member.

    python -m benchmarks.compensation [--member kin-4m] [--recipe faq-one-gptq-w3a16] [--scheme W3A16]
        [--groups channel,128] [--ranks 8,16] [--out docs/METHODS.md]

The recipe's calibration set and the member's inference traces are made where they are not there yet. Every
row is GPTQ with imatrix scales, static column order and dampening 0.1. For each group size: no adapter;
adapters of each rank, in each space; and for each rank a bit plan whose mean is the scheme's bits and those
of the adapter, from 3 to 8 bits a layer. Bits are all stored bits (integers, scales, adapter) for each
weight that is quantized. KL is per token, on every second trace and on all passages of prose that the recipe
measures; plans are made on the other traces. Seconds are processor time of the quantization, with that of
the plan. One draw.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.methods import in_page
from faq_pipeline import materialize, resolve
from faq_pipeline.config.quantization import BitPlan, Compensation, Quantization
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.core import stage_names
from faq_pipeline.evaluation.documents import prose_rows
from faq_pipeline.models.architecture import architecture_of
from faq_pipeline.models.divergence import mean_divergence
from faq_pipeline.models.loading import load_model, load_tokenizer
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.bit_plan import make_plan
from faq_pipeline.quantization.inspection import bits_per_weight
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.store.records import TokenRow, Trace
from faq_pipeline.store.tables import read_rows
from faq_pipeline.util.progress import SilentProgress

SPACES = ("plain", "diagonal", "hessian")
HEADER = """\
| group | spent on | bits a weight | KL traces, x 1e-3 | KL prose, x 1e-3 | seconds |
|---|---|---|---|---|---|
"""
BEGIN, END = "<!-- compensation -->\n", "<!-- end of compensation -->\n"


@dataclass(frozen=True)
class Data:
    """Token ids: calibration rows, traces for plans, and what divergence is measured on."""

    weights: Weights
    rows: list[list[int]]
    planning: list[list[int]]
    traces: list[list[int]]
    prose: list[list[int]]


def main() -> None:
    """Measure, and write the table between the marks of the page, or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--recipe", default="faq-one-gptq-w3a16")
    parser.add_argument("--scheme", default="W3A16")
    parser.add_argument("--groups", default="channel,128")
    parser.add_argument("--ranks", default="8,16")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = read_data(options.member, options.recipe)
    lines = []
    for group in options.groups.split(","):
        size = group if group == "channel" else int(group)
        spec = Quantization(
            method="gptq",
            scheme=options.scheme,
            group_size=size,
            observer="imatrix",
            actorder="static",
            dampening=0.1,
        )
        for told, arm in _arms(spec, data.weights, [int(rank) for rank in options.ranks.split(",")]):
            lines.append(f"| {group} | {_measured(told, arm, data)} |")
            print(lines[-1], flush=True)
    text = HEADER + "\n".join(lines) + "\n"
    if options.out is not None:
        page = options.out.read_text(encoding="utf-8")
        options.out.write_text(in_page(page, text, BEGIN, END), encoding="utf-8")


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


def _arms(spec: Quantization, weights: Weights, ranks: list[int]) -> list[tuple[str, Quantization]]:
    """What to measure, by what it spends bits on."""
    layers = [
        layer for layer in architecture_of(weights).quantizable if not is_ignored(layer.module, spec.ignore)
    ]
    count = sum(layer.rows * layer.columns for layer in layers)
    sides = sum(layer.rows + layer.columns for layer in layers)
    own = SCHEMES.find(spec.scheme).weight_bits
    arms: list[tuple[str, dict[str, Any]]] = [("nothing more", {})]
    for rank in ranks:
        arms += [
            (f"{space}, rank {rank}", {"compensation": Compensation(rank=rank, space=space)})
            for space in SPACES
        ]
        mean = own + 16 * rank * sides / count
        plan = BitPlan(average_bits=min(mean, 8), bits=[3, 4, 5, 6, 7, 8])
        arms.append((f"a plan of the bits of rank {rank}", {"plan": plan}))
    return [(told, spec.model_copy(update=fields)) for told, fields in arms]


def _measured(told: str, spec: Quantization, data: Data) -> str:
    """The cells of a row after the group."""
    started = time.process_time()
    if spec.plan is not None:
        plan = make_plan(spec, spec.plan, data.weights, data.rows, data.planning, "cpu", SilentProgress())
        bits = plan.bits or {"re:.*": plan.uniform_bits}
        told += "" if plan.bits else " (uniform bits kept)"
        spec = spec.model_copy(update={"plan": None, "layer_bits": bits})
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "checkpoint"
        quantize(spec, data.weights, data.rows, folder, "cpu", SilentProgress())
        seconds = time.process_time() - started
        model, stored = (
            load_quantized(folder, data.weights.member, "cpu"),
            bits_per_weight(folder, data.weights),
        )
    reference = load_model(data.weights, "cpu")
    traces, prose = (1000 * mean_divergence(reference, model, own) for own in (data.traces, data.prose))
    return f"{told} | {stored:.2f} | {traces:.2f} | {prose:.2f} | {seconds:.0f}"


if __name__ == "__main__":
    main()
