"""A cell (member x recipe), how names resolve to one, and what a pipeline stage is."""
