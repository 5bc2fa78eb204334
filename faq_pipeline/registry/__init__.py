"""Members found by discovery: one file per installation, merged into the families."""
