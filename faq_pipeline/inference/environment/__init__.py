"""vLLM's own Python environment: its lock files, its installation, and how it is found."""
