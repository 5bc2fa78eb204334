"""Families and recipes: what users write in YAML, checked and typed."""
