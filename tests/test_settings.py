"""Where Dagster's configuration comes from, in a home that has seen other versions of the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from faq_pipeline.errors import FaqError
from faq_pipeline.settings import REPOSITORY, Settings

SHIPPED = REPOSITORY / "dagster.yaml"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return Settings(tmp_path / "home", (REPOSITORY / "data",), "cpu")


def test_a_new_home_links_the_shipped_configuration(settings: Settings) -> None:
    config = settings.dagster_home() / "dagster.yaml"
    assert config.readlink() == SHIPPED and settings.dagster_home() == config.parent
    assert (config.parent / "workspace.yaml").readlink() == REPOSITORY / "workspace.yaml"


@pytest.mark.parametrize("gone", [False, True])
def test_a_link_to_another_versions_configuration_is_replaced(
    settings: Settings, tmp_path: Path, gone: bool
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    if not gone:
        (other / "dagster.yaml").write_text("run_launcher: {module: faq_pipeline.run_launcher}\n")
        (other / "workspace.yaml").write_text("load_from: []\n")
    config = settings.dagster_home() / "dagster.yaml"
    config.unlink()
    config.symlink_to(other / "dagster.yaml")
    settings.dagster_home()
    assert config.readlink() == SHIPPED


@pytest.mark.parametrize("linked", [False, True])
def test_a_configuration_of_the_users_own_stays(settings: Settings, tmp_path: Path, linked: bool) -> None:
    config = settings.dagster_home() / "dagster.yaml"
    config.unlink()
    if linked:
        (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        config.symlink_to(tmp_path / "dagster.yaml")
    else:
        config.write_text("telemetry: {enabled: false}\n")
    settings.dagster_home()
    assert config.read_text() == "telemetry: {enabled: false}\n"


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
