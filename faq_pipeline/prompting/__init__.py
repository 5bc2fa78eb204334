"""Text around a model: prompts for the teacher, rendered samples, checks of length and of repetition."""
