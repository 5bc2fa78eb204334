"""Hub ids against a hub on 127.0.0.1: what the hub says is written down, consent is for that model alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.prepare import prepare
from faq_pipeline.quickstart.quantize_options import QuantizeOptions
from faq_pipeline.settings import REPOSITORY, Settings
from tests.hub import HubFolder, HubServer
from tests.hub.client import use_hub


@pytest.fixture
def hub(tmp_path: Path, llamas: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubFolder]:
    """A hub with acme/acme-1M and acme/acme-2M, and an empty cache of it here."""
    folder = HubFolder(tmp_path / "hub")
    for name in ("acme-1M", "acme-2M"):
        folder.add(f"acme/{name}", llamas / name, licence="mit")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with HubServer(folder) as server:
        use_hub(monkeypatch, server.url)
        yield folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home", (REPOSITORY / "data",), "cpu")


def family(settings: Settings) -> dict[str, object]:
    content = YAML(typ="safe").load(settings.own_data / "families/acme-1m.yaml")
    assert isinstance(content, dict)
    return content


def test_a_hub_id_becomes_a_member_at_its_commit_and_no_weights_are_fetched(
    hub: HubFolder, settings: Settings, chats: Path
) -> None:
    prepared = prepare(settings, QuantizeOptions("acme/acme-1M", seeds=str(chats)))
    repo = hub.read("acme/acme-1M")
    written = family(settings)
    assert written["repositories"] == ["acme/acme-1M"] and "owners" not in written
    assert written["members"] == [
        {
            "name": "acme-1m",
            "hub": "acme/acme-1M",
            "revision": repo.main,
            "parameters": repo.commits[repo.main].parameters,
            "licence": "mit",
        }
    ]
    assert not list(settings.home.rglob("*.safetensors"))
    notes = " ".join(prepared.notes)
    assert "GB to download" in notes and "--teacher acme/acme-2M" in notes and "was not shown" in notes
    known, member = settings.reread().catalog.member("acme-1m")
    assert (known.name, member.revision) == ("acme-1m", repo.main)
    # Again it is the member that it is, at the commit that was written down.
    hub.push("acme/acme-1M", licence="mit", parameters=repo.commits[repo.main].parameters)
    prepare(settings.reread(), QuantizeOptions("acme/acme-1M", seeds=str(chats)))
    assert family(settings) == written


def test_a_repository_that_is_hardly_larger_is_not_offered(
    hub: HubFolder, settings: Settings, chats: Path
) -> None:
    repo = hub.read("acme/acme-1M")
    parameters = repo.commits[repo.main].parameters
    assert parameters is not None
    hub.push("acme/acme-2M", licence="mit", parameters=parameters + 64)
    notes = prepare(settings, QuantizeOptions("acme/acme-1M", seeds=str(chats))).notes
    assert not any("--teacher" in note for note in notes)


def test_the_teacher_of_the_hub_is_named_or_found(hub: HubFolder, settings: Settings, chats: Path) -> None:
    prepare(settings, QuantizeOptions("acme/acme-1M", seeds=str(chats), teacher="auto"))
    assert family(settings)["repositories"] == ["acme/acme-1M", "acme/acme-2M"]
    recipe = (settings.own_data / "recipes/acme-1m-w4a16.yaml").read_text()
    assert "teacher: acme-2m" in recipe


def test_consent_is_for_the_named_model_alone(hub: HubFolder, settings: Settings, chats: Path) -> None:
    prepare(settings, QuantizeOptions("acme/acme-1M", seeds=str(chats)))
    path = settings.own_data / "families/acme-1m.yaml"
    path.write_text(path.read_text().replace("hub: acme/acme-1M", "hub: acme/acme-2M"))
    with pytest.raises(FaqError, match="owner of 'acme/acme-2M' is not in this family's 'owners'"):
        settings.reread().catalog.member("acme-1m")


def test_a_model_of_a_known_family_keeps_its_settings(
    hub: HubFolder, settings: Settings, llamas: Path, chats: Path
) -> None:
    _, member = settings.catalog.member("qwen3-1.7b")
    hub.add("Qwen/Qwen3-1.7B", llamas / "acme-1M", commit=str(member.revision))
    prepared = prepare(settings, QuantizeOptions("Qwen/Qwen3-1.7B", seeds=str(chats), teacher="self"))
    assert (prepared.member, prepared.recipe) == ("qwen3-1.7b", "qwen3-1.7b-w4a16")
    assert not (settings.own_data / "families").exists()
    assert settings.reread().catalog.recipe(prepared.recipe).families == ["qwen3"]


@pytest.mark.parametrize(
    ("mode", "name", "told"),
    [
        ("", "acme/none", "no repository 'acme/none' (no folder acme/none exists; check the name"),
        ("500", "acme/acme-1M", "answers 500"),
    ],
)
def test_what_the_hub_does_not_offer_is_one_line(
    hub: HubFolder, settings: Settings, mode: str, name: str, told: str
) -> None:
    hub.fail(mode)
    with pytest.raises(FaqError) as caught:
        prepare(settings, QuantizeOptions(name))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_gated_repository_is_refused_before_anything_is_fetched(
    hub: HubFolder, settings: Settings, llamas: Path
) -> None:
    hub.add("acme/gated-1M", llamas / "acme-1M", gated="manual")
    with pytest.raises(FaqError, match="gated, and HF_TOKEN does not open it"):
        prepare(settings, QuantizeOptions("acme/gated-1M"))
