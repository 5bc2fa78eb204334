"""Re-normalization: winners in one form, length, budget and balance; and the fitness of the result."""
