"""Studies: arms x quantizers x draws, made with the pipeline's own stages and evaluated together."""
