"""Asks another Python for its version and packages, without importing anything from it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from faq_pipeline.errors import FaqError

_ASK = """\
import json, platform, sys
from importlib.metadata import distributions
found = {}
for one in distributions():
    found.setdefault((one.metadata["Name"] or "").lower().replace("_", "-").replace(".", "-"), one.version)
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""


def ask(python: Path) -> dict[str, Any]:
    """A Python's version and installed packages, in its own words.

    Raises:
        FaqError: it cannot tell.
    """
    try:
        done = subprocess.run(
            [python, "-c", _ASK], env=clean_environment(), capture_output=True, text=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FaqError(f"its python does not run: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise FaqError(f"its python does not run: {last}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def clean_environment() -> dict[str, str]:
    """Environment variables for another Python: without what this one's are about."""
    ours = {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"PYTHONNOUSERSITE": "1"}
