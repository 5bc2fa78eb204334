"""Recipe to llmcompressor: weights to integers, the checkpoint's facts, and loading it back."""
