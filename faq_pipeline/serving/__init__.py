"""Model servers: vLLM in an environment of its own, kept alive, and requests to it or to others."""
