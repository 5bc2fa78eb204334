"""Requests to model servers: bounded, paced, retried, each answered exactly once."""
