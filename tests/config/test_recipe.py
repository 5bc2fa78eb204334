"""A mistake in a recipe is one line with file, line and hint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.config.files import load_recipe
from faq_pipeline.errors import FaqError
from tests.tiny import RECIPE


def line_of(text: str, part: str) -> int:
    """The 1-based line of the first line that holds `part`."""
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


def write(folder: Path, text: str, name: str = "tiny-faq") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistake(path: Path) -> FaqError:
    with pytest.raises(FaqError) as error:
        load_recipe(path)
    assert "\n" not in str(error.value)
    return error.value


def test_a_sound_recipe_loads_with_paths_made_absolute(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE))
    assert recipe.seeds.path == (tmp_path / "../seeds/mixed.jsonl").resolve()
    assert recipe.evaluation.include == (tmp_path / "../eval").resolve()
    assert recipe.competition.experts == {"length": 1.0}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  count: 8", "  cout: 8", "unknown key 'seeds.cout' (did you mean 'count'?)"),
        ("    temperature: 1.0", "    temprature: 1.0", "did you mean 'temperature'?"),
        ("families: [tiny]", "familys: [tiny]", "unknown key 'familys' (did you mean 'families'?)"),
        ("  traces: 4", "  zzz: 4", "unknown key 'evaluation.zzz' (known keys: batch_size, engine, gate,"),
        ("  tokens: 128", "  tokens: many", "calibration.tokens: input should be a valid integer"),
        ("  tokens: 128", "  tokens: -1", "calibration.tokens: input should be greater than 0, got -1"),
        ("    length: 1.0", "    length: no", "competition.experts.length: input should be a valid number"),
        ("title: FAQ on", "title: [FAQ] # on", "title: input should be a valid string"),
        ("  source: teacher", "  source: oracle", "'teacher', 'self', 'original' or 'random', got 'oracle'"),
        ("  group_size: channel", "  group_size: 0", "quantization.group_size: input should be greater than"),
        ("  group_size: channel", "  group_size: chanel", "quantization.group_size: input should be"),
        ("  traces: 4", "  gate: {recovery: 2}", "evaluation.gate.recovery: input should be less than"),
        ("families: [tiny]", "families: []", "families: list should have at least 1 item"),
        ("name: tiny-faq", "name: other", "the recipe's name is 'other' (a recipe is named after its file"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_names_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = RECIPE.replace(old, new)
    path = write(tmp_path, text)
    error = mistake(path)
    assert str(error).startswith(f"{path}:{line_of(text, new)}: ") and says in str(error)


def test_a_union_is_explained_once_for_each_member(tmp_path: Path) -> None:
    error = mistake(write(tmp_path, RECIPE.replace("group_size: channel", "group_size: chanel")))
    assert "valid integer" in error.problem and "'channel'" in error.problem
    assert "constrained" not in error.problem and "literal" not in error.problem


@pytest.mark.parametrize(
    ("removed", "at", "key"),
    [
        ("  count: 8\n", "seeds:", "seeds.count"),
        ("    max_new_tokens: 24\n", "  sampling:", "regeneration.sampling.max_new_tokens"),
        ("  scheme: W4A16\n", "quantization:", "quantization.scheme"),
    ],
)
def test_a_missing_key_names_its_section(tmp_path: Path, removed: str, at: str, key: str) -> None:
    text = RECIPE.replace(removed, "", 1)
    error = mistake(write(tmp_path, text))
    assert error.problem == f"missing key '{key}'" and error.hint == "add it"
    assert error.line == line_of(text, at)


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    text = RECIPE.replace("competition:\n  experts:\n    length: 1.0\n", "")
    error = mistake(write(tmp_path, text))
    assert (error.problem, error.line) == ("missing key 'competition'", 1)


@pytest.mark.parametrize(
    ("change", "section", "says"),
    [
        (("  tokens: 128", "  tokens: 12"), "calibration:", "at least one 'sequence_length'"),
        (("    length: 1.0", "    {}"), "competition:", "experts"),
        (("  path: ../seeds/mixed.jsonl\n", ""), "seeds:", "needs? either 'path' or 'dataset'"),
    ],
)
def test_keys_that_do_not_go_together(
    tmp_path: Path, change: tuple[str, str], section: str, says: str
) -> None:
    text = RECIPE.replace(*change)
    error = mistake(write(tmp_path, text))
    assert re.search(says, str(error)) and error.line in (
        line_of(text, section),
        line_of(text, section) + 1,
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: tiny-faq\nseeds: [1, 2\ntitle: x\n", 3),
        ("name: tiny-faq\n\ttitle: x\n", 2),
        ("name: tiny-faq\nname: tiny-faq\n", 2),
        ("name: tiny-faq\nseeds: *nobody\n", 2),
        ("name: \x01\n", 1),
        ("", 1),
        ("- a\n- b\n", 1),
        ("just words\n", 1),
    ],
)
def test_bad_yaml_is_a_plain_mistake(tmp_path: Path, text: str, line: int | None) -> None:
    assert mistake(write(tmp_path, text)).line == line


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "tiny-faq.yaml"
    path.write_bytes(b"name: \xff\xfe")
    assert "not UTF-8" in mistake(path).problem
    assert "no such file" in mistake(tmp_path / "nobody.yaml").problem
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read" in mistake(tmp_path / "folder.yaml").problem


def test_a_mistake_behind_a_merge_key_is_a_plain_mistake(tmp_path: Path) -> None:
    text = RECIPE.replace("calibration:\n  tokens: 128\n", "calibration:\n  <<: {tokens: bad}\n")
    error = mistake(write(tmp_path, text))
    assert "calibration.tokens" in error.problem and error.line == line_of(text, "calibration:")


def test_a_child_overlays_its_parents(tmp_path: Path) -> None:
    write(tmp_path, RECIPE)
    write(tmp_path, "extends: tiny-faq\nname: middle\nquantization: {scheme: W3A16}\n", "middle")
    child = load_recipe(
        write(
            tmp_path,
            "extends: middle\nname: child\ncompetition: {experts: {degeneration: 2}}\n"
            "evaluation: {traces: null}\n",
            "child",
        )
    )
    assert (child.name, child.quantization.scheme, child.calibration.tokens) == ("child", "W3A16", 128)
    assert child.competition.experts == {"degeneration": 2.0}  # experts replace as a whole
    assert child.evaluation.traces == 64  # the default: null takes the parent's key away


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path, RECIPE)
    own = "extends: tiny-faq\nname: child\nseeds: {path: mine.jsonl}\n"
    child = load_recipe(write(tmp_path, own, "child"))
    assert child.seeds.path == tmp_path.resolve() / "mine.jsonl"
    assert child.evaluation.prose == (tmp_path / "../eval/prose.jsonl").resolve()


def test_a_mistake_of_the_parent_is_reported_in_the_parents_file(tmp_path: Path) -> None:
    text = RECIPE.replace("  tokens: 128", "  tokns: 512")
    parent = write(tmp_path, text)
    child = write(tmp_path, "extends: tiny-faq\nname: child\ntitle: T\n", "child")
    error = mistake(child)
    assert (error.file, error.line) == (parent, line_of(text, "tokns"))


def test_a_mistake_of_the_child_is_reported_in_the_childs_file(tmp_path: Path) -> None:
    write(tmp_path, RECIPE)
    child = write(tmp_path, "extends: tiny-faq\nname: child\nseeds:\n  count: none\n", "child")
    error = mistake(child)
    assert (error.file, error.line) == (child, 4)


def test_broken_yaml_of_the_parent_is_reported_there(tmp_path: Path) -> None:
    parent = write(tmp_path, "name: tiny-faq\nseeds: [\n")
    child = write(tmp_path, "extends: tiny-faq\nname: child\n", "child")
    assert mistake(child).file == parent


@pytest.mark.parametrize(
    ("extends", "says"),
    [("nobody", "names no file"), ("child", "in a circle"), ("[a]", "names no file")],
)
def test_extends_that_leads_nowhere(tmp_path: Path, extends: str, says: str) -> None:
    error = mistake(write(tmp_path, f"name: child\nextends: {extends}\n", "child"))
    assert says in error.problem and error.line == 2


def test_a_longer_circle(tmp_path: Path) -> None:
    write(tmp_path, "name: a\nextends: b\n", "a")
    assert "in a circle" in mistake(write(tmp_path, "name: b\nextends: a\n", "b")).problem


@given(st.sampled_from(RECIPE.splitlines()), st.text(max_size=30), st.integers(0, 40))
def test_no_spoilt_recipe_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, line: str, junk: str, place: int
) -> None:
    """Whatever stands in the file: a recipe, or one plain mistake."""
    text = RECIPE.replace(line, line[:place] + junk + line[place:], 1)
    path = tmp_path_factory.getbasetemp() / "tiny-faq.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        load_recipe(path)
    except FaqError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
