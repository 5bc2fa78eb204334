"""How a quantized member is judged: lm-eval, paired statistics, divergence, contamination, reports."""
