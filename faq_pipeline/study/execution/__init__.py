"""Execution of a study: tasks, workers, results."""
