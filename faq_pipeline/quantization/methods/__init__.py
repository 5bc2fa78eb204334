"""The quantization methods by name. A new one is a file here and an entry in `METHODS`."""

from __future__ import annotations

from faq_pipeline.errors import FaqError, nearest_and_known
from faq_pipeline.quantization.methods.awq import Awq
from faq_pipeline.quantization.methods.gptq import Gptq
from faq_pipeline.quantization.methods.protocol import Method
from faq_pipeline.quantization.methods.rtn import Rtn
from faq_pipeline.quantization.methods.smoothquant import SmoothQuant

METHODS: dict[str, Method] = {method.name: method for method in (Rtn(), Gptq(), Awq(), SmoothQuant())}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        FaqError: unknown; names the known ones.
    """
    if name not in METHODS:
        raise FaqError(
            f"unknown quantization method {name!r}",
            hint=nearest_and_known(name, list(METHODS)),
            key="quantization.method",
        )
    return METHODS[name]
