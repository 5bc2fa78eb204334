"""What Dagster loads: `defs`, the pipeline's, and `studies`, a code location of its own.

`workspace.yaml` loads `defs` alone, as code location `faq_pipeline`; `workspace_studies.yaml` loads
`studies`. `make ui` and `dagster dev -w` read these files. `dagster dev -m faq_pipeline.definitions` also
loads `defs`, but names the location `faq_pipeline.definitions`, and its Timeline shows no run of the CLI.

Definitions are built on first access: importing this module reads no file and loads no model library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faq_pipeline.orchestration.definitions import (
    build_defs,
    build_study_defs,
    default_definitions,
    default_study_definitions,
)

if TYPE_CHECKING:
    import dagster as dg

    defs: dg.Definitions
    studies: dg.Definitions

__all__ = ["build_defs", "build_study_defs", "defs", "studies"]


def __getattr__(name: str) -> Any:
    if name == "defs":
        return default_definitions()
    if name == "studies":
        return default_study_definitions()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Without `studies`: Dagster takes a module with two sets of definitions for a mistake."""
    return sorted({*globals(), "defs"})
