"""Publishing to a directory and to a hub, and taking it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from faq_pipeline.errors import FaqError
from faq_pipeline.publishing.directory import PublishDirectory
from faq_pipeline.publishing.hub import HubRepository
from faq_pipeline.publishing.publish import Destinations, publish
from faq_pipeline.publishing.record import Place
from faq_pipeline.publishing.withdraw import withdraw
from faq_pipeline.store.artifact import Artifact
from tests.publishing.conftest import REPOSITORY, TOKEN, Site
from tests.publishing.stub_hub import StubHub

CHECKPOINT = {"config.json", "model.safetensors", "tokenizer.json"}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def judged(artifact: Artifact) -> dict[str, bytes]:
    return files(artifact.file("checkpoint"))


# --- the directory ---


def test_a_folder_holds_the_checkpoint_the_card_and_the_statement(site: Site) -> None:
    content = site.content("a")
    content.checkpoint.file("checkpoint/model.safetensors").chmod(0o600)
    done = site.publish(content)
    folder = site.directory / content.digest
    assert done.status == "new" and [str(one.place) for one in done.places] == [str(folder)]
    found = files(folder)
    assert found.keys() == {*CHECKPOINT, "README.md", "publication.json"}
    assert found.items() >= judged(content.checkpoint).items()
    assert found["README.md"] == b"# card\n" and json.loads(found["publication.json"]) == content.statement
    assert (folder / "model.safetensors").stat().st_mode & 0o044  # others may read what is published
    assert site.current == content.digest and site.listed() == {content.digest, "current"}


def test_a_newer_checkpoint_lies_beside_the_older_one(site: Site) -> None:
    old, new = site.content("a"), site.content("b")
    site.publish(old)
    site.publish(new)
    assert site.current == new.digest and site.listed() == {old.digest, new.digest, "current"}
    assert site.publish(old).status == "already" and site.current == new.digest
    assert site.publish(old, again=True).status == "already" and site.current == old.digest


def test_nothing_is_published_twice(site: Site) -> None:
    content = site.content("a")
    site.publish(content)
    before = (site.directory / content.digest / "model.safetensors").stat()
    assert site.publish(content).status == "already"
    assert (site.directory / content.digest / "model.safetensors").stat().st_ino == before.st_ino
    (event,) = site.records.read(content.digest, "").events
    assert event.what == "published" and event.by and event.cell == content.cell


def test_another_directory_is_another_place(site: Site, tmp_path: Path) -> None:
    content, other = site.content("a"), Site(tmp_path / "other")
    site.publish(content)
    assert other.publish(content).status == "new"


def test_what_is_not_what_was_judged_is_not_published(site: Site) -> None:
    content = site.content("a")
    with content.checkpoint.file("checkpoint/model.safetensors").open("ab") as file:
        file.write(b"rot")
    with pytest.raises(FaqError, match="damaged: bytes differ from the manifest"):
        site.publish(content)
    assert site.listed() == set() and site.records.all() == []


def test_a_directory_that_cannot_be_written_to_is_named(site: Site) -> None:
    site.directory.parent.mkdir(parents=True)
    site.directory.write_text("a file")
    with pytest.raises(FaqError, match="cannot be written to") as error:
        site.publish(site.content("a"))
    assert str(site.directory) in str(error.value)


def test_a_folder_deleted_by_hand_is_not_brought_back_by_itself(site: Site) -> None:
    content = site.content("a")
    site.publish(content)
    PublishDirectory(site.directory / content.digest).path.rename(site.root / "trash")
    done = site.publish(content)
    assert done.status == "already" and "--again" in done.notes[0]
    assert not (site.directory / content.digest).exists()
    assert site.publish(content, again=True).status == "new" and site.current == content.digest


# --- withdrawal from it ---


def test_a_withdrawn_checkpoint_is_gone_and_stays_away(site: Site) -> None:
    content = site.content("a")
    site.publish(content)
    done = withdraw(site.records, content.checkpoint.fingerprint[:6], "wrong\n licence")
    assert [str(place) for place in done.removed] == [str(site.directory / content.digest)]
    assert site.listed() == set() and site.current is None
    refused = site.publish(content)
    assert (refused.status, refused.reason, refused.places) == ("withdrawn", "wrong licence", ())
    assert site.listed() == set()
    record = site.records.read(content.digest, "")
    assert [event.what for event in record.events] == ["published", "withdrawn", "removed"]
    assert record.withdrawal is not None and record.withdrawal.reason == "wrong licence"
    assert site.publish(content, again=True).status == "new" and site.current == content.digest
    assert site.publish(content).status == "already"
    assert len(site.records.read(content.digest, "").events) == 4  # and the reason is still there


def test_current_goes_back_to_what_was_published_before(site: Site) -> None:
    names = [site.content(name) for name in "abc"]
    for content in names:
        site.publish(content)
    a, b, c = (content.digest for content in names)
    withdraw(site.records, b, "bad")
    assert site.current == c
    withdraw(site.records, c, "bad")
    assert site.current == a and site.listed() == {a, "current"}
    withdraw(site.records, a, "bad")
    assert site.listed() == set()


def test_it_is_barred_everywhere(site: Site, tmp_path: Path) -> None:
    content = site.content("a")
    site.publish(content)
    withdraw(site.records, content.digest, "bad")
    elsewhere = Destinations(tmp_path / "elsewhere")
    assert publish(content, elsewhere, site.records).status == "withdrawn"


@pytest.mark.parametrize(
    ("prefix", "reason", "message"),
    [
        ("zz", "bad", "no published checkpoint has a fingerprint or digest that starts with 'zz'"),
        ("", "bad", "2 published checkpoints have"),
        ("a", " \n", "a withdrawal needs a reason"),
    ],
)
def test_what_cannot_be_withdrawn(site: Site, prefix: str, reason: str, message: str) -> None:
    for name in "ab":
        site.publish(site.content(name))
    with pytest.raises(FaqError, match=message):
        withdraw(site.records, prefix, reason)


def test_a_record_that_cannot_be_read_lets_nothing_through(site: Site) -> None:
    content = site.content("a")
    site.publish(content)
    withdraw(site.records, content.digest, "bad")
    (path,) = site.records.folder.glob("*.json")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FaqError, match="cannot be read") as error:
        site.publish(content)
    assert error.value.file == path and site.listed() == set()
    assert site.records.all() == [] and site.records.broken() == [path]


# --- the hub ---


@pytest.mark.parametrize("large", [False, True], ids=["regular", "lfs"])
def test_a_push_is_one_commit_that_holds_the_folder(site: Site, hub: StubHub, large: bool) -> None:
    hub.large = lambda name: large and name.endswith(".safetensors")
    content = site.content("a")
    done = site.publish(content, repository=REPOSITORY)
    repo = hub.repos[REPOSITORY]
    assert done.status == "new" and done.places[1].commit == repo.commits[-1].oid
    assert done.places[1].place == Place(kind="hub", name=f"{hub.host}/{REPOSITORY}")
    assert repo.files == {".gitattributes": b"", **files(site.directory / content.digest)}
    assert repo.titles[1:] == [f"Publish checkpoint {content.digest}: tiny-s@01234567, tiny-faq"]
    assert bool(hub.objects) == large
    # The token that reads is nobody's business here.
    assert {given for _, _, given in hub.asked if given} == {f"Bearer {TOKEN}"}


def test_without_a_token_there_is_no_push(site: Site, hub: StubHub) -> None:
    done = site.publish(site.content("a"), repository=REPOSITORY, token=None)
    assert done.status == "new" and len(done.places) == 1 and not hub.asked
    assert done.notes == (f"not pushed to {REPOSITORY}: FAQ_HUB_WRITE_TOKEN is not set",)
    later = site.publish(site.content("a"), repository=REPOSITORY)
    assert [one.status for one in later.places] == ["already", "new"]
    known = site.publish(site.content("a"), repository=REPOSITORY, token=None)
    assert [one.status for one in known.places] == ["already", "already"] and known.notes == ()


def test_a_folder_that_changed_after_publication_is_not_pushed(site: Site, hub: StubHub) -> None:
    content = site.content("a")
    site.publish(content, repository=REPOSITORY, token=None)
    changed = site.directory / content.digest / "model.safetensors"
    whole = changed.read_bytes()
    changed.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FaqError, match="bytes differ from the manifest: the published copy") as error:
        site.publish(content, repository=REPOSITORY)
    assert error.value.file == changed and "\n" not in str(error.value)
    assert REPOSITORY not in hub.repos
    changed.unlink()
    with pytest.raises(FaqError, match="the published copy has changed"):
        site.publish(content, repository=REPOSITORY)
    changed.parent.rename(site.root / "trash")  # what the hint says
    done = site.publish(content, repository=REPOSITORY, again=True)
    assert [one.status for one in done.places] == ["new", "new"]
    assert hub.repos[REPOSITORY].files["model.safetensors"] == whole


def test_a_push_is_not_made_twice_and_asks_nothing_the_second_time(site: Site, hub: StubHub) -> None:
    content = site.content("a")
    first = site.publish(content, repository=REPOSITORY)
    asked = len(hub.asked)
    second = site.publish(content, repository=REPOSITORY)
    assert second.status == "already" and second.places[1].commit == first.places[1].commit
    assert len(hub.asked) == asked


def test_another_installation_finds_what_is_pushed(site: Site, hub: StubHub, tmp_path: Path) -> None:
    old, new, other = site.content("a"), site.content("b"), Site(tmp_path / "other")
    site.publish(old, repository=REPOSITORY)
    site.publish(new, repository=REPOSITORY)
    found = other.publish(old, repository=REPOSITORY)  # and does not put the older one back
    assert [one.status for one in found.places] == ["new", "already"]
    assert len(hub.repos[REPOSITORY].commits) == 3
    other.publish(old, repository=REPOSITORY, again=True)
    assert hub.repos[REPOSITORY].files["model.safetensors"] == judged(old.checkpoint)["model.safetensors"]


def test_an_adapter_is_delivered_in_its_folder_and_gone_with_the_next_checkpoint(
    site: Site, hub: StubHub
) -> None:
    adapter = "adapter/adapter_model.safetensors"
    content = site.content("a", extra=adapter)
    site.publish(content, repository=REPOSITORY)
    expected = content.checkpoint.file(f"checkpoint/{adapter}").read_bytes()
    assert (site.directory / content.digest / adapter).read_bytes() == expected
    assert hub.repos[REPOSITORY].files[adapter] == expected
    site.publish(site.content("b"), repository=REPOSITORY)
    assert set(hub.repos[REPOSITORY].files) == {
        *CHECKPOINT,
        "README.md",
        "publication.json",
        ".gitattributes",
    }


def test_a_withdrawal_is_a_commit_that_says_why(site: Site, hub: StubHub) -> None:
    content = site.content("a")
    site.publish(content, repository=REPOSITORY)
    done = withdraw(site.records, content.digest, "loses too much")
    repo = hub.repos[REPOSITORY]
    assert len(done.removed) == 2 and set(repo.files) == {".gitattributes", "README.md"}
    assert "loses too much" in repo.files["README.md"].decode()
    assert repo.titles[-1].startswith(f"Withdraw checkpoint {content.digest}")
    assert "loses too much" in repo.commits[-1].description
    assert set(repo.commits[-2].files) > CHECKPOINT  # who pinned the commit still has it
    assert site.records.read(content.digest, "").events[-1].commit == repo.commits[-1].oid
    assert site.publish(content, repository=REPOSITORY).status == "withdrawn"
    assert site.publish(content, repository=REPOSITORY, again=True).status == "new"
    assert set(repo.files) > CHECKPOINT


def test_another_installation_heeds_a_withdrawal(site: Site, hub: StubHub, tmp_path: Path) -> None:
    content, other = site.content("a"), Site(tmp_path / "other")
    site.publish(content, repository=REPOSITORY)
    withdraw(site.records, content.digest, "bad")
    with pytest.raises(FaqError, match=f"was withdrawn from {hub.host}/{REPOSITORY} by commit"):
        other.publish(content, repository=REPOSITORY)


def test_a_newer_checkpoint_is_left_alone_by_a_withdrawal(site: Site, hub: StubHub) -> None:
    old, new = site.content("a"), site.content("b")
    site.publish(old, repository=REPOSITORY)
    site.publish(new, repository=REPOSITORY)
    done = withdraw(site.records, old.digest, "bad")
    assert len(hub.repos[REPOSITORY].commits) == 3 and "now holds another checkpoint" in done.notes[0]
    assert site.current == new.digest


def test_a_withdrawal_that_cannot_reach_the_hub_is_completed_later(
    site: Site, hub: StubHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = site.content("a")
    site.publish(content, repository=REPOSITORY)
    monkeypatch.delenv("FAQ_HUB_WRITE_TOKEN")
    with pytest.raises(FaqError, match="set FAQ_HUB_WRITE_TOKEN"):
        withdraw(site.records, content.digest, "bad")
    assert site.listed() == set() and set(hub.repos[REPOSITORY].files) > CHECKPOINT
    assert site.publish(content).status == "withdrawn"
    monkeypatch.setenv("FAQ_HUB_WRITE_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", "http://elsewhere")
    with pytest.raises(FaqError, match="set HF_ENDPOINT to that hub"):
        withdraw(site.records, content.digest, "bad")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    done = withdraw(site.records, content.digest, "again")
    assert [place.kind for place in done.removed] == ["hub"]
    assert "bad" in hub.repos[REPOSITORY].files["README.md"].decode()
    assert withdraw(site.records, content.digest, "again").removed == ()


@pytest.mark.parametrize("status", [401, 403, 409, 500])
def test_a_hub_that_refuses_is_told_in_a_line_without_the_token(
    site: Site, hub: StubHub, status: int
) -> None:
    content = site.content("a")
    hub.fault = lambda method, path: status if path.endswith("/commit/main") else None
    with pytest.raises(FaqError) as error:
        site.publish(content, repository=REPOSITORY)
    told = str(error.value)
    assert "\n" not in told and TOKEN not in told and f"{hub.host}/{REPOSITORY} cannot be written to" in told
    assert str(status) in told and error.value.__cause__ is None
    hub.fault = lambda method, path: None
    done = site.publish(content, repository=REPOSITORY)  # the directory is not done twice
    assert [one.status for one in done.places] == ["already", "new"]


def test_a_repository_that_changes_meanwhile_is_not_overwritten(site: Site, hub: StubHub) -> None:
    site.publish(site.content("a"), repository=REPOSITORY)
    repo = hub.repos[REPOSITORY]

    def somebody_commits(method: str, path: str) -> None:
        if "/preupload/" in path:
            repo.add("by hand", "", dict(repo.files))

    hub.fault = somebody_commits
    with pytest.raises(FaqError, match="412"):
        site.publish(site.content("b"), repository=REPOSITORY)
    assert repo.titles[-1] == "by hand"


def test_the_token_is_in_no_representation() -> None:
    assert TOKEN not in repr(HubRepository(REPOSITORY, TOKEN))
