"""Compensation: an adapter beside the integers that makes up for a part of what rounding lost."""
