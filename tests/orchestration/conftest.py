"""The tiny family with recipes worth comparing, and `faq` in this process."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers.utils import logging as transformers_logging

from faq_pipeline.cli.main import main

# Its logger takes hold of stderr when first used, and one that a test captures is closed after it.
transformers_logging.get_logger()

CHOICES = """\
task: tiny_choice
dataset_path: json
dataset_kwargs:
  data_files:
    test: choice.jsonl
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_target: label
doc_to_choice: choices
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""

BESIDE = """\
name: tiny-beside
extends: tiny-faq
title: FAQ beside the original data
baselines: [tiny-original]
seeds: {count: 12}
regeneration: {candidates: 4}
competition: {experts: {teacher_likelihood: 1, length: 0.5}}
calibration: {tokens: 384}
quantization: {scheme: W3A16}
evaluation: {tasks: [tiny_sums, tiny_choice]}
"""

ORIGINAL = """\
name: tiny-original
extends: tiny-beside
title: Original data
baselines: null
regeneration: {source: original, candidates: 1, sampling: null}
competition: {selection: random, experts: null}
"""

EIGHT_BITS = """\
name: tiny-w8
extends: tiny-beside
title: FAQ, another scheme
baselines: null
quantization: {scheme: W8A16}
"""

DEVICE = {"FAQ_DEVICE": "cpu"}
"""The device of `faq` below; a test may set another."""
RECIPES = {"tiny-beside": BESIDE, "tiny-original": ORIGINAL, "tiny-w8": EIGHT_BITS}


@pytest.fixture(scope="session")
def pipeline_data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family with a task that random weights get half right, a baseline and another scheme."""
    return extended(Path(shutil.copytree(tiny_data, tmp_path_factory.mktemp("pipeline") / "data")))


def extended(root: Path) -> Path:
    """The folder of the tiny family with the task and the recipes above added."""
    questions = [
        {"question": f"In harvest {i} the river was", "choices": [" away", " 7 steps"], "label": i % 2}
        for i in range(24)
    ]
    (root / "eval/choice.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    (root / "eval/tiny_choice.yaml").write_text(CHOICES)
    for name, text in RECIPES.items():
        (root / f"recipes/{name}.yaml").write_text(text)
    return root


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def mistake(self) -> str:
        """The message of a user's mistake, held to its form: exit 2, nothing on stdout, one line on
        stderr, below the progress of the stages that went well."""
        assert self.code == 2 and not self.out, self
        *progress, line = self.err.splitlines()
        assert all(one.startswith(("  made ", "  hit ", "  note ", "tiny-")) for one in progress if one), self
        assert line.startswith("faq: "), self
        return line.removeprefix("faq: ")


Run = Callable[..., Done]


@pytest.fixture
def faq(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`faq` in this process: quicker than a process of its own, and the same up to its exit.

    Called as `faq(data, "run", ...)`; its home is `tmp_path / "home"` or `home=`.
    """

    def run(data: Path, *arguments: str, home: Path = tmp_path / "home") -> Done:
        for name, value in {
            "FAQ_HOME": home,
            "FAQ_DATA": data,
            **DEVICE,
            "DAGSTER_HOME": home / "dagster",
        }.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(sys, "argv", ["faq", *arguments])
        capfd.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        captured = capfd.readouterr()
        return Done(int(code), captured.out, captured.err)

    return run
