"""Members that discovery has found: one file an installation, merged into the families."""
