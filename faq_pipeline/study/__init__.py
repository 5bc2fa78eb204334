"""Studies: arms x quantizers x draws, made by the pipeline's own stages and judged together."""
