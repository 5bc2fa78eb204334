"""A secret in a file is refused where it is read, and printed through no door."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.files import recipe_under
from faq_pipeline.config.yaml import commented
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.util.secrets import redacted, secret_in
from tests.faults.table import FaultTable
from tests.orchestration.conftest import Done, Run

KIND = "secrets in files, by form"
SECRET = "planted-5e3c"
TOKEN = "sk-planted5e3cplanted5e3c"
URLS = {
    "password": f"http://user:{SECRET}@127.0.0.1:9/v1",
    "user": f"http://{SECRET}@127.0.0.1:9/v1",
    "password with a slash": f"http://user:a/{SECRET}@127.0.0.1:9/v1",
    "password, quoted": f"http://user%3A{SECRET}%40127.0.0.1:9/v1",
    "upper case": f"HTTP://user:{SECRET}@127.0.0.1:9/v1",
    "without scheme": f"user:{SECRET}@127.0.0.1:9/v1",
    "query": f"http://127.0.0.1:9/v1?api_key={SECRET}",
    "token": f"http://127.0.0.1:9/v1?token={SECRET}",
    "access token": f"http://127.0.0.1:9/v1?model=x&access_token={SECRET}",
    "fragment": f"http://127.0.0.1:9/v1#{SECRET}",
    "key in the path": f"http://127.0.0.1:9/{TOKEN}/v1",
}
FORMS = {name: f'{{base_urls: ["{url}"]}}' for name, url in URLS.items()} | {
    "no list": f"{{base_urls: {URLS['fragment']}}}",
    "no section": URLS["password"],
    "key for its variable": f'{{base_urls: ["http://h/v1"], key: {SECRET}}}',
    "key like a variable": '{base_urls: ["http://h/v1"], key: hf_planted5e3c}',
    "key in capitals": '{base_urls: ["http://h/v1"], key: PLANTED5E3CPLANTED5E3CPLANTED}',
    "key as a number": '{base_urls: ["http://h/v1"], key: 5353535353}',
    "key as a tag": f'{{base_urls: ["http://h/v1"], key: !{SECRET} x}}',
    "key as an alias": f'{{base_urls: ["http://h/v1"], key: *{SECRET}}}',
    "key twice": f'{{base_urls: ["http://h/v1"], key: {SECRET}, key: {SECRET}}}',
    "unknown key": f'{{base_urls: ["http://h/v1"], api_key: {SECRET}}}',
}
PLANTED = (SECRET, "planted5e3c", "PLANTED5E3C", "5353535353")
RECIPE = """\
name: secret
extends: tiny-faq
title: A server with its password
regeneration:
  engine: endpoint
  endpoint: {form}
"""


def silent(done: Done) -> Done:
    """The same, if it holds no secret."""
    assert not any(one in done.out + done.err for one in PLANTED), done
    return done


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_in_a_recipe_is_printed_through_no_door(
    lab_data: Path, faq: Run, form: str, fault_table: FaultTable
) -> None:
    """It is refused with file and line where the recipe is read; the other recipes are there."""
    path = lab_data / "recipes/secret.yaml"
    path.write_text(RECIPE.format(form=FORMS[form]))
    with fault_table.trial(KIND):
        check_every_door(path, faq)


def check_every_door(path: Path, faq: Run) -> None:
    lab_data = path.parent.parent
    error = Catalog((lab_data,)).broken["secret"]
    assert (error.file, error.line) == (path, 6)
    listed = json.loads(silent(faq(lab_data, "recipes", "--json")).out)
    assert listed["broken"] == [{"name": "secret", "problem": str(error)}]
    assert "tiny-faq" in {recipe["name"] for recipe in listed["recipes"]}
    assert str(error) in silent(faq(lab_data, "recipes")).err
    assert str(error) in silent(faq(lab_data, "doctor", "--json")).out
    plan = silent(faq(lab_data, "run", "--member", "tiny-s", "--recipe", "secret", "--dry-run"))
    assert plan.mistake == str(error)


FAMILY_FORMS: dict[str, Callable[[str], str]] = {
    "an argument of the server": lambda text: f"{text}serving: {{arguments: {{hf-token: {SECRET}}}}}\n",
    "a password of a member's server": lambda text: text.replace(
        "parameters:", f"serving: {{arguments: {{ssl-keyfile-password: {SECRET}}}}}\n    parameters:", 1
    ),
    "a hub's URL": lambda text: text.replace(
        "path: ../models/tiny-s", f"hub: https://me:{SECRET}@hub.example/tiny"
    ),
    "a repository": lambda text: (
        f"{text}publish: {{licences: [x], repository: 'https://me:{SECRET}@hub/tiny'}}\n"
    ),
    "a token anywhere": lambda text: f"{text}licence: {TOKEN}\n",
}


@pytest.mark.parametrize("form", FAMILY_FORMS)
def test_a_secret_in_a_family_is_printed_through_no_door(
    lab_data: Path, faq: Run, form: str, fault_table: FaultTable
) -> None:
    path = lab_data / "families/tiny.yaml"
    path.write_text(FAMILY_FORMS[form](path.read_text()))
    error = Catalog((lab_data,)).broken_families["tiny"]
    assert error.file == path and error.line is not None
    with fault_table.trial(KIND):
        assert str(error) in silent(faq(lab_data, "members", "--json")).out
        assert str(error) in silent(faq(lab_data, "doctor", "--json")).out
        plan = silent(faq(lab_data, "run", "--member", "tiny-s", "--recipe", "original", "--dry-run"))
        assert plan.mistake == str(error)


def test_a_secret_in_a_study_is_printed_through_no_door(lab_data: Path, faq: Run) -> None:
    (lab_data / "studies").mkdir(exist_ok=True)
    path = lab_data / "studies/odd.yaml"
    path.write_text(f"name: odd\ntitle: x\narms:\n  a: {{regeneration: {{endpoint: {FORMS['password']}}}}}\n")
    told = silent(faq(lab_data, "study", "status", "odd")).mistake
    assert told.startswith(f"{path}:4: holds a URL with a user or password in it")


def test_a_secret_on_the_command_line_or_in_a_variable_is_not_repeated(
    lab_data: Path, faq: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = silent(faq(lab_data, "run", "--member", URLS["password"]))
    assert told.mistake.startswith("argument 3 holds a URL with a user or password")
    monkeypatch.setenv("FAQ_VLLM", URLS["query"])
    told = silent(faq(lab_data, "recipes"))
    assert told.mistake.startswith("FAQ_VLLM holds a URL with a key or token")


def test_changes_made_in_python_are_checked_too(lab_data: Path) -> None:
    changes = {"name": "mine", "regeneration": {"endpoint": {"base_urls": [URLS["fragment"]]}}}
    with pytest.raises(FaqError, match="fragment") as error:
        recipe_under(lab_data / "recipes/tiny-faq.yaml", [(changes, [(Path("changes"), commented(changes))])])
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://en.wikipedia.org/wiki/Token#Secret",
        "https://huggingface.co/Qwen/Qwen3-8B@main",
        "http://localhost:8000/v1/models@3",
        "Ask me@example.org, or see https://example.org/?page=2&sort=key",
        "a risk-averse mask-language-modelling-objective",
        "re:.*self_attn.*",
        "a bearer representative-of-the-state",
    ],
)
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert secret_in(text) is None and redacted(text) == text


def test_no_shipped_file_seems_to_hold_a_secret() -> None:
    catalog = Catalog((REPOSITORY / "data",))
    assert not catalog.broken and not catalog.broken_families


@pytest.mark.parametrize(
    "text", [URLS["password"], URLS["token"], f"it says: Bearer {TOKEN}", f"key {TOKEN}"]
)
def test_an_error_repeats_no_secret(text: str) -> None:
    """Whoever makes the message: servers and libraries repeat what they refuse."""
    told = FaqError(f"the server said: {text}", hint=text)
    assert not any(one in str(told) + told.problem + told.hint for one in PLANTED)


def test_the_time_is_linear_in_the_length_of_a_text() -> None:
    """No pattern goes back over all of what it begins with: else this would take hours."""
    for part in ("a", "a:/", "a:/b:c", "eyJ-", "?key", "Bearer ", "-----BEGIN "):
        text = part * (2**17 // len(part))
        assert redacted(text) == text
