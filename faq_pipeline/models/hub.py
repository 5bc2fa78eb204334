"""Hub members: which are downloaded already, and whether the others can be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from faq_pipeline.config.family import Member
from faq_pipeline.config.recipe import Dataset
from faq_pipeline.errors import FaqError

PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model", "LICENSE*", "NOTICE*"]
LEFT_OUT = ["consolidated*.safetensors"]
"""The same weights once more, as some publishers add them in the form of their own tools."""
PATIENCE = 8.0
"""Seconds that the hub has to answer before a run that needs it is refused."""


def cached(member: Member) -> Path | None:
    """The folder of a hub member's files if they were downloaded here, else None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    assert member.hub is not None
    try:
        return Path(
            snapshot_download(
                member.hub,
                revision=member.revision,
                allow_patterns=PATTERNS,
                ignore_patterns=LEFT_OUT,
                local_files_only=True,
            )
        )
    except LocalEntryNotFoundError:
        return None


def snapshots(owner: str) -> list[Path]:
    """Folders of the owner's models in the hub's cache here, of each the latest."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    mine = [repo for repo in repos if repo.repo_type == "model" and repo.repo_id.startswith(f"{owner}/")]
    latest = [max(repo.revisions, key=lambda one: one.last_modified) for repo in mine if repo.revisions]
    return sorted(revision.snapshot_path for revision in latest)


def download(member: Member) -> Path:
    """The folder of a hub member's files, downloaded if need be.

    Raises:
        FaqError: they cannot be.
    """
    from huggingface_hub import snapshot_download

    assert member.hub is not None
    try:
        return Path(
            snapshot_download(
                member.hub, revision=member.revision, allow_patterns=PATTERNS, ignore_patterns=LEFT_OUT
            )
        )
    # What a hub client raises is no stable set: OSError, ValueError, its own and HTTP errors.
    except Exception as error:
        raise _unreachable(f"member {member.name!r}: {member.hub}", error) from None


def fetch(member: Member, patterns: list[str], folder: Path) -> Path:
    """The files of a hub member that match, in a folder of their own: the hub's cache holds whole members.

    Raises:
        FaqError: they cannot be had.
    """
    from huggingface_hub import snapshot_download

    assert member.hub is not None
    try:
        snapshot_download(member.hub, revision=member.revision, allow_patterns=patterns, local_dir=folder)
    except Exception as error:  # as above
        raise _unreachable(f"member {member.name!r}: {member.hub}", error) from None
    return folder


def check_member(member: Member) -> None:
    """Refuse a hub member that is not here and that the hub does not offer us now; takes seconds.

    Raises:
        FaqError: it is so; says why.
    """
    if member.hub is None or cached(member) is not None:
        return
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(member.hub, revision=member.revision, timeout=PATIENCE)
    except Exception as error:  # as above
        raise _unreachable(f"member {member.name!r}: {member.hub}", error) from None


@contextmanager
def configuration(member: Member) -> Iterator[Path]:
    """A folder with the `config.json` of a hub member, for as long as the context is open.

    It is not that of the hub's cache, where a folder counts as the member's files.

    Raises:
        FaqError: it cannot be downloaded.
    """
    from huggingface_hub import hf_hub_download

    assert member.hub is not None
    with TemporaryDirectory() as folder:
        try:
            hf_hub_download(member.hub, "config.json", revision=member.revision, local_dir=folder)
        except Exception as error:  # as above
            raise _unreachable(f"member {member.name!r}: {member.hub}", error) from None
        yield Path(folder)


def check_dataset(dataset: Dataset) -> None:
    """Refuse seeds from a dataset that the hub does not offer us now; takes seconds.

    Raises:
        FaqError: it is so; says why.
    """
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(dataset.name, revision=dataset.revision, timeout=PATIENCE)
    except Exception as error:  # as above
        raise _unreachable(f"dataset {dataset.name!r}", error, key="seeds.dataset") from None


def _unreachable(what: str, error: Exception, key: str = "") -> FaqError:
    """To be raised `from None`: Dagster logs causes, and a careless server repeats the token it is sent."""
    from huggingface_hub import get_token

    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    if token := get_token():
        reason = reason.replace(token, "***")
    return FaqError(
        f"{what} cannot be had from the hub: {reason}",
        hint="check the network, the licence and HF_TOKEN, or give a local path",
        key=key,
    )
