"""A user's own models and data: local Llama folders, seeds, a family and a recipe; no code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faq_pipeline.models.loading import load_folder
from faq_pipeline.store.records import Candidate, Sample, Seed, TokenRow
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows
from tests.orchestration.conftest import Run
from tests.tiny import make_tokenizer

BEGIN = "<|endoftext|>"
TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
[{{ message.role }}] {{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}[assistant] {% endif -%}
"""

FAMILY = """\
name: alpaca
licence: MIT
memory_budget_gib: 1
development: ../questions.jsonl
prompts:
  question: "{{ text }} Think first."
members:
  - {name: alpaca-1, path: ../models/small, parameters: 100000}
  - {name: alpaca-2, path: ../models/large, parameters: 200000}
"""

RECIPE = """\
name: alpaca-awq
title: Our alpaca
families: [alpaca]
seeds: {path: ../seeds.jsonl, count: 40}
regeneration:
  source: teacher
  candidates: 2
  sampling: {temperature: 1.0, max_new_tokens: 24}
competition:
  experts: {answer: 1.0, teacher_likelihood: 0.5, target_likelihood: 0.5, degeneration: 1.0}
calibration: {tokens: 1024, sequence_length: 128}
quantization: {method: awq, scheme: W4A16, group_size: 32}
evaluation:
  tasks: [our_questions]
  include: ..
  max_new_tokens: 16
  prose: ../prose.jsonl
  traces: 4
  gate: {recovery: 0.9}
"""

TASK = """\
task: our_questions
dataset_path: json
dataset_kwargs: {data_files: {test: questions.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{ question }}"
doc_to_target: answer
generation_kwargs: {until: ["<|im_end|>"], do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


def make_llama(folder: Path, *, layers: int) -> None:
    """A random Llama, its output apart from its embeddings, with end marks enough to end its replies."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder, template=TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.bos_token = BEGIN
    tokenizer.save_pretrained(folder)
    torch.manual_seed(layers)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=160,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(40, 60)]
    model.save_pretrained(folder)


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for name, text in {
        "families/alpaca.yaml": FAMILY,
        "recipes/alpaca-awq.yaml": RECIPE,
        "task.yaml": TASK,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    make_llama(root / "models/small", layers=2)
    make_llama(root / "models/large", layers=3)
    seeds = [
        {
            "id": f"q{i}",
            "kind": "question",
            "text": f"Is {i} + 1 odd?",
            "answer": "yes" if i % 2 == 0 else "no",
        }
        for i in range(30)
    ]
    # Only the keys that are needed.
    seeds += [{"id": f"t{i}", "kind": "text", "text": f"House {i} is by the river."} for i in range(20)]
    write_jsonl(root / "seeds.jsonl", seeds)
    asked = [{"id": f"e{i}", "question": f"Name river {i} of the town.", "answer": str(i)} for i in range(8)]
    write_jsonl(root / "questions.jsonl", asked)
    write_jsonl(
        root / "prose.jsonl", [{"id": f"p{i}", "text": f"The harvest {i} is away."} for i in range(6)]
    )
    return root


@pytest.mark.slow
def test_from_yaml_to_a_checkpoint(data: Path, tmp_path: Path, faq: Run) -> None:
    members = json.loads(faq(data, "members", "--json").out)["members"]
    assert {m["member"]: m["problem"] for m in members if m["family"] == "alpaca"} == {
        "alpaca-1": None,
        "alpaca-2": None,
    }
    done = faq(data, "run", "--member", "alpaca-1", "--recipe", "alpaca-awq", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)["result"]
    assert result["member"].startswith("alpaca-1@") and result["kl"]["value"] > 0
    checkpoint = load_folder(Path(result["checkpoint_path"]), "cpu")
    assert type(checkpoint).__name__ == "LlamaForCausalLM" and checkpoint.config.quantization_config

    made = {a.manifest.stage: a for a in Store(tmp_path / "home/store").artifacts()}
    seeds = read_rows(made["seed_data"].file("seeds.parquet"), Seed)
    assert len(seeds) == 40 and {s.source for s in seeds} == {"seeds.jsonl"}
    candidates = read_rows(made["regenerated_corpus"].file("candidates.parquet"), Candidate)
    assert {c.model and c.model.split("@")[0] for c in candidates} == {"alpaca-2"}
    assert all(c.prompt.endswith("[assistant] ") for c in candidates)
    assert any("Think first." in c.prompt for c in candidates)
    winners = {c.id: c for c in candidates}
    samples = read_rows(made["calibration_set"].file("samples.parquet"), Sample)
    assert samples and all(winners[s.candidate_id].answer in s.text for s in samples)
    assert all(s.text.startswith(BEGIN) and not s.text.startswith(2 * BEGIN) for s in samples)
    rows = read_rows(made["calibration_set"].file("rows.parquet"), TokenRow)
    begin = json.loads((data / "models/small/config.json").read_text())["bos_token_id"]
    ids = {row.row: row.input_ids for row in rows}
    assert all(ids[s.row][s.start] == begin != ids[s.row][s.start + 1] for s in samples)
    assert sum(s.tokens for s in samples) > 900
