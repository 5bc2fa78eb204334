"""Measurements at the shape of Qwen3-8B, with random weights: `gpu/all.sh` runs them. For one large GPU."""
