"""Tests of `faq quantize` and `faq init`, and of what they are made of."""
