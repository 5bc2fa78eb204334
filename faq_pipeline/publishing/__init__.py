"""Promotion of a checkpoint: the gate, the model card, where it goes, and the record of what went there."""
