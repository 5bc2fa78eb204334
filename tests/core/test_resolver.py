"""Names to cells: the teacher that serves, and the ones that cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.errors import FaqError

HUGE = 10**15


class World:
    """A copy of the tiny family's YAML over the same weights, to be changed by a test."""

    def __init__(self, tiny: Path, root: Path) -> None:
        self.root = root
        self.models = tiny / "models"
        for kind in ("families", "recipes"):
            shutil.copytree(tiny / kind, root / kind)
        self.edit("families/tiny.yaml", "../models", str(self.models))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def add_member(self, name: str, path: Path, parameters: int, family: str = "tiny") -> None:
        with (self.root / f"families/{family}.yaml").open("a") as file:
            file.write(f"  - name: {name}\n    path: {path}\n    parameters: {parameters}\n")

    def recipe(self, name: str, **regeneration: Any) -> None:
        lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in regeneration.items())
        (self.root / f"recipes/{name}.yaml").write_text(
            f"extends: tiny-faq\nname: {name}\nregeneration:\n{lines}"
        )

    def cell(self, member: str = "tiny-s", recipe: str = "tiny-faq", device: str = "cpu") -> Cell:
        catalog = Catalog((self.root,))
        return resolve_cell(catalog, member, catalog.recipe(recipe), device, self.root / "digests")

    def mistake(self, *args: str) -> FaqError:
        with pytest.raises(FaqError) as error:
            self.cell(*args)
        assert "\n" not in str(error.value)
        return error.value


@pytest.fixture
def world(tiny_data: Path, tmp_path: Path) -> World:
    return World(tiny_data, tmp_path)


def other_tokenizer(world: World, name: str = "odd") -> Path:
    """A copy of tiny-l with one merge less in its vocabulary."""
    folder = Path(shutil.copytree(world.models / "tiny-l", world.root / "models" / name))
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"].pop()
    path.write_text(json.dumps(content))
    return folder


def test_auto_takes_the_largest_member(world: World) -> None:
    cell = world.cell()
    assert (cell.target.name, cell.teacher and cell.teacher.name) == ("tiny-s", "tiny-l")
    assert cell.partition == f"{cell.target.partition}|tiny-faq" and cell.device == "cpu"


def test_a_partition_key_names_the_revision(world: World) -> None:
    cell = world.cell()
    assert world.cell(cell.target.partition) == cell
    error = world.mistake("tiny-s@00000000")
    assert "is not here any more" in error.problem and cell.target.partition in error.hint


def test_unknown_names(world: World) -> None:
    assert "unknown member 'tiny'" in world.mistake("tiny").problem
    assert "unknown recipe 'faq'" in world.mistake("tiny-s", "faq").problem


def test_a_recipe_for_another_family_is_refused(world: World) -> None:
    world.edit("recipes/tiny-faq.yaml", "families: [tiny]", "families: [qwen3, llama3]")
    error = world.mistake()
    assert error.problem == "recipe 'tiny-faq' is for qwen3, llama3, and 'tiny-s' is of family 'tiny'"


def test_sources_and_their_teachers(world: World) -> None:
    world.recipe("own", source="self")
    world.recipe("original", source="original")
    world.recipe("random", source="random")
    assert world.cell(recipe="own").teacher == world.cell().target
    assert world.cell(recipe="original").teacher is None
    assert world.cell(recipe="random").teacher is None


def test_the_largest_member_has_no_teacher(world: World) -> None:
    error = world.mistake("tiny-l")
    assert "no teacher for 'tiny-l'" in error.problem and "source: self" in error.hint


def test_a_budget_too_small_for_any_teacher(world: World) -> None:
    world.edit("families/tiny.yaml", "memory_budget_gib: 1", "memory_budget_gib: 1.0e-9")
    assert "none larger is within memory_budget_gib" in world.mistake().problem


def test_auto_stays_within_the_budget(world: World) -> None:
    world.add_member("tiny-xl", world.models / "tiny-l", HUGE)
    cell = world.cell()
    assert cell.teacher is not None and cell.teacher.name == "tiny-l"


def test_a_teacher_smaller_than_the_target_is_refused(world: World) -> None:
    world.recipe("upside-down", teacher="tiny-s")
    error = world.mistake("tiny-l", "upside-down")
    assert "teacher 'tiny-s'" in error.problem and "is smaller than 'tiny-l'" in error.problem


def test_a_teacher_too_big_for_the_device_names_alternatives(world: World) -> None:
    world.edit("families/tiny.yaml", "memory_budget_gib: 1", "memory_budget_gib: 1.0e+9")
    world.add_member("tiny-xl", world.models / "tiny-l", HUGE)
    error = world.mistake()
    assert error.problem.startswith("'tiny-xl' needs about") and error.hint == "these fit: tiny-l"


def test_a_target_too_big_for_the_device_names_alternatives(world: World) -> None:
    world.add_member("tiny-xl", world.models / "tiny-l", HUGE)
    assert world.mistake("tiny-xl").hint == "these fit: tiny-s, tiny-l"


def test_a_teacher_with_another_base_tokenizer_is_refused_unless_allowed(world: World) -> None:
    world.add_member("odd", other_tokenizer(world), 10**8)
    world.recipe("with-odd", teacher="odd")
    error = world.mistake("tiny-s", "with-odd")
    assert error.problem == "teacher 'odd' has another base tokenizer than 'tiny-s'"
    assert "allow_cross_family" in error.hint
    world.recipe("with-odd", teacher="odd", allow_cross_family=True)
    teacher = world.cell(recipe="with-odd").teacher
    assert teacher is not None and teacher.name == "odd"


def test_a_teacher_with_another_template_is_let_through(world: World) -> None:
    folder = Path(shutil.copytree(world.models / "tiny-l", world.root / "models/other"))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    world.add_member("other", folder, 10**8)
    teacher = world.cell().teacher
    assert teacher is not None and teacher.name == "other"


def test_a_teacher_of_another_family_is_refused_unless_allowed(world: World) -> None:
    text = (world.root / "families/tiny.yaml").read_text()
    (world.root / "families/far.yaml").write_text(
        text.replace("name: tiny\n", "name: far\n").replace("- name: tiny-", "- name: far-")
    )
    world.recipe("with-far", teacher="far-l")
    error = world.mistake("tiny-s", "with-far")
    assert error.problem == "teacher 'far-l' is of family 'far', and 'tiny-s' of 'tiny'"
    world.recipe("with-far", teacher="far-l", allow_cross_family=True)
    teacher = world.cell(recipe="with-far").teacher
    assert teacher is not None and teacher.name == "far-l"
    world.recipe("with-small-far", teacher="far-s", allow_cross_family=True)
    teacher = world.cell("tiny-l", "with-small-far").teacher
    assert teacher is not None and teacher.name == "far-s"


def test_a_teachers_weights_are_checked_too(world: World) -> None:
    folder = Path(shutil.copytree(world.models / "tiny-l", world.root / "models/cut"))
    shard = folder / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    world.add_member("cut", folder, 10**8)
    error = world.mistake()
    assert "corrupt safetensors" in error.problem and error.file == shard


def test_an_unknown_device(world: World) -> None:
    assert "unknown device 'tpu'" in world.mistake("tiny-s", "tiny-faq", "tpu").problem
