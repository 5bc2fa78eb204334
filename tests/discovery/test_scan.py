"""What is new in a listing: a pure function, in examples and over any history."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.discovery.listing import Listed, Listing
from faq_pipeline.registry.registry import Registered
from tests.discovery.acme import Known, acme, kinds, repo, sha, shown


def test_a_new_repository_is_a_member_and_a_release() -> None:
    known = Known()
    assert kinds(known.look(shown(repo("Ace-7B", "one")))) == [("new member", "ace-7b")]
    record = known.members["acme/Ace-7B"]
    assert (record.current, record.now.release, record.now.licence) == (sha("one"), 1, "mit")
    assert known.look(shown(repo("Ace-7B", "one"))).changes == ()


def test_a_member_of_the_file_keeps_its_name_and_is_no_release_at_its_own_commit() -> None:
    known = Known()
    assert known.look(shown(repo("Ace-1B", "pin"))).changes == ()
    record = known.members["acme/Ace-1B"]
    assert (record.name, record.now.release) == ("small", None)
    assert kinds(known.look(shown(repo("Ace-1B", "two")))) == [("new commit", "small")]


def test_a_newer_commit_of_a_member_of_the_file_is_a_release_at_first_sight() -> None:
    known = Known()
    assert kinds(known.look(shown(repo("Ace-1B", "two")))) == [("new commit", "small")]
    commits = [(r.commit, r.release) for r in known.members["acme/Ace-1B"].revisions]
    assert commits == [(sha("pin"), None), (sha("two"), 1)]


def test_a_rollback_is_no_release() -> None:
    known = Known()
    for commit in ("one", "two"):
        known.look(shown(repo("Ace-7B", commit)))
    assert kinds(known.look(shown(repo("Ace-7B", "one")))) == [("rolled back", "ace-7b")]
    assert known.members["acme/Ace-7B"].current == sha("one") and known.releases == 2


def test_what_is_withdrawn_keeps_its_history_and_returns_without_a_release() -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "one")))
    assert kinds(known.look(shown(gone=("Ace-7B",)))) == [("withdrawn", "ace-7b")]
    record = known.members["acme/Ace-7B"]
    assert record.withdrawn and record.revision(sha("one"))
    assert known.look(shown(gone=("Ace-7B",))).changes == ()
    assert kinds(known.look(shown(repo("Ace-7B", "one")))) == [("returned", "ace-7b")]
    known.look(shown(gone=("Ace-7B",)))
    assert kinds(known.look(shown(repo("Ace-7B", "two")))) == [
        ("returned", "ace-7b"),
        ("new commit", "ace-7b"),
    ]
    assert known.releases == 2


def test_an_empty_listing_withdraws_nothing() -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "one")))
    before = dict(known.members)
    assert known.look(Listing()).changes == () and known.members == before


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        (repo("mallory/Ace-7B", "x"), "owner 'mallory' is not among"),
        (repo("Ace-7B-GPTQ-Int4", "x"), "excluded"),
        (repo("Ace-7B", "x", 10**7), "out of bounds: 10,000,000"),
        (repo("Ace-7B", "x", 10**12), "out of bounds"),
        (repo("Ace-7B", "x", None), "number of parameters is not known"),
        (repo("Ace-7B", "x", problem="it holds no safetensors"), "no safetensors"),
    ],
)
def test_what_looks_like_a_member_and_is_none(listed: Listed, says: str) -> None:
    known = Known()
    (ignored,) = known.look(shown(listed)).ignored
    assert says in ignored.reason and not known.members


def test_a_commit_that_cannot_be_used_leaves_the_last_good_one() -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "one")))
    found = known.look(shown(repo("Ace-7B", "two", None, problem="it holds no safetensors")))
    assert not found.changes and len(found.ignored) == 1
    assert known.members["acme/Ace-7B"].current == sha("one")


def test_names_are_valid_and_nobody_elses() -> None:
    family = acme(owners=["acme", "Acme-Labs"])
    known = Known(family, taken=frozenset({"ace-9b"}))
    known.look(
        shown(repo("Ace-7B", "a"), repo("Acme-Labs/Ace-7B", "b"), repo("Ace-9B", "c"), repo("Ace-2B", "d"))
    )
    assert {source: record.name for source, record in known.members.items()} == {
        "Acme-Labs/Ace-7B": "ace-7b",
        "acme/Ace-7B": "acme-ace-7b",
        "acme/Ace-9B": "acme-ace-9b",
        "acme/Ace-2B": "ace-2b",
    }


# --- any history ---

REPOS = ("Ace-1B", "Ace-7B", "Ace-9B", "Ace-9B-GPTQ")
STATES = st.dictionaries(st.sampled_from(REPOS), st.sampled_from(("pin", "b", "c", "d")))
"""What the hub's `main` names, of the repositories that it has."""


@st.composite
def looks(draw: Callable[..., object]) -> tuple[dict[str, str], Listing]:
    """The truth, and a listing of it that may leave out some of it, or be of no use for some."""
    truth: dict[str, str] = draw(STATES)  # type: ignore[assignment]
    told = [
        repo(name, commit, problem="later" if draw(st.integers(0, 9)) == 0 else "")
        for name, commit in truth.items()
        if draw(st.integers(0, 9)) > 0
    ]
    gone = [name for name in REPOS if name not in truth and draw(st.booleans())]
    return truth, shown(*told, gone=tuple(gone))


@given(st.lists(looks(), max_size=8), STATES)
def test_whatever_happened_a_full_look_brings_the_truth(
    history: list[tuple[dict[str, str], Listing]], last: dict[str, str]
) -> None:
    known = Known()
    numbers: list[int] = []
    seen: dict[str, Registered] = {}
    for listing in [one for _, one in history] + [
        shown(*(repo(n, c) for n, c in last.items()), gone=tuple(n for n in REPOS if n not in last))
    ]:
        found = known.look(listing)
        told = {listed.source for listed in listing.listed} | listing.gone
        for source, record in seen.items():  # nothing is forgotten, and the silent stay as they are
            now = known.members[source]
            assert now.revisions[: len(record.revisions)] == record.revisions
            assert source in told or now == record
        seen = dict(known.members)
        again = known.look(listing)  # looking twice changes nothing
        assert not again.changes and known.members == seen
        numbers += [
            r.release
            for change in found.changes
            if change.kind in ("new member", "new commit")
            and (r := known.members[change.source].revision(change.commit)) is not None
            and r.release is not None
        ]
    here = {source.partition("/")[2]: r.current for source, r in known.members.items() if not r.withdrawn}
    assert here == {name: sha(commit) for name, commit in last.items() if "GPTQ" not in name}
    # Each release has one number, told once.
    assert numbers == list(range(1, known.releases + 1))
    commits = [(source, r.commit) for source, record in known.members.items() for r in record.revisions]
    assert len(commits) == len(set(commits))
    assert ("acme/Ace-1B", sha("pin")) not in [
        (s, r.commit) for s, record in known.members.items() for r in record.revisions if r.release
    ]
