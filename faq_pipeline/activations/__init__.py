"""Activation statistics: second moments, outlier channels, attention, and the fitness formed of them."""
