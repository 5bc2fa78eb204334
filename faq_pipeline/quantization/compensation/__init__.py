"""Compensation: an adapter of low rank that makes up for a part of what rounding lost."""
