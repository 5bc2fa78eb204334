"""What Dagster loads, as `dagster dev -m faq_pipeline.definitions`. Importing it loads no model library."""

from faq_pipeline.orchestration.definitions import build_defs

__all__ = ["build_defs", "defs"]

defs = build_defs()
