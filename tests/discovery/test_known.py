"""Families with their registered members, as the rest of the program sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.family import Family, Member
from faq_pipeline.config.family import KnownFamilies as Seen
from faq_pipeline.discovery.teacher_changes import teacher_changes
from faq_pipeline.errors import FaqError
from faq_pipeline.registry.merge import with_registered
from faq_pipeline.registry.registry import Registry
from tests.discovery.acme import Known, acme, repo, sha, shown
from tests.tiny import RECIPE


def seen(known: Known, family: Family | None = None) -> Seen:
    return with_registered({"acme": family or known.family}, known.registry.families)


def members(known: Known, family: Family | None = None) -> dict[str, Member]:
    return {member.name: member for member in seen(known, family).families["acme"].members}


def test_without_a_registry_families_are_the_files() -> None:
    assert with_registered({"acme": acme()}, Registry().families).families == {"acme": acme()}


def test_discovered_members_are_members() -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "one", 7 * 10**9, licence="apache-2.0")))
    found = members(known)["ace-7b"]
    assert (found.hub, found.revision, found.parameters) == ("acme/Ace-7B", sha("one"), 7 * 10**9)
    assert found.licence == "apache-2.0" and seen(known).discovered == {"ace-7b"}


def test_a_members_licence_and_size_are_those_of_its_revision() -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "one", licence=None)))
    known.look(shown(repo("Ace-7B", "two", 2 * 10**9, licence="other")))
    found = seen(known)
    now = members(known)["ace-7b"]
    assert (now.parameters, now.licence) == (2 * 10**9, "other")
    then = found.revisions["ace-7b"][sha("one")[:8]]
    assert (then.revision, then.parameters, then.licence) == (sha("one"), 10**9, "unknown")


def test_what_the_file_says_of_a_member_holds_at_every_revision() -> None:
    serving = {"tensor_parallel": 2}
    file = {"name": "small", "hub": "acme/Ace-1B", "revision": sha("pin"), "parameters": 10**9}
    family = acme(members=[{**file, "licence": "MIT", "serving": serving, "trust_remote_code": True}])
    known = Known(family)
    known.look(shown(repo("Ace-1B", "two", licence="other")))
    now = members(known)["small"]
    assert now.revision == sha("two") and now.licence == "MIT"
    assert now.serving is not None and now.serving.tensor_parallel == 2
    # Remote code was looked at in one commit, and is trusted in no other.
    assert not now.trust_remote_code
    assert seen(known).revisions["small"][sha("pin")[:8]].trust_remote_code


def test_a_commit_that_a_file_names_later_is_newer_than_the_registry() -> None:
    known = Known()
    known.look(shown(repo("Ace-1B", "two")))
    file = {"name": "small", "hub": "acme/Ace-1B", "revision": sha("three"), "parameters": 10**9}
    known.family = acme(members=[file])
    assert members(known)["small"].revision == sha("three")
    # ... until the next look tells what the hub's main is.
    assert known.look(shown(repo("Ace-1B", "two"))).changes == ()
    assert members(known)["small"].revision == sha("two")
    assert seen(known).revisions["small"][sha("three")[:8]].revision == sha("three")


def test_a_commit_that_a_file_and_the_hub_name_first_is_a_release() -> None:
    known = Known()
    known.look(shown(repo("Ace-1B", "two")))
    file = {"name": "small", "hub": "acme/Ace-1B", "revision": sha("three"), "parameters": 10**9}
    known.family = acme(members=[file])
    (change,) = known.look(shown(repo("Ace-1B", "three"))).changes
    assert (change.kind, change.commit) == ("new commit", sha("three"))
    assert members(known)["small"].revision == sha("three")


def test_a_withdrawn_member_is_no_member() -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "one"), repo("Ace-1B", "pin")))
    known.look(shown(gone=("Ace-7B", "Ace-1B")))
    assert members(known) == {} and set(seen(known).withdrawn) == {"ace-7b", "small"}
    known.look(shown(repo("Ace-7B", "one")))
    assert set(members(known)) == {"ace-7b"}


@pytest.mark.parametrize(
    "rule",
    [
        {"name": "Ace-[0-8]B"},
        {"name": "Ace-.*", "exclude": ["ace-9*"]},
        {"name": "Ace-.*", "most_parameters": 8 * 10**9},
        {"name": "Ace-.*", "directory": "/models"},
        None,
    ],
)
def test_a_rule_that_admits_a_member_no_more_drops_it(rule: dict[str, object] | None) -> None:
    known = Known()
    known.look(shown(repo("Ace-9B", "one", 9 * 10**9)))
    assert "ace-9b" in members(known)
    assert "ace-9b" not in members(known, acme(discovery=rule))


def test_a_name_that_a_file_takes_later_is_the_files() -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "one")))
    other = {"name": "ace-7b", "path": "/models/other", "parameters": 5}
    found = members(known, acme(members=[other]))
    assert found["ace-7b"].path == Path("/models/other") and found["acme-ace-7b"].hub == "acme/Ace-7B"


def test_a_member_that_is_written_down_later_keeps_the_files_name() -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "one")))
    file = {"name": "seven", "hub": "acme/Ace-7B", "revision": sha("one"), "parameters": 10**9}
    assert set(members(known, acme(members=[file]))) == {"seven"}


def test_the_catalog_finds_revisions_and_tells_of_the_withdrawn(tmp_path: Path) -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "one"), repo("Ace-9B", "x")))
    known.look(shown(repo("Ace-7B", "two"), gone=("Ace-9B",)))
    catalog = Catalog((tmp_path,), lambda written: seen(known))
    _, member = catalog.member("ace-7b")
    assert member.revision == sha("two")
    assert catalog.revision(member, sha("one")[:8]).revision == sha("one")
    assert catalog.revision(member, "00000000") == member
    with pytest.raises(FaqError, match="'ace-9b' is withdrawn: acme/Ace-9B was gone on 2026-11-20"):
        catalog.member("ace-9b")


# --- teachers ---


def family_of(known: Known) -> Family:
    return seen(known).families["acme"]


@pytest.fixture
def recipes(tmp_path: Path) -> Catalog:
    (tmp_path / "recipes").mkdir()
    text = RECIPE.replace("[tiny]", "[acme]")
    for name, change in (("auto", ""), ("named", "  teacher: ace-9b\n"), ("own", "")):
        recipe = text.replace("name: tiny-faq", f"name: {name}").replace(
            "  candidates: 2\n", f"  candidates: 2\n{change}"
        )
        recipe = recipe.replace("source: teacher", "source: self") if name == "own" else recipe
        (tmp_path / f"recipes/{name}.yaml").write_text(recipe)
    return Catalog((tmp_path,))


def test_a_larger_sibling_makes_smaller_ones_corpora_stale(recipes: Catalog) -> None:
    known = Known()
    known.look(shown(repo("Ace-1B", "pin"), repo("Ace-2B", "a", 2 * 10**9)))
    before = family_of(known)
    found = known.look(shown(repo("Ace-7B", "b", 7 * 10**9)))
    moved = {change.member: change.commit for change in found.changes}
    (one,) = teacher_changes(before, family_of(known), moved, recipes.recipes.values())
    # ace-2b had no teacher, so nothing of it is stale.
    assert one.members == ("small",) and one.recipes == ("auto",)
    assert one.before == f"ace-2b@{sha('a')[:8]}" and one.now == f"ace-7b@{sha('b')[:8]}"
    assert "stale corpora of small" in str(one) and "recipes auto" in str(one)


def test_so_does_a_teachers_new_commit_and_its_withdrawal(recipes: Catalog) -> None:
    known = Known()
    known.look(shown(repo("Ace-1B", "pin"), repo("Ace-2B", "a", 2 * 10**9)))
    for listing, now in (
        (shown(repo("Ace-2B", "b", 2 * 10**9)), f"ace-2b@{sha('b')[:8]}"),
        (shown(gone=("Ace-2B",)), ""),
    ):
        before = family_of(known)
        found = known.look(listing)
        moved = {change.member: change.commit for change in found.changes}
        (one,) = teacher_changes(before, family_of(known), moved, recipes.recipes.values())
        assert (one.members, one.now) == (("small",), now)


def test_a_smaller_sibling_changes_no_teacher(recipes: Catalog) -> None:
    known = Known()
    known.look(shown(repo("Ace-7B", "b", 7 * 10**9)))
    before = family_of(known)
    known.look(shown(repo("Ace-2B", "a", 2 * 10**9)))
    assert teacher_changes(before, family_of(known), {"ace-2b": sha("a")}, recipes.recipes.values()) == []
