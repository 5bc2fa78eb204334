"""A small Llama and seeds as people have them; and `faq` in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.orchestration.conftest import faq  # noqa: F401 - a fixture
from tests.tiny import make_tokenizer


def make_llama(folder: Path, *, layers: int = 2, seed: int = 0) -> Path:
    """A random Llama with tokenizer, chat template and a model card that states a licence."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)  # type: ignore[arg-type]
    with torch.no_grad():  # else hardly a reply ends; see tests.tiny.make_member
        model.get_input_embeddings().weight[tokenizer.eos_token_id] *= 12
    model.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# A llama\n")
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small Llama that stands alone. Read-only: copy to change."""
    return make_llama(tmp_path_factory.mktemp("alone") / "acme-1M")


@pytest.fixture(scope="session")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model folders acme-1M and acme-2M, which have one tokenizer."""
    folder = tmp_path_factory.mktemp("llamas")
    make_llama(folder / "acme-1M")
    make_llama(folder / "acme-2M", layers=3, seed=1)
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
