"""Quantization schemes: presets of compressed-tensors with the recipe's group size."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from faq_pipeline.config.recipe import Quantization
from faq_pipeline.config.registry import Registry

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


class Scheme(Protocol):
    """Which tensors become integers of how many bits. A recipe chooses the size of weight groups itself."""

    @property
    def name(self) -> str:
        """What `quantization.scheme` of a recipe says."""

    @property
    def weight_bits(self) -> int:
        """Bits of a weight."""

    @property
    def activation_bits(self) -> int:
        """Bits of an activation; 16 where activations are not rounded."""

    def build(self) -> QuantizationScheme:
        """The scheme for all linear layers, as compressed-tensors has it, with integer weights."""


@dataclass(frozen=True)
class Preset:
    """A preset of compressed-tensors, whose name tells its bits."""

    name: str

    @property
    def weight_bits(self) -> int:
        return _bits(self.name)[0]

    @property
    def activation_bits(self) -> int:
        return _bits(self.name)[1]

    def build(self) -> QuantizationScheme:
        from compressed_tensors.quantization import preset_name_to_scheme

        return preset_name_to_scheme(self.name, ["Linear"])


def _bits(name: str) -> list[int]:
    """The numbers in a preset's name: of bits, weights first."""
    return [int(number) for number in re.findall(r"\d+", name)]


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.upper(), known, n=len(known), cutoff=0.6)
    # Among equally similar names, suggest the one with the same bits rather than the same letters.
    near.sort(key=lambda scheme: _bits(scheme) != _bits(name))
    suggestion = f"did you mean {near[0]!r}? " if near else ""
    return f"{suggestion}known: {', '.join(known)}"


_INTEGER = [
    f"W{weights}A{activations}" for activations in (16, 8, 4) for weights in range(2, min(activations, 8) + 1)
]
_PRESETS: tuple[Scheme, ...] = tuple(Preset(name) for name in (*_INTEGER, "W4A16_ASYM", "W4AFP8"))
SCHEMES = Registry(
    "scheme",
    "schemes",
    {scheme.name: scheme for scheme in _PRESETS},
    key="quantization.scheme",
    has=("name", "weight_bits", "activation_bits", "build"),
    hint=_hint,
)
"""Built in are the presets with integer weights: the ones whose groups a recipe may choose. Named here,
and not asked of compressed-tensors, so that a plan need not load torch. Floating-point presets fix
their own."""


OBSERVERS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "mse": {"observer": "memoryless_mse"},
    # Without `strict`, a layer that no token reached gets unweighted scales and only a line in a log.
    "imatrix": {"observer": "imatrix_mse", "observer_kwargs": {"strict": True}},
}
"""How weight scales are found, as compressed-tensors says it. Nothing for `minmax`, which is its default."""


def config_groups(spec: Quantization) -> dict[str, Any]:
    """The recipe's scheme for all linear layers, as `config_groups` of llmcompressor's modifiers.

    Activations are as the scheme says; weight scales are per output channel, or per group of
    `group_size` columns.

    Raises:
        FaqError: unknown scheme.
    """
    from compressed_tensors.quantization import QuantizationArgs

    scheme = SCHEMES.find(spec.scheme).build()
    assert scheme.weights is not None
    fields = scheme.weights.model_dump(exclude={"strategy", "group_size", "scale_dtype", "zp_dtype"})
    if spec.group_size == "channel":
        fields |= {"strategy": "channel"}
    else:
        fields |= {"strategy": "group", "group_size": spec.group_size}
    fields |= OBSERVERS[spec.observer]
    weights = QuantizationArgs(**fields)
    return {"group_0": scheme.model_copy(update={"weights": weights})}
