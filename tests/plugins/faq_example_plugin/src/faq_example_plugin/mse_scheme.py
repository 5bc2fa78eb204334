"""A scheme: 4-bit weights whose scales have the least squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


@dataclass(frozen=True)
class MseScheme:
    """The preset W4A16 with another observer of weights."""

    name: str = "W4A16-MSE"
    weight_bits: int = 4
    activation_bits: int = 16
    float_weights: bool = False
    calibrated: bool = False

    def build(self) -> QuantizationScheme:
        """For all linear layers; the recipe's group size is laid upon it."""
        from compressed_tensors.quantization import preset_name_to_scheme

        scheme = preset_name_to_scheme("W4A16", ["Linear"])
        assert scheme.weights is not None
        weights = scheme.weights.model_copy(update={"observer": "memoryless_mse"})
        return scheme.model_copy(update={"weights": weights})


W4A16_MSE = MseScheme()
