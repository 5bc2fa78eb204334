"""The example plugin, built and installed by pip into folders of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "faq_example_plugin"
Install = Callable[..., Path]


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Installs the plugin, with parts of its sources replaced; returns the folder for `sys.path`."""

    def install(changes: dict[str, tuple[str, str]] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("plugin")
        source = Path(shutil.copytree(SOURCE, folder / "source"))
        for name, (old, new) in (changes or {}).items():
            text = (source / name).read_text(encoding="utf-8")
            assert old in text
            (source / name).write_text(text.replace(old, new), encoding="utf-8")
        offline = [
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--disable-pip-version-check",
            "--quiet",
        ]
        target = folder / "site"
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *offline, "--target", target, source], check=True
        )
        return target

    return install


@pytest.fixture(scope="session")
def installed(install: Install) -> Path:
    """The plugin as it is."""
    return install()


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test imports of a plugin is imported anew by the next one."""
    for name in [name for name in sys.modules if name.startswith("faq_example_plugin")]:
        monkeypatch.delitem(sys.modules, name)
