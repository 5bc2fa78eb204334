"""A small Llama and seeds as people have them; and `faq` in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.orchestration.conftest import faq  # noqa: F401 - a fixture
from tests.tiny import make_llama


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small Llama that stands alone. Read-only: copy to change."""
    return make_llama(tmp_path_factory.mktemp("alone") / "acme-1M")


@pytest.fixture(scope="session")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model folders acme-1M and acme-2M, which have one tokenizer."""
    folder = tmp_path_factory.mktemp("llamas")
    make_llama(folder / "acme-1M")
    make_llama(folder / "acme-2M", layers=4, seed=1)
    return folder


@pytest.fixture(scope="session")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chat messages, one object a line; two of sixteen rows are no prompts."""
    rows: list[object] = [
        {
            "messages": [
                {"role": "user", "content": f"Mira has {i + 12} apples and gives 5 away. How many remain?"},
                {"role": "assistant", "content": f"{i + 7} remain."},
            ]
        }
        for i in range(14)
    ]
    rows.insert(2, {"messages": [{"role": "assistant", "content": "Hello."}]})
    path = tmp_path_factory.mktemp("seeds") / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"messages": [\n', encoding="utf-8")
    return path
