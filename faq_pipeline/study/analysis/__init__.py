"""Statistical analysis of a study's results: scores, intervals, comparisons, the headline."""
