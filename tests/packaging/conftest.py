"""The package as a wheel holds it: built by the project's own build step, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.settings import REPOSITORY


@dataclass(frozen=True)
class Installed:
    """A folder like `site-packages` that holds the built package, and a user with an empty home."""

    site: Path
    user: Path

    @property
    def package(self) -> Path:
        return self.site / "faq_pipeline"

    def python(self, *arguments: str, **environment: Any) -> str:
        """What a Python that imports the package from `site` prints; it runs in an empty folder."""
        return run_python(self.user, *arguments, HOME=self.user, PYTHONPATH=self.site, **environment)


def run_python(folder: Path, *arguments: str, **environment: Any) -> str:
    """What Python prints that runs in `folder`, with none of this project's settings."""
    mine = ("FAQ_", "XDG_", "DAGSTER_HOME", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    kept |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    kept |= {name: str(value) for name, value in environment.items()}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built where an earlier build left a module that is no longer there."""
    root = tmp_path_factory.mktemp("packaging")
    site, user, egg = root / "site", root / "user", root / "egg"
    for folder in (site / "faq_pipeline", user, egg):
        folder.mkdir(parents=True)
    (site / "faq_pipeline/left_over.py").touch()
    build = ("egg_info", "--egg-base", str(egg), "build_py", "--build-lib", str(site))
    run_python(REPOSITORY, "setup.py", "--quiet", *build)
    return Installed(site, user)
