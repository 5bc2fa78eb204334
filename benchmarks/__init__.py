"""Measurements: each script compares with a baseline in the same run and prints what it found."""
