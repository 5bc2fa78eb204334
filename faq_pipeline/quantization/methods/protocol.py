"""What a quantization method is."""

from __future__ import annotations

from typing import Any, Protocol

from faq_pipeline.config.recipe import Quantization


class Method(Protocol):
    """One way to quantize, as modifiers of llmcompressor.

    Attributes:
        name: what `quantization.method` of a recipe says.
        calibrated: whether it looks at a calibration set.
        options: fields of `Quantization` that it reads, beside method, scheme, group_size and
            ignore, which all do. Other fields are without effect, and outside the fingerprint.
        variants: fields that it reads where they are set; without them nothing changes, and they are
            outside the fingerprint too. `check_spec` refuses those that a method does not know.
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
