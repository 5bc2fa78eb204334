"""Running `faq` as a user does: a process, its exit code and what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from faq_pipeline.cli.main import main
from faq_pipeline.settings import REPOSITORY


@dataclass(frozen=True)
class Faq:
    """The command with its own home and one more data folder."""

    home: Path
    data: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"}
        return {
            **kept,
            "FAQ_HOME": str(self.home),
            "FAQ_DATA": str(self.data),
            "FAQ_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "faq_pipeline", *arguments]

    def __call__(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@dataclass(frozen=True)
class FaqHere(Faq):
    """The command in this process, where the libraries are loaded already: the same but for its start."""

    def __call__(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return run_here(arguments, self.environment)


def run_here(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """`faq` in this process, with this environment; what it prints goes to files, as Dagster needs."""
    kept, argv = dict(os.environ), sys.argv
    code: Any = 0
    with TemporaryFile("w+", encoding="utf-8") as out, TemporaryFile("w+", encoding="utf-8") as err:
        try:
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = ["faq", *arguments]
            with redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.argv = argv
            os.environ.clear()
            os.environ.update(kept)
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read())
    return subprocess.CompletedProcess(list(arguments), int(code), *said)
