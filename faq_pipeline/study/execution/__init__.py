"""Making the cells of a study: tasks, workers, results."""
