"""The real vLLM for slow tests: its CPU build, installed once and kept between runs.

It is kept in `.faq-engines` of the repository, or in the folder that `FAQ_ENGINES` names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from faq_pipeline.inference.environment.environment import VARIABLE, Environment, find_environment
from faq_pipeline.inference.environment.install import install
from faq_pipeline.settings import REPOSITORY


@pytest.fixture(scope="session")
def vllm_environment() -> Iterator[Environment]:
    """vLLM's environment, which `FAQ_VLLM` names meanwhile, so that tests with a FAQ_HOME find it."""
    if os.environ.get(VARIABLE):
        yield find_environment("cpu")
        return
    home = Path(os.environ.get("FAQ_ENGINES") or REPOSITORY / ".faq-engines").absolute()
    environment = install("cpu", home)
    os.environ[VARIABLE] = str(environment.python)
    yield environment
    del os.environ[VARIABLE]
