"""Pointing this process's `huggingface_hub` at a stub hub. It reads its environment once, at import."""

from __future__ import annotations

import pytest


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """As `HF_ENDPOINT=url`, online; a process of its own is given that variable instead."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)


def use_hub_datasets(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """As `use_hub`, for `datasets` too, which takes seconds to import."""
    import datasets.config
    from huggingface_hub import HfFileSystem

    use_hub(monkeypatch, url)
    resolve = url + "/datasets/{repo_id}/resolve/{revision}/{path}"
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", url)
    monkeypatch.setattr(datasets.config, "HUB_DATASETS_URL", resolve)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    HfFileSystem.clear_instance_cache()  # it remembers what another hub said
