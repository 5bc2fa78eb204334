"""A recipe file that is wrong in an unusual way is one broken recipe: the others stay usable."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.files import load_recipe
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import REPOSITORY
from tests.cases.conftest import Lab
from tests.orchestration.conftest import Run

HEAD = "name: odd\nextends: tiny-faq\ntitle: odd\n"
BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
CHAIN = "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000))
ODD: dict[str, tuple[bytes, int | None]] = {
    "huge integer": (f"{HEAD}draw: 1{'0' * 5000}".encode(), 4),
    "huge hexadecimal": (f"{HEAD}draw: 0x{'f' * 5000}".encode(), 4),
    "deep nesting": (f"{HEAD}calibration: {'[' * 400}{']' * 400}".encode(), 4),
    "deeper nesting": (f"{HEAD}calibration: {'{a: ' * 100_000}".encode(), 4),
    "bomb of aliases": (f"{HEAD}a0: &a0 [x, x]\n{BOMB}".encode(), 9),
    "chain of aliases": (f"{HEAD}a0: &a0 [x]\n{CHAIN}".encode(), 43),
    "alias of itself": (f"{HEAD}calibration: &a [*a]".encode(), 4),
    "not UTF-8": (HEAD.encode() + b"draw: \xff\xfe", 4),
    "UTF-16": (HEAD.encode("utf-16"), 1),
    "NUL": (HEAD.encode() + b"draw: \0", 4),
    "half a character": (HEAD.encode() + b'families: ["\\ud800"]', 4),
    "a control character": (HEAD.encode() + b'families: ["\\e[2J"]', 4),
    "no date": (HEAD.encode() + b"draw: 2026-99-99", 4),
    "too large": (HEAD.encode() + b"# \n" * 2**19, None),
    "empty": (b"", 1),
    "extends itself": (b"name: odd\nextends: odd\n", 2),
    "extends a name too long": (b"name: odd\nextends: " + b"x" * 5000, 2),
    "extends a list": (b"name: odd\nextends: [a]\n", 2),
}


@pytest.mark.parametrize("kind", ODD)
def test_one_odd_file_leaves_the_others_usable(lab_data: Path, kind: str) -> None:
    """The file is listed among the broken ones with its line, and the other recipes are there."""
    content, line = ODD[kind]
    (lab_data / "recipes/odd.yaml").write_bytes(content)
    catalog = Catalog((lab_data,))
    assert list(catalog.broken) == ["odd"] and "tiny-faq" in catalog.recipes
    error = catalog.broken["odd"]
    assert (error.file, error.line) == (lab_data / "recipes/odd.yaml", line)
    assert "\n" not in str(error) and len(error.problem) < 200


@pytest.mark.parametrize("kind", ["folder", "dangling link", "pipe", "link to itself"])
def test_what_is_no_file_leaves_the_others_usable(lab_data: Path, kind: str) -> None:
    path = lab_data / "recipes/odd.yaml"
    match kind:
        case "folder":
            path.mkdir()
        case "dangling link":
            path.symlink_to("nowhere")
        case "pipe":
            os.mkfifo(path)
        case "link to itself":
            path.symlink_to(path.name)
    catalog = Catalog((lab_data,))
    assert list(catalog.broken) == ["odd"] and "tiny-faq" in catalog.recipes
    assert catalog.broken["odd"].file == path


@pytest.mark.parametrize("kind", ODD)
def test_one_odd_family_leaves_the_others_usable(lab_data: Path, kind: str) -> None:
    (lab_data / "families/odd.yaml").write_bytes(ODD[kind][0])
    catalog = Catalog((lab_data,))
    assert list(catalog.broken_families) == ["odd"] and list(catalog.families) == ["tiny"]
    with pytest.raises(FaqError, match=r"odd\.yaml"):
        catalog.family("odd")


def test_every_door_stays_open_beside_broken_files(lab: Lab, lab_data: Path, faq: Run) -> None:
    """Others are listed and run; the broken ones are named with file and cause."""
    for folder in ("recipes", "families", "studies"):
        (lab_data / folder).mkdir(exist_ok=True)
        (lab_data / folder / "odd.yaml").write_bytes(ODD["huge integer"][0])
    place = f"{lab_data}/{{}}/odd.yaml:4: not valid YAML: a number of more than 64 digits"
    recipes = json.loads(faq(lab_data, "recipes", "--json").out)
    assert recipes["broken"] == [{"name": "odd", "problem": place.format("recipes")}]
    assert "tiny-faq" in {recipe["name"] for recipe in recipes["recipes"]}
    members = json.loads(faq(lab_data, "members", "--family", "tiny", "--json").out)
    assert members["broken"] == [{"name": "odd", "problem": place.format("families")}]
    assert [row["member"] for row in members["members"]] == ["tiny-s", "tiny-l"]
    studies = json.loads(faq(lab_data, "study", "list", "--json").out)["studies"]
    assert [row["problem"] for row in studies if row["study"] == "odd"] == [place.format("studies")]
    doctor = faq(lab_data, "doctor", "--json")
    assert doctor.code == 1 and all(place.format(part) in doctor.out for part in ("recipes", "families"))
    for listing in ("recipes", "members"):
        assert "odd.yaml:4" in faq(lab_data, listing).err
    assert lab.plan("tiny-faq").code == 0
    assert lab.plan("odd").refusal.startswith(f"faq: {place.format('recipes')}")
    told = faq(lab_data, "run", "--member", "odd", "--dry-run").mistake
    assert told.startswith(place.format("families"))  # it mentions that name
    assert "unknown member 'odd-7b'" in faq(lab_data, "run", "--member", "odd-7b", "--dry-run").mistake


def test_a_recipe_called_yml_is_read(lab: Lab) -> None:
    """So is what extends it, a family and a task."""
    for name in ("recipes/tiny-faq", "families/tiny", "eval/tiny_sums"):
        (lab.root / f"{name}.yaml").rename(lab.root / f"{name}.yml")
    (lab.root / "recipes/child.yml").write_text("name: child\nextends: tiny-faq\n")
    assert lab.plan("tiny-faq").code == 0
    assert lab.plan("child").code == 0


@pytest.mark.parametrize("kind", ["recipe", "family"])
def test_one_name_in_both_spellings_is_an_error(lab_data: Path, kind: str) -> None:
    file = lab_data / {"recipe": "recipes/tiny-faq", "family": "families/tiny"}[kind]
    one, other = file.with_suffix(".yaml"), file.with_suffix(".yml")
    other.write_text(one.read_text())
    catalog = Catalog((lab_data,))
    with pytest.raises(FaqError, match=rf"{kind} '{file.name}' is defined twice, by .*\.yaml too"):
        (catalog.recipe if kind == "recipe" else catalog.family)(file.name)


SHIPPED = (REPOSITORY / "data/recipes/faq-gptq-w3a16.yaml").read_bytes()


@given(st.data())
def test_no_content_of_a_file_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Random bytes, and mutations of a shipped recipe: a recipe, or the file's own error."""
    if data.draw(st.booleans()):
        content = data.draw(st.binary(max_size=200))
    else:
        start = data.draw(st.integers(0, len(SHIPPED)))
        end = data.draw(st.integers(start, min(len(SHIPPED), start + 60)))
        pieces = st.sampled_from(
            [b"*a", b"&a ", b"<<: ", b"!!int ", b"? ", b"- ", b"\t", b"[", b"{", b"%", b"---\n", b"|", b'"']
        )
        junk = b"".join(data.draw(st.lists(pieces | st.binary(max_size=8), max_size=4)))
        content = SHIPPED[:start] + junk + SHIPPED[end:]
    path = tmp_path_factory.getbasetemp() / "faq-gptq-w3a16.yaml"
    path.write_bytes(content)
    try:
        load_recipe(path)
    except FaqError as error:
        assert str(error).startswith(f"{path}:") and "\n" not in str(error)
