"""Paths in YAML are known by the type of their field, not by the name of their key."""

from __future__ import annotations

from pathlib import Path

import pytest

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.files import load_family, load_recipe
from faq_pipeline.config.paths import FOLDER
from faq_pipeline.config.recipe import Recipe, Seeds
from faq_pipeline.errors import FaqError
from faq_pipeline.study.design.recipes import Spec, StudyRecipes
from tests.config.test_recipe import write
from tests.tiny import RECIPE

PATH_LIKE_KEYS = ("path", "include", "prose", "development", "directory")
FAMILY = """\
name: tiny
memory_budget_gib: 1
development: ../eval/development.jsonl
discovery: {name: "tiny-.*", directory: ~/models}
publish: {licences: [Apache-2.0], directory: out}
serving: {arguments: {include: a/b, path: p, prose: q, development: r, directory: s}}
thinking: {template_kwargs: {include: a/b, path: p, prose: q, development: r, directory: s}}
members: [{name: tiny-s, path: ../models/tiny-s, parameters: 1}]
"""
STUDY = """\
name: small
title: A small study
families:
  tiny: {recipe: tiny-faq, members: [tiny-s], splits: {test: {prose: split.jsonl}}}
split: test
draws: 2
headline: faq
originals: {raw: faq, chat: faq}
primary: {draws: [100, 101]}
quantizers: {w4: {scheme: W4A16}}
arms:
  faq: {title: FAQ, seeds: {path: arm.jsonl}}
accuracy: {cells: [{arms: [faq]}]}
"""


def test_free_form_mappings_are_untouched(tmp_path: Path) -> None:
    path = tmp_path / "families/tiny.yaml"
    path.parent.mkdir()
    path.write_text(FAMILY)
    family = load_family(path)
    given = {"include": "a/b", "path": "p", "prose": "q", "development": "r", "directory": "s"}
    assert tuple(sorted(given)) == tuple(sorted(PATH_LIKE_KEYS))
    assert family.serving.arguments == family.thinking.template_kwargs == given
    assert all(type(value) is str for value in family.serving.arguments.values())


def test_every_path_of_a_family_starts_at_its_file(tmp_path: Path) -> None:
    path = tmp_path / "families/tiny.yaml"
    path.parent.mkdir()
    path.write_text(FAMILY)
    family = load_family(path)
    assert family.development == tmp_path.resolve() / "eval/development.jsonl"
    assert family.members[0].path == tmp_path.resolve() / "models/tiny-s"
    assert family.publish is not None and family.publish.directory == path.parent.resolve() / "out"
    assert family.discovery is not None and family.discovery.directory == Path("~/models").expanduser()


def test_an_expert_may_be_called_as_a_path_is(tmp_path: Path) -> None:
    text = RECIPE.replace("    length: 1.0", "    path: 1.0\n    include: 2.0")
    assert load_recipe(write(tmp_path, text)).competition.experts == {"path": 1.0, "include": 2.0}


def test_a_value_starts_at_the_file_that_holds_it(tmp_path: Path) -> None:
    write(tmp_path, RECIPE)
    for name in ("tiny-faq", "child"):
        (tmp_path / name).mkdir()
    child = write(tmp_path, "extends: tiny-faq\nname: child\nevaluation: {prose: own.jsonl}\n", "child")
    recipe = load_recipe(child)
    assert recipe.evaluation.prose == tmp_path.resolve() / "own.jsonl"
    assert recipe.evaluation.include == (tmp_path / "../eval").resolve()


def test_a_studys_overlays_start_at_the_study_and_the_rest_at_the_recipe(tmp_path: Path) -> None:
    for kind, name, text in (("recipes", "tiny-faq", RECIPE), ("studies", "small", STUDY)):
        (tmp_path / kind).mkdir()
        write(tmp_path / kind, text, name)
    catalog = Catalog((tmp_path,))
    study, sources = catalog.study("small")
    recipe = StudyRecipes(catalog, study, sources).recipe(Spec("tiny", "faq", "w4", "test"))
    assert recipe.seeds.path == tmp_path.resolve() / "studies/arm.jsonl"
    assert recipe.evaluation.prose == tmp_path.resolve() / "studies/split.jsonl"
    assert recipe.evaluation.include == tmp_path.resolve() / "eval"


def test_a_tree_without_a_file_takes_the_contexts_folder(tmp_path: Path) -> None:
    tree = {"path": "seeds.jsonl", "count": 1}
    assert Seeds.model_validate(tree, context={FOLDER: tmp_path}).path == tmp_path.resolve() / "seeds.jsonl"
    assert Seeds.model_validate(tree).path == Path("seeds.jsonl")


def test_a_read_recipe_survives_json(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize("value", ["[a, b]", "3", "{a: b}", "loop"])
def test_what_is_no_path_names_its_line(tmp_path: Path, value: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    text = RECIPE.replace("  prose: ../eval/prose.jsonl", f"  prose: {value}")
    with pytest.raises(FaqError) as error:
        load_recipe(write(tmp_path, text))
    assert "evaluation.prose" in error.value.problem and error.value.line == text.count("\n") - 1
