"""Evaluation of quantized members: lm-eval, paired statistics, divergence, contamination, reports."""
