"""The inputs of an artifact that is about to be made: nothing is made from damaged bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.key import Key
from faq_pipeline.store.verification import problems, remembered_hash
from faq_pipeline.util.files import stat_or_none, subfolders


def verify_inputs(root: Path, key: Key) -> bool:
    """Compare the bytes of all inputs in the store at `root` with their manifests, but for `key.unread`.

    Returns:
        Whether all of them were found there.

    Raises:
        FaqError: one is damaged, or was made again with other bytes since the key was made.
        ReadError: one cannot be read now.
    """
    with reading_file(root):
        stages = subfolders(root)
        found = {name: _input(root / name, stages, made) for name, made in key.upstream.items()}
    for name, artifact in found.items():
        if artifact is not None:
            _verify(name, artifact, key)
    return None not in found.values()


def _verify(name: str, artifact: Artifact, key: Key) -> None:
    for damage in problems(artifact, remembered_hash, key.unread):
        raise FaqError(
            f"{name} is damaged, and {key.stage} cannot be made from it: {damage.what}",
            hint="faq cache gc --broken, and run again",
            file=damage.path,
        )
    if artifact.digest != key.inputs.get(name, artifact.digest):
        raise FaqError(
            f"{name} was made again with other bytes since {key.stage} was planned",
            hint="run again",
            file=artifact.path,
        )


def _input(stage: Path, stages: Sequence[Path], fingerprint: str) -> Artifact | None:
    """An input of the stage that it is named for; of any where several of one stage have other names."""
    for folder in (stage, *stages):
        if stat_or_none(folder / fingerprint) is not None:
            return Artifact(folder / fingerprint)
    return None
