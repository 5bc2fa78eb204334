"""The quantization method protocol."""

from __future__ import annotations

from typing import Any, Protocol

from faq_pipeline.config.quantization import Quantization


class Method(Protocol):
    """One way to quantize, as modifiers of llmcompressor.

    Attributes:
        name: the name in a recipe's `quantization.method`.
        calibrated: whether it uses a calibration set, whatever the observer of the scales is.
        options: fields of `Quantization` that it reads besides method, scheme, group_size, ignore and
            observer. Other fields have no effect and are not fingerprint inputs.
        variants: optional fields; they are fingerprint inputs only if they differ from their default.
            `check_spec` refuses those that a method does not support.

    A method may have `tools` too: installed packages besides llmcompressor, compressed-tensors, torch and
    transformers whose versions are fingerprint inputs. And `learns_rounding: True`, if it is auto-round's:
    costs, refusals and the limit on CPUs are then those of AutoRound. And `time_over_gptq`, if it is much
    slower than GPTQ on the same data on a CPU: how many times as long it took, with the default options.
    And `planned_with`, if a bit plan is to measure the roundings of a quicker method in its place: the fields
    of `Quantization` that this takes.
    """

    name: str
    calibrated: bool
    options: tuple[str, ...]
    variants: tuple[str, ...]

    def modifiers(self, spec: Quantization) -> list[Any]:
        """New llmcompressor modifiers, in the order in which they run.

        They hold the state of one run: never use them twice.
        """
        ...
