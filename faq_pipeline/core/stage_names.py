"""Names of the stages: keys of a build's inputs, folders of the store, assets of Dagster."""

from __future__ import annotations

SEED_DATA = "seed_data"
INFERENCE_TRACES = "inference_traces"
REGENERATED_CORPUS = "regenerated_corpus"
COMPETITION_SCORES = "competition_scores"
CALIBRATION_SET = "calibration_set"
QUANTIZED_CHECKPOINT = "quantized_checkpoint"
REFERENCE_EVAL = "reference_eval"
EVAL_REPORT = "eval_report"
DIVERGENCE = "divergence"
"""Not in the pipeline's graph: a study measures it where `eval_report` would take too long."""
EXCESS_ERROR = "excess_error"
"""Not in the pipeline's graph either: `faq advise` compares calibration sets by it."""
