"""The stub hub, asked by the real client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import load_file, save_file

from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.hub import cached
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.quantization.spec_check import check_remote_layers
from faq_pipeline.settings import REPOSITORY
from tests.hub import HubFolder, HubServer
from tests.hub.client import use_hub


@pytest.fixture
def folder(tmp_path: Path) -> HubFolder:
    return HubFolder(tmp_path / "hub")


@pytest.fixture
def hub(folder: HubFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(folder) as server:
        use_hub(monkeypatch, server.url)
        yield server


def test_a_model_is_listed_inspected_and_downloaded(hub: HubServer, tiny_data: Path, tmp_path: Path) -> None:
    model = tiny_data / "models/tiny-s"
    commit = hub.folder.add("acme/tiny-s", model, licence="mit")
    api = HfApi()
    (listed,) = api.list_models(author="acme", expand=["sha", "tags", "safetensors", "gated"])
    assert (listed.id, listed.sha, listed.gated) == ("acme/tiny-s", commit, False)
    assert "license:mit" in (listed.tags or [])
    info = api.model_info("acme/tiny-s")
    assert info.safetensors == listed.safetensors and info.safetensors is not None
    assert "model.safetensors" in {one.rfilename for one in info.siblings or []}
    path = Path(snapshot_download("acme/tiny-s", revision=commit, cache_dir=tmp_path / "cache"))
    assert {p.name: p.read_bytes() for p in path.iterdir()} == {
        p.name: p.read_bytes() for p in model.iterdir()
    }


def test_our_member_is_downloaded_from_it(
    hub: HubServer, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    commit = hub.folder.add("acme/tiny-s", tiny_data / "models/tiny-s")
    weights = find_weights(Member(name="t", hub="acme/tiny-s", revision=commit, parameters=1), tmp_path)
    assert isinstance(weights, Weights) and weights.context == 512


def test_layers_of_a_member_that_is_not_here_are_checked_by_its_configuration(
    hub: HubServer, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else of it is downloaded, and afterwards it still counts as not being here."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    commit = hub.folder.add("acme/tiny-s", tiny_data / "models/tiny-s")
    member = Member(name="t", hub="acme/tiny-s", revision=commit, parameters=1)
    weights = find_weights(member, tmp_path / "digests")
    check_remote_layers(Quantization(method="rtn", scheme="W4A16", group_size=64), weights)
    with pytest.raises(FaqError, match="group_size 48 does not divide the 128 columns"):
        check_remote_layers(Quantization(method="rtn", scheme="W4A16", group_size=48), weights)
    asked = [request for request in hub.requests if "/resolve/" in str(request)]
    assert asked and all("config.json" in str(request) for request in asked)
    assert cached(member) is None


def test_weights_that_a_repository_holds_twice_are_downloaded_once_and_looked_at(
    hub: HubServer, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those in two forms, the one that transformers loads; a NaN in them is refused."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    model = Path(shutil.copytree(tiny_data / "models/tiny-s", tmp_path / "model"))
    shutil.copy(model / "model.safetensors", model / "consolidated.safetensors")
    first = hub.folder.add("acme/tiny-s", model)
    member = Member(name="t", hub="acme/tiny-s", revision=first, parameters=1)
    held = {path.name for path in find_weights(member, tmp_path).folder.iterdir()}
    assert "model.safetensors" in held and "consolidated.safetensors" not in held
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    spoilt = hub.folder.add("acme/spoilt", model)
    member = Member(name="t", hub="acme/spoilt", revision=spoilt, parameters=1)
    with pytest.raises(FaqError, match="NaN or an infinity"):
        assert find_weights(member, tmp_path).folder


def test_commits_and_rollbacks(hub: HubServer) -> None:
    first = hub.folder.add("acme/a", parameters=10)
    second = hub.folder.push("acme/a", parameters=20)
    api = HfApi()
    assert api.model_info("acme/a").sha == second
    assert api.model_info("acme/a", revision=first).sha == first
    hub.folder.roll_back("acme/a", first)
    assert api.model_info("acme/a").sha == first
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/a", revision="f" * 40)


def test_long_lists_come_in_pages(hub: HubServer) -> None:
    for number in range(250):
        hub.folder.add(f"acme/m-{number}", parameters=1)
    hub.folder.add("other/m-1", parameters=1)
    found = [info.id for info in HfApi().list_models(author="acme", expand=["sha"])]
    assert len(found) == len(set(found)) == 250 and len(hub.requests) == 3


def test_what_is_not_there_and_what_is_gated(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.folder.add("acme/a", parameters=1)
    hub.folder.withdraw("acme/a")
    hub.folder.add("acme/b", parameters=1, gated="manual", readers=("letmein",))
    api = HfApi()
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/a")
    with pytest.raises(GatedRepoError):
        api.auth_check("acme/b")
    monkeypatch.setenv("HF_TOKEN", "letmein")
    HfApi().auth_check("acme/b")
    hub.folder.restore("acme/a")
    assert {info.id for info in api.list_models(author="acme", expand=["sha"])} == {"acme/a", "acme/b"}


def test_it_runs_as_a_process_and_is_changed_from_outside(folder: HubFolder) -> None:
    serving = subprocess.Popen(
        [sys.executable, "-m", "tests.hub", "--folder", str(folder.path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    try:
        assert serving.stdout is not None
        url = serving.stdout.readline().strip()
        commit = folder.add("acme/a", parameters=1)
        code = "from huggingface_hub import HfApi; print(HfApi().model_info('acme/a').sha)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == commit
    finally:
        serving.kill()
        serving.wait()
