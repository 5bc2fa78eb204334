"""Members on disk and in memory: checked weights, tokenizers, chat templates, devices."""
