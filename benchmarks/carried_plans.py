"""Bit plans that are carried from a small member to a large one, beside the large one's own plan.

    python -m benchmarks.carried_plans [--pairs kin-2m:kin-8m,moss-1m:moss-3m] [--bits 3.5,4] [--draws 0,1,2]
        [--out docs/METHODS.md]

GPTQ in groups of 128 with imatrix scales, static column order and dampening 0.1, on data that each member
wrote itself. Of both members the cost of every layer is measured at 3, 4, 5 and 6 bits. The large one is
then quantized uniformly at 4 bits, and for each mean with the bits that its own costs choose and with those
that the small one's costs choose (`faq layers --carry-to`). KL is per token, on every second inference trace
(costs are measured on the others) and on the recipe's prose; geometric means over draws. The last column
is the carried plan's KL over the own plan's, with a 95% t-interval over draws. Seconds are processor time
of the costs alone, mean over draws.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.member_data import Data, read_data
from benchmarks.methods import in_page
from benchmarks.ratios import ratio_over_draws
from faq_pipeline import load_recipe
from faq_pipeline.config.quantization import BitPlan, Quantization
from faq_pipeline.config.recipe import SELF, Recipe
from faq_pipeline.models.architecture import LinearLayer, architecture_of
from faq_pipeline.models.divergence import mean_divergence
from faq_pipeline.models.loading import load_model
from faq_pipeline.quantization.bit_plan import make_plan
from faq_pipeline.quantization.carried_plan import carried_bits
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.store.records import PlannedLayer
from faq_pipeline.util.progress import SilentProgress

RECIPES = {"kin": "faq-one-gptq-w3a16", "moss": "moss-faq-one-gptq-w3a16"}
UNIFORM, OWN, CARRIED = "uniform 4 bits", "own plan", "carried plan"
HEADER = """\
| member | mean bits | plan | KL tasks, x 1e-3 | prose | seconds for costs | carried / own: tasks | prose |
|---|---|---|---|---|---|---|---|
"""
BEGIN, END = "<!-- carried plans -->\n", "<!-- end of carried plans -->\n"
SPEC = Quantization(
    method="gptq", scheme="W4A16", group_size=128, observer="imatrix", actorder="static", dampening=0.1
)

KL = tuple[float, float]
"""On tasks and on prose, x 1e-3."""


def main() -> None:
    """Measure, and write the table between the marks of the page, or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", default="kin-2m:kin-8m,moss-1m:moss-3m", help="SMALL:LARGE,...")
    parser.add_argument("--bits", default="3.5,4")
    parser.add_argument("--draws", default="0,1,2")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines: list[str] = []
    for pair in options.pairs.split(","):
        small, large = pair.split(":")
        draws = [int(draw) for draw in options.draws.split(",")]
        lines += _pair(small, large, [float(bits) for bits in options.bits.split(",")], draws)
    text = HEADER + "\n".join(lines) + "\n"
    print(text)
    if options.out is not None:
        page = options.out.read_text(encoding="utf-8")
        options.out.write_text(in_page(page, text, BEGIN, END), encoding="utf-8")


def _pair(small: str, large: str, means: Sequence[float], draws: Sequence[int]) -> list[str]:
    """The rows of a pair of members."""
    found: dict[tuple[float, str], list[KL]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    for draw in draws:
        data = {name: read_data(name, _recipe(name, draw)) for name in (small, large)}
        costs = {}
        for name, own in data.items():
            costs[name], took = _costs(own)
            seconds[name].append(took)
        layers = _layers(data[large])
        found[4, UNIFORM].append(_divergences(data[large], {"re:.*": 4}))
        for mean in means:
            for plan, name in ((OWN, large), (CARRIED, small)):
                bits = carried_bits(costs[name], layers, mean)
                found[mean, plan].append(_divergences(data[large], bits))
                print(f"{large}, draw {draw}, {mean} bits, {plan}: {found[mean, plan][-1]}", flush=True)
    took = {OWN: statistics.mean(seconds[large]), CARRIED: statistics.mean(seconds[small])}
    rows = []
    for (mean, plan), values in found.items():
        tasks, prose = (statistics.geometric_mean(column) for column in zip(*values, strict=True))
        ratios = ["", ""]
        if plan == CARRIED:
            ratios = [
                ratio_over_draws([v[at] for v in values], [v[at] for v in found[mean, OWN]]) for at in (0, 1)
            ]
        told = f"{took[plan]:.0f}" if plan in took else ""
        what = f"{plan} (from {small})" if plan == CARRIED else plan
        cells = (large, f"{mean:g}", what, f"{tasks:.3f}", f"{prose:.3f}", told, *ratios)
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _recipe(member: str, draw: int) -> Recipe:
    """The family's recipe with the member as its own teacher."""
    recipe = load_recipe(RECIPES[member.split("-")[0]])
    own = recipe.regeneration.model_copy(update={"source": SELF, "teacher": None})
    return recipe.model_copy(update={"regeneration": own, "draw": draw})


def _layers(data: Data) -> list[LinearLayer]:
    every = architecture_of(data.weights).quantizable
    return [layer for layer in every if not is_ignored(layer.module, SPEC.ignore)]


def _costs(data: Data) -> tuple[tuple[PlannedLayer, ...], float]:
    """Costs of all layers and widths, and the processor time that they took."""
    started = time.process_time()
    plan = BitPlan(average_bits=4)
    made = make_plan(SPEC, plan, data.weights, data.rows, data.planning, "cpu", SilentProgress())
    return made.costs, time.process_time() - started


def _divergences(data: Data, bits: dict[str, int]) -> KL:
    spec = SPEC.model_copy(update={"layer_bits": bits})
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "checkpoint"
        quantize(spec, data.weights, data.rows, folder, "cpu", SilentProgress())
        model = load_quantized(folder, data.weights.member, "cpu")
    reference = load_model(data.weights, "cpu")
    tasks, prose = (1000 * mean_divergence(reference, model, own) for own in (data.traces, data.prose))
    return tasks, prose


if __name__ == "__main__":
    main()
