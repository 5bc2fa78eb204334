"""What rounding did to each layer, measured while llmcompressor's GPTQ holds the layer's Hessian."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faq_pipeline.util.attributes import replaced_attribute

if TYPE_CHECKING:
    import torch

    from faq_pipeline.quantization.compensation.compensator import Compensator


@dataclass
class LayerLog:
    """Figures by module; empty for methods that have no Hessians.

    Attributes:
        tokens: calibration tokens that reached the module.
        errors: `relative_error` of its weight, as it is stored.
        compensated: the same of its weight with its adapter, where it has one.
        fallback: modules whose Hessian could not be inverted, and which were rounded to nearest.
    """

    tokens: Counter[str] = field(default_factory=Counter)
    errors: dict[str, float] = field(default_factory=dict)
    compensated: dict[str, float] = field(default_factory=dict)
    fallback: list[str] = field(default_factory=list)

    def add(self, other: LayerLog) -> None:
        """Take in what another process has logged."""
        self.tokens.update(other.tokens)
        self.errors.update(other.errors)
        self.compensated.update(other.compensated)
        self.fallback = sorted([*self.fallback, *other.fallback])


@contextmanager
def logging_layers(compensator: Compensator | None = None) -> Iterator[LayerLog]:
    """Log every layer that a GPTQModifier of llmcompressor, or one derived from it, quantizes meanwhile.

    Costs two products of a layer's weight and its Hessian, and the memory of one Hessian more.

    Args:
        compensator: makes the adapter of each layer that it wants.
    """
    from llmcompressor.modifiers.gptq import GPTQModifier

    log = LayerLog()
    calibrate, compress = GPTQModifier.calibrate_module, GPTQModifier.compress_module_list

    def and_count(modifier: Any, module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
        log.tokens[modifier._module_names[module]] += math.prod(args[0].shape[:-1])
        calibrate(modifier, module, args, output)

    def and_measure(modifier: Any, modules: Sequence[Any]) -> None:
        for module in modules:
            name, hessian = modifier._module_names[module], modifier._hessians[module]
            before = module.weight.detach().clone()
            adapting = compensator if compensator is not None and compensator.wants(name) else None
            with nullcontext() if adapting is None else adapting.rounding(name):
                compress(modifier, [module])
            log.errors[name] = relative_error(before, module.weight.detach(), hessian)
            if adapting is not None:
                with_adapter = adapting.add(name, before, module.weight.detach(), hessian)
                log.compensated[name] = relative_error(before, with_adapter, hessian)
            if name in modifier._rtn_fallback_module_names:
                log.fallback.append(name)

    with ExitStack() as stack:
        stack.enter_context(replaced_attribute(GPTQModifier, "calibrate_module", and_count))
        stack.enter_context(replaced_attribute(GPTQModifier, "compress_module_list", and_measure))
        yield log


def relative_error(weight: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor) -> float:
    """tr(E H E^T) / tr(W H W^T), E being what rounding changed: the share of the power of the layer's
    outputs that its error has, on the inputs x of which H is the sum of x x^T, at any scale.

    Args:
        weight, rounded: shape (rows, columns).
        hessian: shape (columns, columns), float32.

    Returns:
        0 where the layer's outputs are all zero.
    """
    own = weight.to(hessian)
    error = own - rounded.to(hessian)
    power = ((own @ hessian) * own).sum()
    return float(((error @ hessian) * error).sum() / power) if float(power) > 0 else 0.0
