"""The pipeline: its stages in order. The graph is each stage's `inputs`."""

from __future__ import annotations

from faq_pipeline.calibration.stage import CALIBRATION_SET
from faq_pipeline.competition.stage import COMPETITION_SCORES
from faq_pipeline.core.stage import Stage
from faq_pipeline.evaluation.stage import EVAL_REPORT, REFERENCE_EVAL
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT
from faq_pipeline.regeneration.seed_stage import SEED_DATA
from faq_pipeline.regeneration.stage import REGENERATED_CORPUS
from faq_pipeline.regeneration.traces_stage import INFERENCE_TRACES

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        SEED_DATA,
        INFERENCE_TRACES,
        REGENERATED_CORPUS,
        COMPETITION_SCORES,
        CALIBRATION_SET,
        QUANTIZED_CHECKPOINT,
        REFERENCE_EVAL,
        EVAL_REPORT,
    )
}
