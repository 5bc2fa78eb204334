"""Quantization with llmcompressor: methods, schemes, the checkpoint's inspection, loading it back."""
