"""Where Dagster's configuration comes from, in a home that has seen other versions of the package."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from faq_pipeline.errors import FaqError
from faq_pipeline.settings import REPOSITORY, Settings

NAMES = ("dagster.yaml", "workspace.yaml", "workspace_studies.yaml")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return Settings(tmp_path / "home", (REPOSITORY / "data",), "cpu")


@pytest.mark.parametrize("name", NAMES)
def test_a_new_home_links_the_shipped_configuration(settings: Settings, name: str) -> None:
    config = settings.dagster_home() / name
    assert config.readlink() == REPOSITORY / name and settings.dagster_home() == config.parent


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gone", [False, True])
def test_a_link_to_another_versions_configuration_is_replaced(
    settings: Settings, tmp_path: Path, gone: bool, name: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    if not gone:
        for file in NAMES:
            (other / file).write_text("of another version\n")
    config = settings.dagster_home() / name
    config.unlink()
    config.symlink_to(other / name)
    settings.dagster_home()
    assert config.readlink() == REPOSITORY / name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("linked", [False, True])
def test_a_configuration_of_the_users_own_stays(
    settings: Settings, tmp_path: Path, linked: bool, name: str
) -> None:
    config = settings.dagster_home() / name
    config.unlink()
    if linked:
        (tmp_path / name).write_text("of my own\n")
        config.symlink_to(tmp_path / name)
    else:
        config.write_text("of my own\n")
    settings.dagster_home()
    assert config.read_text() == "of my own\n"


def test_a_home_for_reading_only_needs_no_workspace_files(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(link: Path, target: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(link))

    monkeypatch.setattr("faq_pipeline.settings.link_atomic", refuse)
    with pytest.raises(OSError, match=r"dagster\.yaml"):
        settings.dagster_home()
    own = settings.home / "dagster/dagster.yaml"
    own.write_text("of my own\n")
    assert settings.dagster_home() == own.parent


def test_settings_read_again_see_what_was_added(settings: Settings, tmp_path: Path) -> None:
    recipes = tmp_path / "mine/recipes"
    recipes.mkdir(parents=True)
    mine = replace(settings, data=(*settings.data, tmp_path / "mine"))
    with pytest.raises(FaqError, match="unknown recipe 'late'"):
        mine.catalog.recipe("late")
    (recipes / "late.yaml").write_text("name: late\n")
    with pytest.raises(FaqError, match="unknown recipe 'late'"):
        mine.catalog.recipe("late")
    assert mine.reread() == mine
    with pytest.raises(FaqError, match="missing key"):
        mine.reread().catalog.recipe("late")
