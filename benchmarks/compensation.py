"""Adapters that make up for rounding, beside bit plans that spend the same bits, on one member.

    python -m benchmarks.compensation [--member kin-4m] [--recipe faq-one-gptq-w3a16] [--scheme W3A16]
        [--groups channel,128] [--ranks 8,16] [--spaces plain,diagonal,hessian] [--draws 0]
        [--out docs/METHODS.md]

The recipe's calibration set and the member's inference traces are made where they are not there yet. Every
row is GPTQ with imatrix scales, static column order and dampening 0.1. For each group size: no adapter; for
each rank adapters of low rank, in each space, and of outlier columns; and for each rank a bit plan whose
mean is the scheme's bits and those of the adapter, from 3 to 8 bits a layer, by costs that are measured once
for all ranks. Bits are all stored bits (integers, scales, adapter) for each weight that is quantized. KL is
per token, on every second trace and on all passages of prose that the recipe measures; plans are made on
the other traces. The layer error is the mean over layers, with the adapter. Seconds are processor time
of the quantization, with that of a plan's costs. Errors and KL are geometric means over draws. The last
columns are ratios of KL to the row of low rank in the norm of the layer's outputs (`hessian`) with the same
rank, with a 95% t-interval where there are several draws.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from benchmarks.member_data import Data, read_data
from benchmarks.methods import SETTINGS, in_page
from benchmarks.ratios import ratio_over_draws
from faq_pipeline import load_recipe
from faq_pipeline.config.quantization import OUTLIER_COLUMNS, BitPlan, Compensation, Quantization
from faq_pipeline.models.architecture import LinearLayer, architecture_of
from faq_pipeline.models.divergence import mean_divergence
from faq_pipeline.models.loading import load_model
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.bit_plan import make_plan
from faq_pipeline.quantization.carried_plan import carried_bits
from faq_pipeline.quantization.inspection import bits_per_weight
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.store.records import PlannedLayer
from faq_pipeline.util.progress import SilentProgress

PLAN = BitPlan(average_bits=3, bits=[3, 4, 5, 6, 7, 8])
KL = ("traces", "median", "prose")
Group = int | Literal["channel"]
HEADER = """\
| group | spent on | bits a weight | layer error, x 1e-3 | KL traces, x 1e-3 | of the median trace \
| KL prose, x 1e-3 | seconds | KL over hessian's: traces | median | prose |
|---|---|---|---|---|---|---|---|---|---|---|
"""
BEGIN, END = "<!-- compensation -->\n", "<!-- end of compensation -->\n"


@dataclass(frozen=True)
class Arm:
    """A row of the table."""

    group: Group
    told: str
    rank: int = 0
    compensation: Compensation | None = None
    planned: bool = False


@dataclass(frozen=True)
class Took:
    """What a quantization has.

    Attributes:
        bits: stored, for each quantized weight.
        error: mean over layers of the error with the adapter, x 1e-3.
        traces, prose: KL per token, x 1e-3.
        median: KL per token of the median trace, x 1e-3.
        seconds: processor time.
    """

    bits: float
    error: float
    traces: float
    median: float
    prose: float
    seconds: float


def main() -> None:
    """Measure, and write the table between the marks of the page, or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--recipe", default="faq-one-gptq-w3a16")
    parser.add_argument("--scheme", default="W3A16")
    parser.add_argument("--groups", default="channel,128")
    parser.add_argument("--ranks", default="8,16")
    parser.add_argument("--spaces", default="plain,diagonal,hessian")
    parser.add_argument("--draws", default="0")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    groups: list[Group] = [
        "channel" if group == "channel" else int(group) for group in options.groups.split(",")
    ]
    ranks = [int(rank) for rank in options.ranks.split(",")]
    arms = [arm for group in groups for arm in _arms(group, ranks, options.spaces.split(","))]
    found: dict[Arm, list[Took]] = defaultdict(list)
    for draw in options.draws.split(","):
        recipe = load_recipe(options.recipe).model_copy(update={"draw": int(draw)})
        data = read_data(options.member, recipe)
        costs: dict[Group, tuple[tuple[PlannedLayer, ...], float]] = {}
        for arm in arms:
            spec = Quantization(method="gptq", scheme=options.scheme, group_size=arm.group, **SETTINGS)
            if arm.planned and arm.group not in costs:
                costs[arm.group] = _costs(spec, data)
            found[arm].append(_measured(arm, spec, data, costs.get(arm.group, ((), 0.0))))
            print(f"draw {draw}: {arm.group}, {arm.told}: {found[arm][-1]}", flush=True)
    text = HEADER + "".join(f"{_line(arm, found)}\n" for arm in arms)
    print(text)
    if options.out is not None:
        page = options.out.read_text(encoding="utf-8")
        options.out.write_text(in_page(page, text, BEGIN, END), encoding="utf-8")


def _arms(group: Group, ranks: list[int], spaces: list[Any]) -> list[Arm]:
    arms = [Arm(group, "nothing more")]
    for rank in ranks:
        for space in spaces:
            own = Compensation(rank=rank, space=space)
            arms.append(Arm(group, f"low rank, {space}, {rank}", rank, own))
        columns = Compensation(kind=OUTLIER_COLUMNS, rank=rank)
        arms.append(Arm(group, f"outlier columns, {rank}", rank, columns))
        arms.append(Arm(group, f"a plan of the bits of rank {rank}", rank, planned=True))
    return arms


def _layers(spec: Quantization, weights: Weights) -> list[LinearLayer]:
    every = architecture_of(weights).quantizable
    return [layer for layer in every if not is_ignored(layer.module, spec.ignore)]


def _costs(spec: Quantization, data: Data) -> tuple[tuple[PlannedLayer, ...], float]:
    """Costs of all layers and widths, and the processor time that they took."""
    started = time.process_time()
    made = make_plan(spec, PLAN, data.weights, data.rows, data.planning, "cpu", SilentProgress())
    return made.costs, time.process_time() - started


def _measured(
    arm: Arm, spec: Quantization, data: Data, costs: tuple[tuple[PlannedLayer, ...], float]
) -> Took:
    """Quantize as a row says, and measure that."""
    started = time.process_time()
    spec = spec.model_copy(update={"compensation": arm.compensation})
    if arm.planned:
        layers = _layers(spec, data.weights)
        count = sum(layer.rows * layer.columns for layer in layers)
        sides = sum(layer.rows + layer.columns for layer in layers)
        mean = SCHEMES.find(spec.scheme).weight_bits + 16 * arm.rank * sides / count
        bits = carried_bits(costs[0], layers, min(mean, 8))
        spec = spec.model_copy(update={"layer_bits": bits})
        started -= costs[1]
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "checkpoint"
        log = quantize(spec, data.weights, data.rows, folder, "cpu", SilentProgress())
        seconds = time.process_time() - started
        model = load_quantized(folder, data.weights.member, "cpu")
        stored = bits_per_weight(folder, data.weights)
    reference = load_model(data.weights, "cpu")
    traces, prose = (1000 * mean_divergence(reference, model, own) for own in (data.traces, data.prose))
    median = 1000 * statistics.median(mean_divergence(reference, model, [own]) for own in data.traces)
    error = 1000 * statistics.mean((log.compensated or log.errors).values())
    return Took(stored, error, traces, median, prose, seconds)


def _line(arm: Arm, found: dict[Arm, list[Took]]) -> str:
    """A row of the table."""
    best = next((other for other in found if _is_standard(other, arm)), None)

    def told(name: str) -> str:
        return f"{statistics.geometric_mean(getattr(took, name) for took in found[arm]):.2f}"

    def ratio(name: str) -> str:
        if best is None or best == arm:
            return ""
        ours, theirs = ([getattr(took, name) for took in found[one]] for one in (arm, best))
        return ratio_over_draws(ours, theirs)

    cells = (
        str(arm.group),
        arm.told,
        *(told(name) for name in ("bits", "error", *KL)),
        f"{statistics.mean(took.seconds for took in found[arm]):.0f}",
        *(ratio(name) for name in KL),
    )
    return f"| {' | '.join(cells)} |"


def _is_standard(other: Arm, arm: Arm) -> bool:
    """Whether the other arm is what the arm is compared with."""
    standard = Compensation(rank=arm.rank) if arm.rank else None
    return other.group == arm.group and not other.planned and other.compensation == standard


if __name__ == "__main__":
    main()
