"""From a model and a file of prompts to a family and a recipe: what `faq init` and `faq quantize` write."""
