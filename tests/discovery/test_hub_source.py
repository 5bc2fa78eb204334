"""The hub source, with the real client against a stub hub that may be down, busy or lying."""

from __future__ import annotations

import pytest

from faq_pipeline.config.family import Family
from faq_pipeline.discovery import request_budget as session
from faq_pipeline.discovery.hub_source import HubSource
from faq_pipeline.discovery.listing import Listed, Listing
from faq_pipeline.errors import FaqError
from faq_pipeline.registry.registry import Registered
from tests.discovery.acme import Known, acme
from tests.hub import HubServer

BILLION = 10**9


def look(known: Known | None = None, family: Family | None = None) -> Listing:
    members: dict[str, Registered] = known.members if known else {}
    return HubSource().look(family or (known.family if known else acme()), members)


def listed(listing: Listing) -> dict[str, Listed]:
    return {one.source: one for one in listing.listed}


def mistake(known: Known | None = None) -> str:
    with pytest.raises(FaqError) as error:
        look(known)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_the_list_tells_is_not_asked_again(hub: HubServer) -> None:
    commit = hub.folder.add("acme/Ace-7B", parameters=7 * BILLION, licence="apache-2.0")
    hub.folder.add("acme/Something-Else", parameters=1)
    hub.folder.add("mallory/Ace-9B", parameters=BILLION)
    assert look().listed == (Listed("acme/Ace-7B", commit, 7 * BILLION, "apache-2.0"),)
    assert len(hub.requests) == 1


def test_a_repository_that_the_list_tells_little_of_is_asked_for_once(hub: HubServer) -> None:
    hub.folder.add("acme/Ace-7B", parameters=7 * BILLION)
    hub.folder.add("acme/Ace-9B-GPTQ", parameters=BILLION)
    hub.folder.fail("no sizes")
    known = Known()
    known.look(look(known))
    assert known.members["acme/Ace-7B"].now.parameters == 7 * BILLION
    assert sum("/api/models/acme/" in request for request in hub.requests) == 1
    hub.requests.clear()
    assert known.look(look(known)).changes == () and len(hub.requests) == 1


def test_no_safetensors_and_none_counted_yet(hub: HubServer) -> None:
    hub.folder.add("acme/Ace-7B")
    hub.folder.add("acme/Ace-9B", parameters=1)
    repo = hub.folder.read("acme/Ace-9B")
    repo.commits[repo.main].parameters = None
    hub.folder.change("acme/Ace-9B", commits=repo.commits)
    problems = {source: one.problem for source, one in listed(look()).items()}
    assert problems == {
        "acme/Ace-7B": "it holds no safetensors",
        "acme/Ace-9B": "the hub does not tell its size yet",
    }


def test_a_gated_repository_is_a_member_with_a_token_that_opens_it(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.folder.add("acme/Ace-7B", parameters=BILLION, gated="manual", readers=("letmein",))
    assert "gated" in listed(look())["acme/Ace-7B"].problem
    monkeypatch.setenv("HF_TOKEN", "another")
    assert "gated" in listed(look())["acme/Ace-7B"].problem
    monkeypatch.setenv("HF_TOKEN", "letmein")
    assert listed(look())["acme/Ace-7B"].problem == ""
    assert "letmein" in hub.tokens


def test_what_is_gone_is_asked_for_by_name(hub: HubServer) -> None:
    known = Known()
    for name in ("Ace-2B", "Ace-7B", "Ace-9B"):
        hub.folder.add(f"acme/{name}", parameters=BILLION)
    known.look(look(known))
    hub.folder.withdraw("acme/Ace-7B")
    hub.folder.change("acme/Ace-9B", disabled=True)
    assert look(known).gone == {"acme/Ace-7B", "acme/Ace-9B"}


@pytest.mark.parametrize("mode", ["empty list", "half list"])
def test_a_list_that_lacks_what_is_there_withdraws_nothing(hub: HubServer, mode: str) -> None:
    known = Known()
    commits = {f"acme/Ace-{n}B": hub.folder.add(f"acme/Ace-{n}B", parameters=BILLION) for n in range(2, 6)}
    known.look(look(known))
    hub.folder.fail(mode)
    found = look(known)
    assert not found.gone and {s: one.commit for s, one in listed(found).items()} == commits


def test_many_new_repositories_are_looked_into_a_few_at_a_time(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MOST_REQUESTS", 20)
    for number in range(2, 42):
        hub.folder.add(f"acme/Ace-{number}B", parameters=BILLION)
    hub.folder.fail("no sizes")
    known = Known()
    for members in (18, 36, 40):
        hub.requests.clear()
        found = known.look(look(known))
        assert len(hub.requests) <= 20 and len(known.members) == members
    assert len(known.members) == 40 and not found.ignored


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("drop", "127.0.0.1 does not answer"),
        ("500", "127.0.0.1 answers 500 internal server error"),
        ("429", "answers 429 too many requests, to be asked again after 3600 s"),
        ("401", "answers 401 unauthorized"),
        ("not a hub", "answers 404 not found"),
        ("not json", "makes no sense: it is not JSON"),
        ("object", "makes no sense"),
        ("no sha", "makes no sense: 'acme/Ace-2B': sha"),
        ("wrong types", "makes no sense: 'acme/Ace-2B': "),
    ],
)
def test_a_hub_that_is_down_busy_or_lies_is_an_error_at_once(hub: HubServer, mode: str, says: str) -> None:
    known = Known()
    hub.folder.add("acme/Ace-2B", parameters=BILLION)
    known.look(look(known))
    hub.folder.fail(mode, retry_after=3600 if mode == "429" else None)
    hub.requests.clear()
    assert says in mistake(known)
    assert len(hub.requests) == 1


@pytest.mark.parametrize("mode", ["drop", "500", "429", "not json"])
def test_a_list_that_breaks_off_after_a_page_is_no_list(
    hub: HubServer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the library would try again, with longer and longer sleeps."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    for number in range(150):
        hub.folder.add(f"acme/Ace-{number}B", parameters=BILLION)
    hub.folder.fail(mode, retry_after=3600, after=1)
    mistake()
    # A dropped connection may be an accident; what the hub refuses is not asked for again.
    assert len(hub.requests) <= (7 if mode == "drop" else 2)


def test_a_hub_that_is_slow_is_given_up(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_SECONDS", 0.2)
    hub.folder.add("acme/Ace-2B", parameters=BILLION)
    hub.folder.fail(seconds=0.3)
    family = acme(owners=["acme", "other"])
    with pytest.raises(FaqError, match="was given up"):
        look(family=family)


def test_one_broken_repository_does_not_hide_the_others(hub: HubServer) -> None:
    hub.folder.add("acme/Ace-2B", parameters=BILLION)
    hub.folder.add("acme/Ace-7B", parameters=BILLION)
    hub.folder.fail("500", path="/api/models/acme/Ace-7B")
    known = Known()
    hub.folder.change("acme/Ace-7B", gated="auto")
    assert "answers 500" in known.look(look(known)).ignored[0].reason
    assert set(known.members) == {"acme/Ace-2B"}


def test_offline_is_said(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in mistake() and not hub.requests


def test_a_token_and_a_password_in_the_url_are_in_no_message(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    url = hub.url.replace("http://", "http://me:hunter2@")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    for mode in ("500", "429", "401", "not json", "drop"):
        hub.folder.fail(mode)
        said = mistake()
        assert "hf_secret" not in said and "hunter2" not in said
