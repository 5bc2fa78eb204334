"""Resuming a quantization that was killed: a journal of finished layers, and who reads and writes it."""
