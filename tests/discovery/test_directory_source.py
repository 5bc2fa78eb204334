"""The directory source: complete, safe checkpoints are members; the rest is told with a reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faq_pipeline.config.family import Family
from faq_pipeline.discovery.directory_source import DirectorySource
from faq_pipeline.discovery.listing import Listed, Listing
from faq_pipeline.errors import FaqError
from tests.discovery.acme import Known, acme, kinds


class Site:
    """A directory of model folders."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root, self._model = root / "site", model
        self.root.mkdir()
        self._source = DirectorySource(self.root, root / "digests")
        rule = {"name": "ace-.*", "exclude": ["*-bak"], "directory": str(self.root)}
        member = {"name": "first", "path": str(self.root / "ace-first"), "parameters": 10}
        self.known = Known(acme(owners=[], discovery=rule, members=[member]))

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self._model, self.root / name))

    def look(self) -> Listing:
        return self._source.look(self.known.family, self.known.members)

    def one(self) -> Listed:
        (found,) = self.look().listed
        return found

    @property
    def family(self) -> Family:
        return self.known.family


@pytest.fixture
def site(tiny_data: Path, tmp_path: Path) -> Site:
    return Site(tmp_path, tiny_data / "models/tiny-s")


def test_a_complete_folder_is_a_member_with_its_size(site: Site, tiny_data: Path) -> None:
    site.copy("ace-one")
    found = site.one()
    written = (tiny_data / "families/tiny.yaml").read_text()
    assert f"parameters: {found.parameters}\n" in written
    assert found.licence == "MIT" and not found.problem  # the family's
    assert kinds(site.known.look(site.look())) == [("new member", "ace-one")]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model", "apache-2.0"),
        ("# A model without front matter", "MIT"),
        ("---\nlicense: [a, b]\n---\n", "MIT"),
        ("---\n: [broken\n---\n", "MIT"),
    ],
)
def test_its_licence_is_the_cards_else_the_familys(site: Site, card: str, licence: str) -> None:
    (site.copy("ace-one") / "README.md").write_text(card)
    assert site.one().licence == licence


def test_what_is_being_copied_is_told_and_taken_when_complete(site: Site) -> None:
    folder = site.copy("ace-one")
    tokenizer = folder / "tokenizer_config.json"
    kept = tokenizer.read_bytes()
    tokenizer.unlink()
    shard = folder / "model.safetensors"
    weights = shard.read_bytes()
    shard.write_bytes(weights[:-1])
    assert "corrupt safetensors" in site.one().problem
    shard.write_bytes(weights)
    assert "no tokenizer" in site.one().problem
    assert "no tokenizer" in site.known.look(site.look()).ignored[0].reason
    tokenizer.write_bytes(kept)
    assert kinds(site.known.look(site.look())) == [("new member", "ace-one")]


def test_a_part_without_its_siblings_is_incomplete_even_before_the_index_is_there(site: Site) -> None:
    folder = site.copy("ace-one")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00003.safetensors")
    assert "shard model-00002-of-00003.safetensors is missing" in site.one().problem


def test_other_weights_in_a_known_folder_are_a_new_commit(site: Site) -> None:
    folder = site.copy("ace-first")
    assert kinds(site.known.look(site.look())) == []  # the file's own member, as it is
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    assert kinds(site.known.look(site.look())) == [("new commit", "first")]


def test_a_folder_that_is_being_overwritten_is_not_withdrawn(site: Site) -> None:
    folder = site.copy("ace-one")
    site.known.look(site.look())
    (folder / "config.json").unlink()
    assert site.known.look(site.look()).changes == ()


def test_a_removed_folder_is_withdrawn_and_returns(site: Site) -> None:
    for name in ("ace-one", "ace-two"):
        site.copy(name)
    site.known.look(site.look())
    shutil.rmtree(site.root / "ace-one")
    assert kinds(site.known.look(site.look())) == [("withdrawn", "ace-one")]
    site.copy("ace-one")
    assert kinds(site.known.look(site.look())) == [("returned", "ace-one")]


def test_a_directory_that_is_away_withdraws_nothing(site: Site) -> None:
    site.copy("ace-one")
    site.known.look(site.look())
    shutil.rmtree(site.root)
    with pytest.raises(FaqError, match="cannot be read: No such file"):
        site.look()
    site.root.mkdir()  # a mount point with nothing mounted
    with pytest.raises(FaqError, match="empty, although members in it are known"):
        site.look()


def test_only_folders_of_the_familys_name_count(site: Site) -> None:
    site.copy("ace-one-bak")
    site.copy("other")
    (site.root / "ace-notes").write_text("not a folder")
    found = site.known.look(site.look())
    assert [ignored.reason for ignored in found.ignored] == ["excluded by the discovery rule"]


def test_a_link_to_a_files_member_is_that_member(site: Site, tmp_path: Path) -> None:
    real = Path(shutil.copytree(site.copy("ace-x"), tmp_path / "elsewhere"))
    shutil.rmtree(site.root / "ace-x")
    (site.root / "ace-first").symlink_to(real)
    member = {"name": "first", "path": str(real), "parameters": 10}
    site.known.family = site.family.model_copy(
        update={"members": acme(members=[member], owners=["acme"]).members}
    )
    assert kinds(site.known.look(site.look())) == []
    assert site.known.members[str(site.root / "ace-first")].name == "first"
