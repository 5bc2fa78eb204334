"""A copy of the tiny family to be changed, and `faq` on it with whatever escapes it."""

from __future__ import annotations

import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.orchestration.conftest import Run, faq  # noqa: F401

ORIGINAL = """\
name: original
extends: tiny-faq
title: Original data, as little of it as will do
seeds: {count: 4}
regeneration: {source: original, candidates: 1, sampling: null}
competition: {selection: random, experts: null}
calibration: {tokens: 256, sequence_length: 64}
evaluation: {max_new_tokens: 8}
"""


@dataclass(frozen=True)
class CommandResult:
    """What a command said, and how it ended: 0, 2 after a user's mistake, 1 with a traceback."""

    code: int
    said: str

    @property
    def refusal(self) -> str:
        """The one line of a user's mistake; "" where the command ended otherwise."""
        lines = self.said.splitlines()
        return lines[-1] if self.code == 2 and lines[-1].startswith("faq: ") else ""

    @property
    def began(self) -> bool:
        """Whether a stage was made before the end."""
        return any(line.startswith("  made ") for line in self.said.splitlines())

    @property
    def ran_or_was_refused_in_time(self) -> bool:
        return self.code == 0 or (bool(self.refusal) and not self.began)


@dataclass(frozen=True)
class Lab:
    """The tiny family, to be changed, with a recipe `original` that needs no teacher."""

    root: Path
    _faq: Run
    _capture: pytest.CaptureFixture[str]

    @property
    def member(self) -> Path:
        """The folder of tiny-s."""
        return self.root / "models/tiny-s"

    def replace_member(self, folder: Path) -> None:
        """Let tiny-s be the model in another folder."""
        shutil.rmtree(self.member)
        shutil.copytree(folder, self.member)

    def run(self, recipe: str = "original") -> CommandResult:
        return self("run", "--member", "tiny-s", "--recipe", recipe)

    def plan(self, recipe: str = "original") -> CommandResult:
        return self("run", "--member", "tiny-s", "--recipe", recipe, "--dry-run")

    def __call__(self, *arguments: str) -> CommandResult:
        try:
            done = self._faq(self.root, *arguments)
        except Exception:
            captured = self._capture.readouterr()
            return CommandResult(1, captured.out + captured.err + traceback.format_exc())
        return CommandResult(done.code, done.out + done.err)


@pytest.fixture
def lab_data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny family's folder."""
    root = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    (root / "recipes/original.yaml").write_text(ORIGINAL)
    return root


@pytest.fixture
def lab(lab_data: Path, faq: Run, capfd: pytest.CaptureFixture[str]) -> Lab:  # noqa: F811
    return Lab(lab_data, faq, capfd)
