"""Family-Aware Quantization (FAQ) as a declarative Dagster pipeline with cached artifacts.

    import faq_pipeline as faq

    cell = faq.resolve("kin-2m", "rtn-w3a16")
    checkpoint = faq.materialize(cell, "quantized_checkpoint")

The names in `__all__` are the API, see docs/API.md. They are imported when first used, so that
`import faq_pipeline` stays light.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faq_pipeline.api import (
        compare,
        export_checkpoint,
        init_model,
        load_recipe,
        materialize,
        plan,
        read_rows,
        resolve,
        trace,
    )
    from faq_pipeline.errors import FaqError
    from faq_pipeline.execution.graph import STAGES
    from faq_pipeline.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "STAGES",
    "FaqError",
    "Settings",
    "__version__",
    "compare",
    "export_checkpoint",
    "init_model",
    "load_recipe",
    "materialize",
    "plan",
    "read_rows",
    "resolve",
    "trace",
]

_ELSEWHERE = {
    "FaqError": "faq_pipeline.errors",
    "STAGES": "faq_pipeline.execution.graph",
    "Settings": "faq_pipeline.settings",
}
"""The module of a name that is not in `faq_pipeline.api`."""

# Before torch starts its threads: idle ones sleep instead of spinning. On two busy cores a
# quantization took 8.7 s instead of 22.9 s, an evaluation 14 s instead of 52 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_ELSEWHERE.get(name, "faq_pipeline.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
