"""The stages of a study's cells: the pipeline's, and the divergence without answers."""

from __future__ import annotations

from faq_pipeline.core.stage import Stage
from faq_pipeline.evaluation.stage import DIVERGENCE, EVAL_REPORT
from faq_pipeline.execution.graph import STAGES

STUDY_STAGES: dict[str, Stage] = {**STAGES, DIVERGENCE.name: DIVERGENCE}
JUDGED, MEASURED = EVAL_REPORT.name, DIVERGENCE.name
"""The last stage of a cell that answers the questions, and of one whose divergence alone is measured."""
