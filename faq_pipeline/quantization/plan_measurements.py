"""What a bit plan measures: a member quantized with some bits, whole and layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.divergence import mean_divergence
from faq_pipeline.models.loading import load_model, release
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.fused_layers import fused_layers
from faq_pipeline.quantization.oneshot import run
from faq_pipeline.quantization.resuming.journal import Journal
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CHOICE = "plan"
"""The name under which a journal has the measurement of the chosen bits."""

Rounded = Mapping[str, "torch.Tensor"]
"""Weights on the grid of a scheme, by module."""


class PlanMeasurements:
    """Quantizes a member with some bits, and measures what that does; takes from a journal what it has."""

    def __init__(
        self,
        spec: Quantization,
        weights: Weights,
        rows: Sequence[Sequence[int]],
        device: str,
        progress: Progress,
        samples: Sequence[Sequence[int]] | None,
        journal: Journal | None,
    ) -> None:
        """The arguments are those of `make_plan`."""
        self._spec, self._weights, self._rows, self._samples = spec, weights, rows, samples
        self._device, self._progress, self._journal = device, progress, journal
        self._reference, self._candidate = load_model(weights, device), load_model(weights, device)

    def width(
        self, bits: int, costing: Sequence[Sequence[int]], held_out: Sequence[Sequence[int]]
    ) -> dict[str, Any]:
        """Of the model at one width: `layers` (modules of each fused layer), `sizes`, `costs` of each layer.

        Args:
            costing: traces that costs are measured on.
            held_out: traces that `kl` of the whole is measured on; 0 where there are none.
        """
        if (known := self._noted(f"plan-{bits}")) is not None:
            self._progress.note(f"The costs of {bits} bits are from the interrupted run")
            return known
        everywhere = {"re:.*": bits}
        found = self._quantized(everywhere)
        layers = fused_layers(found)
        self._progress.start(f"layers at {bits} bits", len(layers))
        costs: dict[str, float] = {}
        for name, modules in layers.items():
            costs[name] = self._divergence({module: found[module] for module in modules}, costing)
            self._progress.advance()
        sizes = {name: sum(found[module].numel() for module in own) for name, own in layers.items()}
        kl = self._divergence(found, held_out) if held_out else 0.0
        measured = {"layers": dict(layers), "sizes": sizes, "costs": costs, "kl": kl}
        del found
        self._check()
        self._note(f"plan-{bits}", measured)
        self.forget(everywhere)
        release()
        return measured

    def choice(self, bits: dict[str, int], held_out: Sequence[Sequence[int]]) -> float:
        """The divergence with the bits of each module."""
        if (known := self._noted(CHOICE)) is None:
            known = {"kl": self._divergence(self._quantized(bits), held_out)}
            self._check()
            self._note(CHOICE, known)
        return float(known["kl"])

    def forget(self, bits: dict[str, int]) -> None:
        """Delete the journal's layers of a run with these bits."""
        if self._journal is not None:
            self._journal.run(self._given(bits)).remove()

    def _given(self, bits: dict[str, int]) -> Quantization:
        return self._spec.model_copy(update={"plan": None, "compensation": None, "layer_bits": bits})

    def _quantized(self, bits: dict[str, int]) -> Rounded:
        made = run(
            self._given(bits),
            self._weights,
            self._rows,
            self._device,
            self._progress,
            self._samples,
            self._journal,
        )
        return _rounded(made.model)

    def _divergence(self, weights: Rounded, samples: Sequence[Sequence[int]]) -> float:
        """From the unquantized model, with these weights in the place of its own."""
        with _replaced(self._candidate, weights):
            return mean_divergence(self._reference, self._candidate, samples)

    def _check(self) -> None:
        """Refuse to note what was measured on weights that are not those that were made."""
        if self._journal is not None:
            self._journal.lent.check()

    def _noted(self, name: str) -> dict[str, Any] | None:
        return None if self._journal is None else self._journal.noted(name)

    def _note(self, name: str, figures: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.note(name, figures)


def _rounded(model: PreTrainedModel) -> Rounded:
    """The weights of the quantized layers of a model that was quantized in memory, as they will be packed."""
    return {
        name: _on_grid(module)
        for name, module in model.named_modules()
        if getattr(getattr(module, "quantization_scheme", None), "weights", None) is not None
    }


def _on_grid(module: Any) -> torch.Tensor:
    """A layer's own weight where the method has rounded it, and a rounded copy where that is left to packing,
    as by `rtn`."""
    import torch
    from compressed_tensors.quantization.lifecycle.forward import forward_quantize

    weight: torch.Tensor = module.weight.detach()
    rounded = forward_quantize(module, weight, "weight", module.quantization_scheme.weights)
    return weight if torch.equal(weight, rounded.to(weight)) else rounded.to(weight)


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
