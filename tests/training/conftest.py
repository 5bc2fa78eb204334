"""The shipped tokenizer, loaded once."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from training.settings import TOKENIZER


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(str(TOKENIZER))
