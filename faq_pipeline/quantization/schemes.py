"""Quantization schemes: presets of compressed-tensors with the recipe's group size."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.registry import Registry
from faq_pipeline.quantization.layers import is_ignored

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationScheme


class Scheme(Protocol):
    """Which tensors are rounded, and to how many bits."""

    @property
    def name(self) -> str:
        """What `quantization.scheme` of a recipe says."""

    @property
    def weight_bits(self) -> int:
        """Bits of a weight."""

    @property
    def activation_bits(self) -> int:
        """Bits of an activation; 16 where activations are not rounded."""

    @property
    def float_weights(self) -> bool:
        """Whether weights become small floats, in groups that the format fixes. Of integer weights the
        recipe chooses the groups."""

    @property
    def calibrated(self) -> bool:
        """Whether scales of activations are found beforehand, on the calibration set."""

    def build(self) -> QuantizationScheme:
        """The scheme for all linear layers, as compressed-tensors has it."""


@dataclass(frozen=True)
class Preset:
    """A preset of compressed-tensors, whose name tells its bits."""

    name: str
    calibrated: bool = False

    @property
    def weight_bits(self) -> int:
        return _bits(self.name)[0]

    @property
    def activation_bits(self) -> int:
        return _bits(self.name)[-1]

    @property
    def float_weights(self) -> bool:
        return not self.name.startswith("W")

    def build(self) -> QuantizationScheme:
        from compressed_tensors.quantization import preset_name_to_scheme

        return preset_name_to_scheme(self.name, ["Linear"])


@dataclass(frozen=True)
class Asymmetric(Preset):
    """Integer weights with a zero point for each group."""

    def build(self) -> QuantizationScheme:
        scheme = Preset(self.name.removesuffix("_ASYM")).build()
        assert scheme.weights is not None
        weights = scheme.weights.model_copy(update={"symmetric": False, "zp_dtype": _int8()})
        return scheme.model_copy(update={"weights": weights})


def _int8() -> torch.dtype:
    import torch

    return torch.int8


_OFTEN_USED = ("W4A16", "W8A8", "FP8_DYNAMIC")


def _bits(name: str) -> list[int]:
    """The numbers in a preset's name: of bits, weights first. One number says both."""
    return [int(number) for number in re.findall(r"\d+", name)]


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.upper(), known, n=len(known), cutoff=0.6)
    # Among equally similar names, suggest the one with the same bits rather than the same letters.
    near.sort(key=lambda scheme: _bits(scheme) != _bits(name))
    # The start of a name says nothing of activations: whoever means to round them writes it.
    begun = [scheme for scheme in known if name and scheme.startswith(name.upper())]
    begun.sort(key=lambda scheme: (_bits(scheme)[-1:] != [16], scheme not in _OFTEN_USED))
    near = begun or near
    suggestion = f"did you mean {near[0]!r}?" if near else f"such as {', '.join(_OFTEN_USED)};"
    built_in = f"{suggestion} docs/SCHEMES.md lists all {len(SCHEMES.built_in)}"
    added = [scheme for scheme in known if scheme not in SCHEMES.built_in]
    return f"{built_in}; plugins add {', '.join(map(repr, added))}" if added else built_in


PACKED = "pack-quantized"
"""compressed-tensors' name of integers that lie bit by bit in words of 32."""

_INTEGER = [
    f"W{weights}A{activations}" for activations in (16, 8, 4) for weights in range(2, min(activations, 8) + 1)
]
_FLOAT = ("FP8_DYNAMIC", "FP8_BLOCK", "NVFP4A16", "MXFP4", "MXFP4A16")
_PRESETS: tuple[Scheme, ...] = (
    *(Preset(name) for name in (*_INTEGER, "W4AFP8")),
    *(Asymmetric(f"W{bits}A16_ASYM") for bits in range(2, 9)),
    *(Preset(name) for name in _FLOAT),
    *(Preset(name, calibrated=True) for name in ("FP8", "NVFP4")),
)
SCHEMES = Registry(
    "scheme",
    "schemes",
    {scheme.name: scheme for scheme in _PRESETS},
    key="quantization.scheme",
    has=("name", "weight_bits", "activation_bits", "float_weights", "calibrated", "build"),
    hint=_hint,
)
"""Named here, and not asked of compressed-tensors, so that a plan need not load torch."""


ONE_SCALE = ("FP8",)
"""Schemes with one scale for a whole weight."""

OBSERVERS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "mse": {"observer": "memoryless_mse"},
    # Without `strict`, a layer that no token reached gets unweighted scales and only a line in a log.
    "imatrix": {"observer": "imatrix_mse", "observer_kwargs": {"strict": True}},
}
"""How weight scales are found, as compressed-tensors says it. Nothing for `minmax`, which is its default."""


def config_groups(spec: Quantization) -> dict[str, Any]:
    """The recipe's scheme for all linear layers, as `config_groups` of llmcompressor's modifiers.

    Activations are as the scheme says. Scales of integer weights are per output channel, or per group
    of `group_size` columns; float formats have groups of their own. Layers with `layer_bits` of their own
    come in a group for each width, by their names: see `with_exact_names`.

    Raises:
        FaqError: unknown scheme.
    """
    from compressed_tensors.quantization import QuantizationArgs

    found = SCHEMES.find(spec.scheme)
    scheme = found.build()
    if found.float_weights:
        return {"group_0": scheme}
    assert scheme.weights is not None
    fields = scheme.weights.model_dump(exclude={"strategy", "group_size", "scale_dtype", "zp_dtype"})
    if spec.group_size == "channel":
        fields |= {"strategy": "channel"}
    else:
        fields |= {"strategy": "group", "group_size": spec.group_size}
    fields |= OBSERVERS[spec.observer]

    def group(bits: int, **more: Any) -> QuantizationScheme:
        weights = QuantizationArgs(**fields | {"num_bits": bits})
        packed = bits < 8 and found.activation_bits < 16
        return scheme.model_copy(
            update={"weights": weights, **({"format": PACKED} if packed else {}), **more}
        )

    groups = {"group_0": group(scheme.weights.num_bits)}
    by_bits: dict[int, list[str]] = {}
    for target, bits in (spec.layer_bits or {}).items():
        by_bits.setdefault(bits, []).append(target)
    for index, (bits, targets) in enumerate(sorted(by_bits.items()), start=1):
        groups[f"group_{index}"] = group(bits, targets=targets)
    return groups


def has_zero_points(name: str) -> bool:
    """Whether integer weights of a scheme have zero points.

    Raises:
        FaqError: unknown scheme.
    """
    scheme = SCHEMES.find(name)
    if isinstance(scheme, Preset):
        return isinstance(scheme, Asymmetric)
    weights = scheme.build().weights  # a plugin's: this loads torch
    return weights is not None and not weights.symmetric


def widths(spec: Quantization) -> set[int]:
    """Bits that the layers of a recipe's checkpoint may have.

    Raises:
        FaqError: unknown scheme.
    """
    if spec.plan is not None:
        return {*spec.plan.bits}
    return {SCHEMES.find(spec.scheme).weight_bits, *(spec.layer_bits or {}).values()}


def is_packed(spec: Quantization) -> bool:
    """Whether integers are packed that compressed-tensors by itself would store in a byte each.

    It packs them only where activations are not rounded. vLLM's kernels for weights below 8 bits read
    packed ones alone.

    Raises:
        FaqError: unknown scheme.
    """
    scheme = SCHEMES.find(spec.scheme)
    return not scheme.float_weights and scheme.activation_bits < 16 and min(widths(spec)) < 8


def with_exact_names(spec: Quantization, modules: Iterable[str]) -> Quantization:
    """The section with `layer_bits` by exact names of these modules, since llmcompressor orders patterns
    in its own way. Ignored modules and those with the scheme's own bits are left out."""
    if spec.layer_bits is None:
        return spec
    bits, own = {}, SCHEMES.find(spec.scheme).weight_bits
    for module in modules:
        found = next((n for target, n in spec.layer_bits.items() if is_ignored(module, [target])), own)
        if found != own and not is_ignored(module, spec.ignore):
            bits[module] = found
    return spec.model_copy(update={"layer_bits": bits})
