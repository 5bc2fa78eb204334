"""What Dagster loads, as `dagster dev -m faq_pipeline.definitions`: `defs`, built on first access.

Importing this module reads no file and loads no model library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faq_pipeline.orchestration.definitions import build_defs, default_definitions

if TYPE_CHECKING:
    import dagster as dg

    defs: dg.Definitions

__all__ = ["build_defs", "defs"]


def __getattr__(name: str) -> Any:
    if name == "defs":
        return default_definitions()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "defs"})
