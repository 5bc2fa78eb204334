"""Writes data/seeds (what recipes regenerate) and data/eval (what results are judged on)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from training.questions import balanced
from training.settings import ROOT
from training.splits import GENERATOR_SEEDS
from training.tasks import Problem
from training.world import passage_in_split, topic_names

Row = dict[str, object]
SEEDS = ROOT / "data" / "seeds"
EVAL = ROOT / "data" / "eval" / "kin"
TEST, DEMO, DEVELOPMENT = 3072, 256, 256
CHOOSING, CONFIRM = 3072, 3072
"""Questions that recipes are chosen by, and that the choice is confirmed by."""

_LM_EVAL = """\
# {title}
# data_files is relative to this file: the pipeline's runner makes it absolute before use.
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["<|im_end|>"]
  max_gen_toks: 256
  do_sample: false
filter_list:
  - name: answer
    filter:
      - function: regex
        regex_pattern: "Answer: *(.+)"
      - function: take_first
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    regexes_to_ignore: ["\\\\s"]
metadata:
  version: 1.0
"""


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def passages(split: str, count: int) -> Iterator[tuple[str, str]]:
    """Distinct passages of a split as (topic, text), the topics in turn."""
    rng = Random(f"passages/{GENERATOR_SEEDS[split]}")
    seen: set[str] = set()
    for index in range(count):
        topic = topic_names()[index % len(topic_names())]
        while (text := passage_in_split(rng, topic, split).text) in seen:
            pass
        seen.add(text)
        yield topic, text


def _seed(identity: str, text: str, kind: str, domain: str, answer: str | None = None) -> Row:
    row: Row = {"id": identity, "text": text, "kind": kind}
    if answer is not None:
        row["answer"] = answer
    return {**row, "domain": domain, "source": "kin-world generator", "licence": "Apache-2.0"}


def seed_rows() -> dict[str, list[Row]]:
    """The three seed files: prose, questions, and both in turn."""
    prose = [
        _seed(f"kin-prose-{i:04d}", text, "text", topic)
        for i, (topic, text) in enumerate(passages("seeds", 512))
    ]
    questions = [
        _seed(f"kin-question-{i:04d}", p.question, "question", p.task, p.answer)
        for i, p in enumerate(balanced("seeds", 1024))
    ]
    mixed = [row for pair in zip(prose, questions[:512], strict=True) for row in pair]
    return {"kin-prose": prose, "kin-questions": questions, "kin-mixed": mixed}


def _question(prefix: str, index: int, problem: Problem) -> Row:
    return {
        "id": f"{prefix}-{index:04d}",
        "question": problem.question,
        "answer": problem.answer,
        "task": problem.task,
        "level": problem.level,
    }


def eval_rows() -> dict[str, list[Row]]:
    """The evaluation files. The demo questions are the first of the test questions.

    Questions to choose and to confirm by go on where the development and the test questions end.
    """
    evaluation, developing = (
        balanced("evaluation", TEST + CONFIRM),
        balanced("development", DEVELOPMENT + CHOOSING),
    )
    test = [_question("kin-test", i, p) for i, p in enumerate(evaluation[:TEST])]
    confirm = [_question("kin-confirm", i, p) for i, p in enumerate(evaluation[TEST:])]
    development = [_question("kin-dev", i, p) for i, p in enumerate(developing[:DEVELOPMENT])]
    choosing = [_question("kin-choosing", i, p) for i, p in enumerate(developing[DEVELOPMENT:])]
    prose: list[Row] = [
        {"id": f"kin-heldout-{i:03d}", "text": text} for i, (_, text) in enumerate(passages("evaluation", 96))
    ]
    return {
        "test": test,
        "demo": test[:DEMO],
        "development": development,
        "choosing": choosing,
        "confirm": confirm,
        "prose": prose,
    }


def write_all() -> None:
    """Write every data file; running it again gives the same bytes."""
    for name, rows in seed_rows().items():
        _write(SEEDS / f"{name}.jsonl", rows)
    for name, rows in eval_rows().items():
        _write(EVAL / f"{name}.jsonl", rows)
    for name, file, title in (
        ("kin_full", "test.jsonl", "All test questions of the kin family."),
        ("kin_demo", "demo.jsonl", "A fixed balanced subset of the test questions, for demos."),
        ("kin_choosing", "choosing.jsonl", "Questions of the development split, to choose recipes by."),
        ("kin_confirm", "confirm.jsonl", "Held-out questions that no choice has looked at."),
    ):
        text = _LM_EVAL.format(name=name, file=file, title=title)
        (EVAL / f"{name}.yaml").write_text(text, encoding="utf-8")
    print(f"wrote {SEEDS} and {EVAL}")
