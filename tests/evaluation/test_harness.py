from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from faq_pipeline.config.family import Thinking
from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.harness import answer_questions
from faq_pipeline.evaluation.stage import REFERENCE_EVAL
from faq_pipeline.util.progress import SilentProgress
from tests.evaluation.choices import CHOICES


class Listener(SilentProgress):
    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.done = 0

    def start(self, what: str, total: int) -> None:
        self.totals[what] = total

    def advance(self, done: int = 1) -> None:
        self.done += done


def test_a_real_run_answers_every_question(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    spec: Evaluation,
    capfd: pytest.CaptureFixture[str],
) -> None:
    heard = Listener()
    found = answer_questions(model, tokenizer, spec, Thinking(), heard)
    assert [a.answer.doc_id for a in found] == list(range(8))
    assert heard.totals == {"questions": 8} and heard.done == 8
    for one in found:
        answer, passage = one.answer, one.passage
        assert (answer.task, answer.domain, answer.filter) == ("tiny_sums", "sums", "answer")
        assert answer.correct in (0.0, 1.0)
        assert passage is not None and len(passage.ids) - passage.start == answer.tokens <= 24
        prompt = tokenizer.decode(passage.ids[: passage.start])
        assert prompt.endswith("<|im_start|>assistant\n") and f"{answer.doc_id} + " in prompt
        assert tokenizer.decode(passage.ids[passage.start :]).removesuffix("<|im_end|>") == answer.response
    assert answer_questions(model, tokenizer, spec, Thinking(), SilentProgress()) == found
    assert capfd.readouterr() == ("", "")


def test_limit_takes_the_first_questions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: Evaluation
) -> None:
    limited = spec.model_copy(update={"limit": 3, "batch_size": 2})
    found = answer_questions(model, tokenizer, limited, Thinking(), SilentProgress())
    assert [a.answer.doc_id for a in found] == [0, 1, 2]


def test_replies_are_scored_after_the_reasoning_and_kept_raw(say: Callable, spec: Evaluation) -> None:
    replies = [
        "<think>\nAnswer: 5\n</think>\n\nAnswer: 0<|im_end|>",
        "<think>\nAnswer: 2\n</think>\n\nAnswer: 9<|im_end|>",
        "Answer: 4<|im_end|>",
        "Answer: 6",
        "<think>\nAnswer: 8<|im_end|>",
        "<think>\nround and round",
    ]
    found = [a.answer for a in say(spec.model_copy(update={"limit": 6}), replies)]
    assert [a.correct for a in found[:4]] == [1, 0, 1, 1]
    assert [a.truncated for a in found] == [False, False, False, True, True, True]
    assert [a.response for a in found] == [reply.removesuffix("<|im_end|>") for reply in replies]
    assert all(a.tokens > 0 for a in found)


def test_reasoning_opened_by_the_template_counts_as_truncated(
    say: Callable, spec: Evaluation, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", f"{tokenizer.chat_template}<think>\n")
    replies = ["so\n</think>\n\nAnswer: 0<|im_end|>", "and so on<|im_end|>"]
    found = [a.answer for a in say(spec.model_copy(update={"limit": 2}), replies)]
    assert [(a.correct, a.truncated) for a in found] == [(1, False), (0, True)]


def test_stop_strings_count_after_the_reasoning(say: Callable, spec: Evaluation, tmp_path: Path) -> None:
    assert spec.include is not None
    text = (spec.include / "tiny_sums.yaml").read_text().replace('["<|im_end|>"]', '["\\n\\n", "<|im_end|>"]')
    (tmp_path / "tiny_sums.yaml").write_text(text)
    (tmp_path / "test.jsonl").write_text((spec.include / "test.jsonl").read_text())
    replies = ["<think>\na\n\nb\n</think>\n\nAnswer: 0\n\nand on", "<think>\na\n\nb"]
    spec = spec.model_copy(update={"include": tmp_path, "limit": 2})
    found = [a.answer for a in say(spec, replies)]
    assert [(a.correct, a.truncated) for a in found] == [(1, False), (0, True)]
    assert found[0].response == replies[0]


def test_multiple_choice_is_scored_by_likelihood(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: Evaluation, tmp_path: Path
) -> None:
    rows = [{"question": f"Is it {i}?", "label": i % 2} for i in range(6)]
    (tmp_path / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "choices.yaml").write_text(CHOICES)
    spec = spec.model_copy(update={"include": tmp_path, "tasks": ["choices"]})
    heard = Listener()
    found = answer_questions(model, tokenizer, spec, Thinking(), heard)
    assert heard.totals == {"options": 12} and heard.done == 12
    for row, one in zip(rows, found, strict=True):
        assert one.passage is None and not one.answer.truncated
        assert one.answer.response in ("seven", "town")
        assert one.answer.correct == (one.answer.response == ("seven", "town")[row["label"]])


def test_changed_data_is_never_taken_from_a_cache(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: Evaluation, tmp_path: Path
) -> None:
    assert spec.include is not None
    (tmp_path / "tiny_sums.yaml").write_text((spec.include / "tiny_sums.yaml").read_text())
    hashes = []
    for question in ("one", "two"):
        (tmp_path / "test.jsonl").write_text(json.dumps({"question": question, "answer": "1"}) + "\n")
        own = spec.model_copy(update={"include": tmp_path})
        (found,) = answer_questions(model, tokenizer, own, Thinking(), SilentProgress())
        hashes.append(found.answer.doc_hash)
    assert hashes[0] != hashes[1]
    assert {path.name for path in tmp_path.iterdir()} == {"tiny_sums.yaml", "test.jsonl"}


def test_a_member_without_a_template_is_asked_plainly(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    spec: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", None)
    spec = spec.model_copy(update={"limit": 1})
    (found,) = answer_questions(model, tokenizer, spec, Thinking(), SilentProgress())
    assert found.passage is not None
    assert tokenizer.decode(found.passage.ids[: found.passage.start]) == "What is 0 + 0?"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tasks": ["tiny_sum"]}, "unknown task 'tiny_sum' .did you mean 'tiny_sums'"),
        ({"max_new_tokens": 500}, "question 0 of tiny_sums has .* exceeds the context of 512"),
    ],
)
def test_mistakes_are_one_clear_line(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: Evaluation, changes: dict, problem: str
) -> None:
    with pytest.raises(FaqError, match=problem):
        answer_questions(model, tokenizer, spec.model_copy(update=changes), Thinking(), SilentProgress())


class Index:
    """In the place of lm-eval's, whose real one takes many seconds to read."""

    task_index = ("gsm8k",)


def test_a_task_that_lm_eval_does_not_know(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    spec: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("faq_pipeline.evaluation.task_loading._own_tasks", Index)
    spec = spec.model_copy(update={"tasks": ["gsm9k"], "include": None})
    with pytest.raises(FaqError, match="lm-eval has no task 'gsm9k'") as caught:
        answer_questions(model, tokenizer, spec, Thinking(), SilentProgress())
    assert "gsm8k" in caught.value.hint


def test_it_is_refused_before_work(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faq_pipeline.evaluation.task_loading._own_tasks", Index)
    spec = tiny_cell.recipe.evaluation.model_copy(update={"tasks": ["gsm9k"], "include": None})
    recipe = tiny_cell.recipe.model_copy(update={"evaluation": spec})
    with pytest.raises(FaqError, match="lm-eval has no task 'gsm9k'") as caught:
        REFERENCE_EVAL.preflight_missing(replace(tiny_cell, recipe=recipe))
    assert caught.value.key == "evaluation.tasks"


def test_a_task_without_a_score_per_question_is_refused(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: Evaluation, tmp_path: Path
) -> None:
    (tmp_path / "choices.jsonl").write_text('{"question": "Is it?", "label": 0}\n')
    text = CHOICES.replace("multiple_choice", "loglikelihood").replace("doc_to_choice", "# ")
    (tmp_path / "choices.yaml").write_text(
        text.replace("[{metric: acc}, {metric: acc_norm}]", "[{metric: perplexity}]")
    )
    spec = spec.model_copy(update={"include": tmp_path, "tasks": ["choices"]})
    with pytest.raises(FaqError, match=r"its first metric \(perplexity\) is not a score"):
        answer_questions(model, tokenizer, spec, Thinking(), SilentProgress())
