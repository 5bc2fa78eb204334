"""What the results of a study say: scores, intervals, comparisons, the headline."""
