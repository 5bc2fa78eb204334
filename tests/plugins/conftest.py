"""The example plugin, built and installed by pip into a folder; and what a changed one would be there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "faq_example_plugin"
DIST_INFO = "faq_example_plugin-0.1.0.dist-info"
Altered = Callable[..., Path]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin as it is, installed; the folder for `sys.path`."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(SOURCE, folder / "source")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    target = folder / "site"
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", target, source], check=True)
    return target


@pytest.fixture
def altered(installed: Path, tmp_path: Path) -> Altered:
    """A copy of the installation in which one file says something else, as another build of it would.

    Called as `altered(file, old, new)`; `dist_info` is the name of the folder with its metadata, which
    follows its name and version. Returns the folder for `sys.path`.
    """

    def alter(name: str, old: str, new: str, *, dist_info: str = DIST_INFO) -> Path:
        folder = Path(shutil.copytree(installed, tmp_path / "altered"))
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
        (folder / DIST_INFO).rename(folder / dist_info)
        return folder

    return alter


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test imports of a plugin is imported anew by the next one."""
    for name in [name for name in sys.modules if name.startswith("faq_example_plugin")]:
        monkeypatch.delitem(sys.modules, name)
