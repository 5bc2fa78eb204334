"""An installation of its own over the tiny family, whose cells are made in no time.

Stages write what they declare instead of working, so artifacts, fingerprints and uses are real and
no model is loaded.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import materialize
from faq_pipeline.lineage.uses import cell_licences, cell_setting, record_use
from faq_pipeline.planning.cell_status import CellStatus, cell_status
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import MANIFEST
from faq_pipeline.store.manifest import parsed, written

SELF = "name: tiny-self\nextends: tiny-faq\ntitle: Its own teacher\nregeneration: {source: self}\n"
OTHER_SCHEME = "name: tiny-w8\nextends: tiny-faq\ntitle: Another scheme\nquantization: {scheme: W8A16}\n"
CONTROL = """\
name: tiny-original
extends: tiny-faq
title: Passed through
regeneration: {source: original, candidates: 1, sampling: null}
competition: {selection: random, experts: null}
"""


def edit_manifest(path: Path, **changes: Any) -> None:
    """Change fields of a manifest; its checksum is computed again."""
    path.write_text(written(parsed(path.read_text()).model_copy(update=changes)))


def declared(stage: Stage) -> Stage:
    """The stage, writing its identity and its inputs' digests."""

    def build(work: Build) -> dict[str, Any]:
        content = [stage.identity(work.cell), {n: a.digest for n, a in work.inputs.items()}]
        (work.directory / "declared.json").write_text(json.dumps(content, sort_keys=True))
        return {}

    return replace(stage, build=build)


@dataclass(frozen=True)
class Site:
    """A home and a data folder."""

    root: Path
    data: Path

    @property
    def settings(self) -> Settings:
        """Of now: families and recipes are read again."""
        return Settings(self.root / "home", (self.data,), "cpu")

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Make it this process's own."""
        patch.setenv("FAQ_HOME", str(self.root / "home"))
        patch.setenv("FAQ_DATA", str(self.data))
        patch.setenv("FAQ_DEVICE", "cpu")
        patch.setenv("DAGSTER_HOME", str(self.root / "home/dagster"))

    # --- what a user edits ---

    def requantize(self, recipes: list[str], hours: float = 24.0, more: str = "") -> None:
        """The family's `requantize`, in place of what it had."""
        path = self.data / "families/tiny.yaml"
        lines = [x for x in path.read_text().splitlines() if not x.startswith(("requantize:", "publish:"))]
        wanted = f"{{recipes: [{', '.join(recipes)}], cron: '0 2 * * *', max_gpu_hours: {hours}}}"
        path.write_text("\n".join([*lines, f"requantize: {wanted}", *([more] if more else []), ""]))

    def recipe(self, text: str) -> None:
        name = re.findall("^name: (.*)$", text, re.M)[0]
        (self.data / f"recipes/{name}.yaml").write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Change a file of the data folder."""
        text = (self.data / path).read_text()
        assert old in text
        (self.data / path).write_text(text.replace(old, new))

    def add_member(self, name: str, of: str = "tiny-s", parameters: int | None = None) -> None:
        """A member with the weights of another, but for a byte in its config."""
        folder = Path(shutil.copytree(self.data / "models" / of, self.data / "models" / name))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "name_or_path": name}))
        like = self.settings.catalog.member(of)[1].parameters
        path = self.data / "families/tiny.yaml"
        entry = f"  - name: {name}\n    path: ../models/{name}\n    parameters: {parameters or like}\n"
        path.write_text(path.read_text().replace("members:\n", f"members:\n{entry}"))

    # --- what runs leave ---

    def cell(self, member: str, recipe: str, device: str = "cpu") -> Cell:
        settings = self.settings
        found = resolve_cell(
            settings.catalog, member, settings.catalog.recipe(recipe), "cpu", settings.digests
        )
        return replace(found, device=device)

    def make(
        self, member: str, recipe: str, *, seconds: float = 36.0, until: str = "eval_report", **changes: Any
    ) -> Cell:
        """What a run of the cell leaves, up to a stage; each stage that it made took so many seconds.

        Args:
            changes: `device` or `draw` of the run.
        """
        cell = self.cell(member, recipe, changes.get("device", "cpu"))
        cell = cell.with_recipe(cell.recipe.model_copy(update={"draw": changes.get("draw", 0)}))
        self.run(cell, seconds=seconds, until=until)
        return cell

    def run(self, cell: Cell, *, seconds: float = 36.0, until: str = "eval_report") -> None:
        store = self.settings.store
        for name in STAGES:
            outcome = materialize(name, cell, {n: declared(s) for n, s in STAGES.items()}, store)
            if not outcome.hit:
                edit_manifest(outcome.artifact.path / MANIFEST, seconds=seconds)
            record_use(
                store,
                cell.partition,
                name,
                outcome.artifact.fingerprint,
                cell_licences(cell),
                cell_setting(cell),
            )
            if name == until:
                return

    def cell_status(self, member: str, recipe: str) -> CellStatus:
        return cell_status(self.settings, member, recipe)


def make_site(root: Path, tiny_data: Path) -> Site:
    """The tiny family, requantized with `tiny-faq` and `tiny-self`; nothing is made."""
    site = Site(root, Path(shutil.copytree(tiny_data, root / "data")))
    site.recipe(SELF)
    site.requantize(["tiny-faq", "tiny-self"])
    return site
