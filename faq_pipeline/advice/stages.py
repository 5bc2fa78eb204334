"""The stages that advice runs: those that make calibration sets, and none that quantizes or judges."""

from __future__ import annotations

from faq_pipeline.calibration.excess_stage import EXCESS_ERROR
from faq_pipeline.core import stage_names
from faq_pipeline.core.stage import Stage
from faq_pipeline.execution.graph import STAGES

DATA_STAGES = (stage_names.REGENERATED_CORPUS, stage_names.COMPETITION_SCORES, stage_names.CALIBRATION_SET)
"""Stages whose time is that of a calibration set; seeds and traces are made once for all of them."""

ADVICE_STAGES: dict[str, Stage] = {
    **{name: STAGES[name] for name in (stage_names.SEED_DATA, stage_names.INFERENCE_TRACES, *DATA_STAGES)},
    EXCESS_ERROR.name: EXCESS_ERROR,
}
