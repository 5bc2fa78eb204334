"""The stages of a study's cells: those of the pipeline, plus divergence without questions."""

from __future__ import annotations

from faq_pipeline.core.stage import Stage
from faq_pipeline.evaluation.stage import DIVERGENCE, EVAL_REPORT
from faq_pipeline.execution.graph import STAGES

STUDY_STAGES: dict[str, Stage] = {**STAGES, DIVERGENCE.name: DIVERGENCE}
JUDGED, MEASURED = EVAL_REPORT.name, DIVERGENCE.name
"""The last stage of a cell that answers the questions, and of one that measures only divergence."""
