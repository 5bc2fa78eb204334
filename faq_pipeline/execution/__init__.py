"""The graph of stages and its runner: plans, preflight checks, cost estimates, recipe comparison."""
