"""Writes data/seeds (what recipes regenerate) and data/eval (what results are judged on)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from training import world
from training.questions import balanced, hardest
from training.settings import DATA, Settings
from training.tasks import Problem

Row = dict[str, object]
TEST, DEMO, DEVELOPMENT = 3072, 1024, 256
CHOOSING, CONFIRM = 1536, 1536
"""Questions that recipes are chosen by, and that the choice is confirmed by."""
HARD = 80
"""Seeds of tasks that targets write badly."""

_LM_EVAL = """\
# {title}
# data_files is relative to this file: the pipeline's runner makes it absolute before use.
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
{part}test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["{end}"]
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
_SECOND = "process_docs: !function halves.second\n"
_HALVES = '''\
"""Which questions of a file are asked."""

from typing import Any


def second(documents: Any) -> Any:
    """The second half."""
    return documents.select(range(len(documents) // 2, len(documents)))
'''


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def seed_rows(settings: Settings) -> dict[str, list[Row]]:
    """The seed files: prose, prose and questions in turn, and questions of hard tasks."""
    name = settings.name

    def row(identity: str, text: str, kind: str, domain: str, answer: str | None = None) -> Row:
        start: Row = {"id": identity, "text": text, "kind": kind}
        if answer is not None:
            start["answer"] = answer
        return {**start, "domain": domain, "source": f"{name}-world generator", "licence": "Apache-2.0"}

    prose = [
        row(f"{name}-prose-{i:04d}", text, "text", topic)
        for i, (topic, text) in enumerate(world.load(settings.prose).distinct("seeds", 512))
    ]
    questions = [
        row(f"{name}-question-{i:04d}", p.question, "question", p.task, p.answer)
        for i, p in enumerate(balanced(settings, "seeds", len(prose)))
    ]
    mixed = [row for pair in zip(prose, questions, strict=True) for row in pair]
    hard = [
        row(f"{name}-hard-{i:03d}", p.question, "question", p.task, p.answer)
        for i, p in enumerate(hardest(settings, "seeds", HARD))
    ]
    return {f"{name}-prose": prose, f"{name}-mixed": mixed, f"{name}-hard": hard}


def _questions(prefix: str, problems: list[Problem]) -> list[Row]:
    return [
        {
            "id": f"{prefix}-{index:04d}",
            "question": problem.question,
            "answer": problem.answer,
            "task": problem.task,
            "level": problem.level,
        }
        for index, problem in enumerate(problems)
    ]


def eval_rows(settings: Settings) -> dict[str, list[Row]]:
    """The evaluation files. The demo questions are the first of the test questions.

    Questions to choose and to confirm by go on where the development and the test questions end.
    """
    name = settings.name
    evaluation = balanced(settings, "evaluation", TEST + CONFIRM)
    developing = balanced(settings, "development", DEVELOPMENT + CHOOSING)
    test = _questions(f"{name}-test", evaluation[:TEST])
    passages = world.load(settings.prose).distinct("evaluation", 96)
    return {
        "test": test,
        "demo": test[:DEMO],
        "development": _questions(f"{name}-dev", developing[:DEVELOPMENT]),
        "choosing": _questions(f"{name}-choosing", developing[DEVELOPMENT:]),
        "confirm": _questions(f"{name}-confirm", evaluation[TEST:]),
        "prose": [{"id": f"{name}-heldout-{i:03d}", "text": text} for i, (_, text) in enumerate(passages)],
    }


def harness_tasks(settings: Settings) -> dict[str, str]:
    """The YAMLs of lm-eval by task name."""
    name = settings.name
    return {
        f"{name}_{kind}": _LM_EVAL.format(
            name=f"{name}_{kind}", file=file, title=title, part=part, end=settings.chat.end
        )
        for kind, file, part, title in (
            ("full", "test.jsonl", "", f"All test questions of the {name} family."),
            ("demo", "demo.jsonl", "", "A fixed balanced subset of the test questions, for demos."),
            ("choosing", "choosing.jsonl", "", "Questions of the development split, to choose recipes by."),
            ("confirm", "confirm.jsonl", "", "Held-out questions that no choice has looked at."),
            ("second", "test.jsonl", _SECOND, "Test questions that neither study `main` nor the demo asks."),
        )
    }


def write_all(settings: Settings, data: Path = DATA) -> None:
    """Write every data file of a family; running it again gives the same bytes."""
    seeds, evaluation = data / "seeds", data / "eval" / settings.name
    for name, rows in seed_rows(settings).items():
        _write(seeds / f"{name}.jsonl", rows)
    for name, rows in eval_rows(settings).items():
        _write(evaluation / f"{name}.jsonl", rows)
    for name, text in harness_tasks(settings).items():
        (evaluation / f"{name}.yaml").write_text(text, encoding="utf-8")
    (evaluation / "halves.py").write_text(_HALVES, encoding="utf-8")
    print(f"wrote {seeds} and {evaluation}")
