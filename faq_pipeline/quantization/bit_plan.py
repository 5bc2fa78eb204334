"""A bit plan: how many bits each layer gets, so that the model loses least at a mean number of bits.

The cost of a layer at some bits is measured: the KL divergence from the unquantized model when this layer
alone is quantized, on the target's own inference traces. Costs of layers are added up (they nearly do, down
to 3 bits), and the cheapest sum within the budget is found exactly. The plan is then measured as a whole,
on traces that no cost was measured on, beside uniform bits: the better of them is kept.

The idea is HAWQ's (arXiv 1905.03696) with a measured cost in the place of a curvature; the linearity is
HIGGS's (arXiv 2411.17525).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.config.quantization import BitPlan, Quantization
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.knapsack import cheapest_bits
from faq_pipeline.quantization.methods import planning_spec
from faq_pipeline.quantization.plan_measurements import PlanMeasurements
from faq_pipeline.quantization.resuming.journal import Journal
from faq_pipeline.quantization.size_budget import mean_bits
from faq_pipeline.store.records import PlannedLayer
from faq_pipeline.util.progress import Progress

COST_TOKENS = 2_000
"""Tokens of traces that a layer's cost is measured on: enough to rank layers, few enough to ask of all."""


@dataclass(frozen=True)
class Planned:
    """A plan that was measured.

    Attributes:
        layers: one row for each fused layer.
        costs: one row for each fused layer and width.
        bits: of each module; None where uniform bits were no worse, and are kept.
        uniform_bits: the most bits that all layers can have within the budget.
        kl, uniform_kl: of the plan and of uniform bits, in nats per token, on traces that no cost was
            measured on.
    """

    layers: tuple[PlannedLayer, ...]
    costs: tuple[PlannedLayer, ...]
    bits: dict[str, int] | None
    uniform_bits: int
    kl: float
    uniform_kl: float


def make_plan(
    spec: Quantization,
    plan: BitPlan,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    traces: Sequence[Sequence[int]],
    device: str,
    progress: Progress,
    samples: Sequence[Sequence[int]] | None = None,
    journal: Journal | None = None,
) -> Planned:
    """Measure the layers, choose their bits, and measure the choice.

    Quantizes the member once for each width, once with the plan, and runs a forward pass over
    `COST_TOKENS` for each layer and width. What is measured are the roundings of `planning_spec`.

    Args:
        spec: the recipe's section; its own bits are not used.
        rows, samples: calibration sequences and the lengths of their samples, as `oneshot.run` takes them.
        traces: the target's own generations, in token ids; at least two.
        journal: of the build; keeps the layers of the width that is under way, and what was measured of
            finished ones.

    Raises:
        FaqError: see `oneshot.run` and `mean_bits`.
    """
    average = mean_bits(spec, plan, weights)
    if plan.size is not None:
        progress.note(f"at most {average:.2f} bits a weight fit in {plan.size}")
    held_out, costing = list(traces[::2]), _first(traces[1::2], COST_TOKENS)
    uniform_bits = max(bits for bits in plan.bits if bits <= average)
    measured_with = planning_spec(spec)
    measuring = PlanMeasurements(measured_with, weights, rows, device, progress, samples, journal)
    measured = [
        measuring.width(bits, costing, held_out if bits == uniform_bits else []) for bits in plan.bits
    ]
    uniform_kl = measured[plan.bits.index(uniform_bits)]["kl"]
    sizes, layers = measured[-1]["sizes"], measured[-1]["layers"]
    costs = {name: [one["costs"][name] for one in measured] for name in layers}
    table = {
        name: [
            PlannedLayer(name, len(layers[name]), sizes[name], bits, cost)
            for bits, cost in zip(plan.bits, own, strict=True)
        ]
        for name, own in costs.items()
    }
    chosen = cheapest_bits(plan.bits, costs, sizes, average)
    rows_of_plan = tuple(table[name][index] for name, index in chosen.items())
    assigned = {module: row.bits for row in rows_of_plan for module in layers[row.layer]}
    kl = measuring.choice(assigned, held_out)
    kept = kl < uniform_kl
    if not (kept and spec.compensation is None and measured_with is spec):
        measuring.forget(assigned)  # the checkpoint will not be made of these layers
    return Planned(
        layers=rows_of_plan,
        costs=tuple(row for rows_of_layer in table.values() for row in rows_of_layer),
        bits=assigned if kept else None,
        uniform_bits=uniform_bits,
        kl=kl,
        uniform_kl=uniform_kl,
    )


def _first(samples: Sequence[Sequence[int]], tokens: int) -> list[Sequence[int]]:
    """The first samples that have so many tokens together, or all."""
    taken: list[Sequence[int]] = []
    for sample in samples:
        if taken and sum(map(len, taken)) >= tokens:
            break
        taken.append(sample)
    return taken
