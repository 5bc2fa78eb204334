"""A bit plan: how many bits each layer gets, so that the model loses least at a mean number of bits.

The cost of a layer at some bits is measured: the KL divergence from the unquantized model when this layer
alone is quantized, on the target's own inference traces. Costs of layers are added up (they nearly do, down
to 3 bits), and the cheapest sum within the budget is found exactly. The plan is then measured as a whole,
on traces that no cost was measured on, beside uniform bits: the better of them is kept.

The idea is HAWQ's (arXiv 1905.03696) with a measured cost in the place of a curvature; the linearity is
HIGGS's (arXiv 2411.17525).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.quantization import BitPlan, Quantization
from faq_pipeline.models.divergence import mean_divergence
from faq_pipeline.models.loading import load_model, release
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.fused_layers import fused_layers
from faq_pipeline.quantization.knapsack import cheapest_bits
from faq_pipeline.quantization.oneshot import run
from faq_pipeline.quantization.resuming.journal import Journal
from faq_pipeline.store.records import PlannedLayer
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

COST_TOKENS = 2_000
"""Tokens of traces that a layer's cost is measured on: enough to rank layers, few enough to ask of all."""

CHOICE = "plan"
"""The name under which a journal has the measurement of the chosen bits."""

Rounded = Mapping[str, "torch.Tensor"]
"""Weights on the grid of a scheme, by module."""


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
    `COST_TOKENS` for each layer and width.

    Args:
        spec: the recipe's section; its own bits are not used.
        rows, samples: calibration sequences and the lengths of their samples, as `oneshot.run` takes them.
        traces: the target's own generations, in token ids; at least two.
        journal: of the build; keeps the layers of the width that is under way, and what was measured of
            finished ones.

    Raises:
        FaqError: see `oneshot.run`.
    """
    held_out, costing = list(traces[::2]), _first(traces[1::2], COST_TOKENS)
    reference = load_model(weights, device)
    candidate = load_model(weights, device)

    def divergence(samples: Sequence[Sequence[int]]) -> float:
        return mean_divergence(reference, candidate, samples)

    def given(bits: dict[str, int]) -> Quantization:
        return spec.model_copy(update={"plan": None, "compensation": None, "layer_bits": bits})

    def quantized(bits: dict[str, int]) -> Rounded:
        run_of_these = run(given(bits), weights, rows, device, progress, samples, journal)
        return _rounded(run_of_these.model)

    def measure(bits: int) -> dict[str, Any]:
        everywhere = {"re:.*": bits}
        found = quantized(everywhere)
        layers = fused_layers(found)
        costs: dict[str, float] = {}
        progress.start(f"layers at {bits} bits", len(layers))
        for name, modules in layers.items():
            with _replaced(candidate, {module: found[module] for module in modules}):
                costs[name] = divergence(costing)
            progress.advance()
        sizes = {name: sum(found[module].numel() for module in own) for name, own in layers.items()}
        kl = 0.0
        if bits == uniform_bits:
            with _replaced(candidate, found):
                kl = divergence(held_out)
        measured = {"layers": dict(layers), "sizes": sizes, "costs": costs, "kl": kl}
        if journal is not None:
            journal.note(f"plan-{bits}", measured)
            journal.run(given(everywhere)).remove()
        return measured

    costs: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    layers: dict[str, list[str]] = {}
    uniform_bits = max(bits for bits in plan.bits if bits <= plan.average_bits)
    uniform_kl = 0.0
    for bits in plan.bits:
        measured = None if journal is None else journal.noted(f"plan-{bits}")
        if measured is not None:
            progress.note(f"The costs of {bits} bits are from the interrupted run")
        else:
            measured = measure(bits)
            release()
        sizes, layers = measured["sizes"], measured["layers"]
        for name, cost in measured["costs"].items():
            costs.setdefault(name, []).append(cost)
        if bits == uniform_bits:
            uniform_kl = measured["kl"]
    chosen = cheapest_bits(plan.bits, costs, sizes, plan.average_bits)
    measured_rows = {
        name: [
            PlannedLayer(name, len(layers[name]), sizes[name], bits, cost)
            for bits, cost in zip(plan.bits, own, strict=True)
        ]
        for name, own in costs.items()
    }
    rows_of_plan = tuple(measured_rows[name][index] for name, index in chosen.items())
    rows_of_costs = tuple(row for rows_of_layer in measured_rows.values() for row in rows_of_layer)
    assigned = {module: row.bits for row in rows_of_plan for module in layers[row.layer]}
    measured = None if journal is None else journal.noted(CHOICE)
    if measured is None:
        with _replaced(candidate, quantized(assigned)):
            measured = {"kl": divergence(held_out)}
        if journal is not None:
            journal.note(CHOICE, measured)
    kl = measured["kl"]
    kept = kl < uniform_kl
    if journal is not None and not (kept and spec.compensation is None):
        journal.run(given(assigned)).remove()  # the checkpoint will not be made of these layers
    bits_kept = assigned if kept else None
    return Planned(rows_of_plan, rows_of_costs, bits_kept, uniform_bits, kl, uniform_kl)


def _rounded(model: PreTrainedModel) -> Rounded:
    """The weights of the quantized layers of a model that was quantized in memory."""
    return {
        name: module.weight.detach()
        for name, module in model.named_modules()
        if getattr(getattr(module, "quantization_scheme", None), "weights", None) is not None
    }


@contextmanager
def _replaced(model: PreTrainedModel, weights: Rounded) -> Iterator[None]:
    """The model with these weights in the place of its own, for the time being."""
    kept = {}
    for name, weight in weights.items():
        parameter = model.get_submodule(name).weight
        kept[name] = parameter.data
        parameter.data = weight.to(parameter)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, data in kept.items():
            model.get_submodule(name).weight.data = data


def _first(samples: Sequence[Sequence[int]], tokens: int) -> list[Sequence[int]]:
    """The first samples that have so many tokens together, or all."""
    taken: list[Sequence[int]] = []
    for sample in samples:
        if taken and sum(map(len, taken)) >= tokens:
            break
        taken.append(sample)
    return taken
