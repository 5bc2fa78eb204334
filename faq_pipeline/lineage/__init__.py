"""The lineage index: DuckDB over the rows that artifacts hold; it can always be rebuilt from the store."""
