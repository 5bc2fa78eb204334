"""Fixtures of the tests of serving."""

from tests.real_vllm import vllm_environment

__all__ = ["vllm_environment"]
