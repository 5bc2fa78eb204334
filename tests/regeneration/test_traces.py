"""Inference traces: the target's own words to development prompts, in its own tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.runner import materialize
from faq_pipeline.inference.engine import Completion, Request
from faq_pipeline.models.loading import load_tokenizer
from faq_pipeline.regeneration.traces import load_development, make_trace, pick_development
from faq_pipeline.regeneration.traces_stage import INFERENCE_TRACES
from faq_pipeline.store.records import Trace
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows

STAGES = {INFERENCE_TRACES.name: INFERENCE_TRACES}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def with_development(cell: Cell, path: Path) -> Cell:
    return replace(cell, family=cell.family.model_copy(update={"development": path}))


def test_traces_are_prompt_and_continuation_in_target_tokens(tiny_cell: Cell, tmp_path: Path) -> None:
    outcome = materialize("inference_traces", tiny_cell, STAGES, Store(tmp_path))
    rows = read_rows(outcome.artifact.file("traces.parquet"), Trace)
    tokenizer = load_tokenizer(tiny_cell.target)
    assert len(rows) == 8 and {r.domain for r in rows} == {"sums"}
    for row in rows:
        prompt = tokenizer.decode(row.input_ids[: row.prompt_tokens])
        i = int(row.id.removeprefix("q"))
        assert prompt == f"<|im_start|>user\nWhat is {i} + {i}?<|im_end|>\n<|im_start|>assistant\n"
        # Random weights write parts of characters; each becomes a mark of three bytes.
        assert row.prompt_tokens < len(row.input_ids) <= row.prompt_tokens + 3 * 24
    again = materialize("inference_traces", tiny_cell, STAGES, Store(tmp_path / "again"))
    assert again.artifact.digest == outcome.artifact.digest


def test_an_end_mark_is_part_of_the_trace_only_if_it_was_written(tiny_cell: Cell, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_cell.target)
    (prompt,) = load_development(write(tmp_path / "d.jsonl", {"id": "a", "question": "Why?"}))
    request = Request("a", "<|im_start|>assistant\n", 0)
    stopped = make_trace(prompt, request, Completion("a", "\nAnswer: 7", 5, -1.0, "stop"), tokenizer)
    cut = make_trace(prompt, request, Completion("a", "\nAnswer: 7", 5, -1.0, "length"), tokenizer)
    assert stopped.input_ids == [*cut.input_ids, tokenizer.eos_token_id]
    assert tokenizer.decode(cut.input_ids[cut.prompt_tokens :]) == "\nAnswer: 7"


def test_prompts_are_balanced_and_do_not_follow_the_recipes_draw(tiny_cell: Cell, tmp_path: Path) -> None:
    rows = [
        {"id": i, "question": f"{i}?", "task": "big" if i < 90 else "small", "extra": [1]} for i in range(100)
    ]
    prompts = load_development(write(tmp_path / "d.jsonl", *rows))
    picked = pick_development(prompts, 20)
    assert [p.domain for p in picked].count("small") == 10
    assert pick_development(prompts[::-1], 20) == picked
    other = tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"draw": 3}))
    assert INFERENCE_TRACES.identity(other) == INFERENCE_TRACES.identity(tiny_cell)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "b"}, "needs a 'question' or a 'text'"),
        ({"question": "why?"}, "missing key 'id'"),
        ({"id": "b", "text": 3}, "text: input should be a valid string"),
        ({"id": "a", "text": "again"}, "already on line 1"),
        ({"id": True, "text": "t"}, "id: input should be a valid string"),
    ],
)
def test_a_mistake_names_its_line(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "d.jsonl", {"id": "a", "text": "A river."}, row)
    with pytest.raises(FaqError) as caught:
        load_development(path)
    assert str(caught.value).startswith(f"{path}:2: ") and said in str(caught.value)


def test_a_prompt_longer_than_the_context_names_its_line(tiny_cell: Cell, tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", {"id": "a", "text": "t"}, {"id": "b", "text": "river " * 600})
    cell = with_development(tiny_cell, path)
    with pytest.raises(FaqError, match=r"d.jsonl:2: prompt 'b' takes \d+ tokens and max_new_tokens 24"):
        materialize("inference_traces", cell, STAGES, Store(tmp_path / "store"))


def test_identity_moves_with_development_target_and_limit(tiny_cell: Cell, tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", {"id": "a", "text": "t"})
    assert tiny_cell.teacher is not None
    limit = tiny_cell.recipe.evaluation.model_copy(update={"max_new_tokens": 25})
    moved = [
        with_development(tiny_cell, path),
        replace(tiny_cell, target=tiny_cell.teacher),
        tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"evaluation": limit})),
    ]
    identities = [json.dumps(INFERENCE_TRACES.identity(cell)) for cell in (tiny_cell, *moved)]
    assert len(set(identities)) == 4
    with pytest.raises(FaqError, match="no development file"):
        INFERENCE_TRACES.identity(with_development(tiny_cell, tmp_path / "gone.jsonl"))
