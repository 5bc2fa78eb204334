"""The inputs of an artifact that is about to be made: nothing is made from damaged bytes."""

from __future__ import annotations

from pathlib import Path

from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.key import Key
from faq_pipeline.store.verification import problems, remembered_hash
from faq_pipeline.util.files import stat_or_none, subfolders


def verify_inputs(root: Path, key: Key) -> bool:
    """Compare the bytes of all inputs in the store at `root` with their manifests.

    Returns:
        Whether all of them were found there.

    Raises:
        FaqError: one is damaged, or was made again with other bytes since the key was made.
        ReadError: one cannot be read now.
    """
    found = {name: _input(root, name, fingerprint) for name, fingerprint in key.upstream.items()}
    for name, artifact in found.items():
        if artifact is not None:
            _verify(name, artifact, key)
    return None not in found.values()


def _verify(name: str, artifact: Artifact, key: Key) -> None:
    for damage in problems(artifact, remembered_hash):
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


def _input(root: Path, name: str, fingerprint: str) -> Artifact | None:
    """An input by its name: its stage's, or another name where several are of one stage."""
    with reading_file(root):
        for stage in [root / name, *subfolders(root)]:
            if stat_or_none(stage / fingerprint) is not None:
                return Artifact(stage / fingerprint)
    return None
