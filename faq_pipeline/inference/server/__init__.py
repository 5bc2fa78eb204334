"""A vLLM server of our own: started, watched, restarted, and ended with the process that needs it."""
