"""The families with their shipped tokenizers, each loaded once."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from transformers import AutoTokenizer

from training.settings import Settings, family_names, settings


@cache
def tokenizer_of(family: str) -> Any:
    return AutoTokenizer.from_pretrained(str(settings(family).tokenizer))


@pytest.fixture(scope="session", params=family_names())
def family(request: pytest.FixtureRequest) -> Settings:
    return settings(request.param)


@pytest.fixture(scope="session")
def tokenizer(family: Settings) -> Any:
    return tokenizer_of(family.name)
