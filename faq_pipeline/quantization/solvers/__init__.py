"""Solvers: how a layer's integers are chosen once its scales, inputs' second moments and grid are known."""
