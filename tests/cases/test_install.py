"""The package installed from a wheel, away from the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from faq_pipeline.settings import REPOSITORY
from tests.cases.known_fault import known_fault
from tests.orchestration.cli import Faq

NO_SOURCE = (".*", "build", "dist", "tests", "*.egg-info", "__pycache__")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a wheel of this checkout holds. Built without network, by what is installed."""
    if find_spec("pip") is None or find_spec("setuptools") is None:
        pytest.skip("pip and setuptools build the wheel")
    root = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(REPOSITORY, root / "source", ignore=shutil.ignore_patterns(*NO_SOURCE))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(root),
    ]
    subprocess.run([*command, str(source)], check=True, capture_output=True, text=True, timeout=300)
    (wheel,) = root.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / "site")
    return root / "site"


@pytest.mark.slow
@known_fault("a wheel leaves the data folder out, and the missing folder is taken for one of FAQ_DATA")
def test_a_wheel_works_with_the_users_own_folder(installed: Path, lab_data: Path, tmp_path: Path) -> None:
    """In an empty folder, with FAQ_DATA naming a good folder, the installed command plans a run."""
    empty, faq = tmp_path / "empty", Faq(tmp_path / "home", lab_data)
    empty.mkdir()
    done = subprocess.run(
        faq.command("run", "--member", "tiny-s", "--recipe", "original", "--dry-run"),
        env={**faq.environment, "PYTHONPATH": str(installed)},
        cwd=empty,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
