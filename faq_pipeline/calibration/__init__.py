"""Re-normalization: winners in one template, length, token budget and domain balance, and their fitness."""
