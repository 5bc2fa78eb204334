"""Text generation: engines (transformers, vLLM, endpoints), the sample ledger, and model servers."""
