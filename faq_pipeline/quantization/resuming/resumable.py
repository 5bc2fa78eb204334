"""Which runs of llmcompressor can be killed and resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def resumable(modifiers: Sequence[Any]) -> bool:
    """Whether a run of these modifiers, killed and resumed, ends with the bytes of one that was not.

    That is known of the very classes listed here, and of no class derived from them, as a plugin's may be.
    They draw nothing, and what they gather belongs to one step; but those of two streams carry each row's
    hidden state in the unquantized model on, and are given the rows for it (`carrying`).
    """
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    from faq_pipeline.quantization.methods.activation_smoothing import ActivationSmoothingModifier
    from faq_pipeline.quantization.methods.weighted_gptq import WeightedGPTQModifier
    from faq_pipeline.quantization.solvers.modifier import SolvedGPTQModifier, WeightedSolvedGPTQModifier
    from faq_pipeline.quantization.solvers.two_streams import (
        TwoStreamGPTQModifier,
        WeightedTwoStreamGPTQModifier,
    )

    known = {
        QuantizationModifier,  # and its observers: imatrix, of activations, of the cache
        GPTQModifier,
        WeightedGPTQModifier,
        SolvedGPTQModifier,
        WeightedSolvedGPTQModifier,
        TwoStreamGPTQModifier,
        WeightedTwoStreamGPTQModifier,
        AWQModifier,
        SmoothQuantModifier,
        ActivationSmoothingModifier,
    }
    return all(type(modifier) in known for modifier in modifiers)
