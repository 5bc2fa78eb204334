"""Artifacts: immutable outputs of stages, found by fingerprint, committed by one rename."""
