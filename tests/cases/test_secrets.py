"""What a recipe's `base_urls` must not hold: a password or a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from faq_pipeline.config.catalog import Catalog
from tests.cases.known_fault import known_fault
from tests.orchestration.conftest import Run

SECRET = "planted-5e3c"
URLS = {
    "password": f"http://user:{SECRET}@127.0.0.1:9/v1",
    "token": f"http://{SECRET}@127.0.0.1:9/v1",
    "query": f"http://127.0.0.1:9/v1?api_key={SECRET}",
}
RECIPE = """\
name: secret
extends: tiny-faq
title: A server with its password in the URL
regeneration:
  engine: endpoint
  endpoint:
    base_urls: ["{url}"]
"""


@pytest.fixture(params=URLS)
def data(request: pytest.FixtureRequest, lab_data: Path) -> Path:
    (lab_data / "recipes/secret.yaml").write_text(RECIPE.format(url=URLS[request.param]))
    return lab_data


@known_fault("'recipes --json' prints the URLs of a recipe with the password in them")
def test_a_password_in_a_url_is_printed_nowhere(data: Path, faq: Run) -> None:
    """`recipes --json` names the recipe, or what is wrong with it, and never the secret."""
    done = faq(data, "recipes", "--json")
    assert "secret" in done.out + done.err
    assert SECRET not in done.out + done.err


@known_fault("a recipe may carry a password in its URLs")
def test_a_password_in_a_url_is_refused_where_the_file_is_read(data: Path) -> None:
    """The recipe is a broken one, told by file and line and without the secret."""
    broken = Catalog((data,)).broken
    assert list(broken) == ["secret"]
    assert str(broken["secret"]).startswith(f"{data / 'recipes/secret.yaml'}:")
    assert SECRET not in str(broken["secret"])
