"""General tools that know nothing of models or quantization."""
