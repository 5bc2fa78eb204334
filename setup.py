"""The build's one step of its own: what ships beside the code is copied into the wheel.

`data/`, `dagster.yaml` and the workspace files stay at the top of the checkout; in a wheel they lie in
`faq_pipeline/shipped`, where `faq_pipeline.settings.REPOSITORY` finds them. An editable installation
copies nothing. All else is in pyproject.toml.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TOP = Path(__file__).resolve().parent
SHIPPED = ("data", "dagster.yaml", "workspace.yaml", "workspace_studies.yaml")


class BuildWithShipped(build_py):
    """`build_py`, with the shipped files."""

    def run(self) -> None:
        """Build the package from nothing: files of an earlier build do not get into the wheel."""
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib) / "faq_pipeline"
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        for name in SHIPPED:
            source, copy = TOP / name, package / "shipped" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copyfile(source, copy)


setup(cmdclass={"build_py": BuildWithShipped})
