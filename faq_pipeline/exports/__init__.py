"""Calibration sets and checkpoints in the forms of other tools."""
