"""A recipe file that is wrong in an unusual way is one broken recipe: the others stay usable."""

from __future__ import annotations

from pathlib import Path

import pytest

from faq_pipeline.config.catalog import Catalog
from tests.cases.conftest import Lab
from tests.cases.known_fault import known_fault

RECIPE = "name: odd\nextends: tiny-faq\ntitle: odd\n{line}\n"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(
            "draw: 1" + "0" * 5000,
            id="huge integer",
            marks=known_fault("an integer of 5001 digits breaks the whole catalog", ValueError),
        ),
        pytest.param(
            "calibration: " + "[" * 400 + "]" * 400,
            id="deep nesting",
            marks=known_fault("a list nested 400 deep breaks the whole catalog", RecursionError),
        ),
    ],
)
def test_one_odd_file_leaves_the_others_usable(lab_data: Path, line: str) -> None:
    """The file is listed among the broken ones, and the other recipes are there."""
    (lab_data / "recipes/odd.yaml").write_text(RECIPE.format(line=line))
    catalog = Catalog((lab_data,))
    assert "odd" in catalog.broken
    assert "tiny-faq" in catalog.recipes


@known_fault("a recipe file called .yml is passed over in silence")
def test_a_recipe_called_yml_is_read_or_named(lab: Lab) -> None:
    """A recipe in a `.yml` file is run, or the refusal says that the file is there."""
    (lab.root / "recipes/tiny-faq.yaml").rename(lab.root / "recipes/tiny-faq.yml")
    told = lab.plan("tiny-faq")
    assert told.code == 0 or (told.code == 2 and "tiny-faq.yml" in told.said)
