"""A checkpoint out of the store, into a folder of the user's."""

from __future__ import annotations

from pathlib import Path

from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.stage import CHECKPOINT
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.copying import copy_files
from faq_pipeline.util.atomic_files import atomic_folder


def export(artifact: Artifact, target_dir: Path) -> Path:
    """Copy an artifact's checkpoint to `target_dir`, which appears complete or not at all.

    Its bytes are compared with the manifest; modes follow the umask.

    Returns:
        The folder, for transformers and vLLM to load.

    Raises:
        FaqError: the artifact holds no checkpoint, is damaged or cannot be read, or the target is a file
            or a folder with files.
    """
    source = artifact.file(CHECKPOINT)
    if not source.is_dir():
        raise FaqError(
            f"{artifact.fingerprint} is of stage {artifact.manifest.stage} and holds no checkpoint",
            hint="give the fingerprint of a quantized_checkpoint",
        )
    target = target_dir.absolute()
    if target.is_dir() and any(target.iterdir()):
        raise FaqError("this folder is not empty", hint="name a new one", file=target_dir)
    if target.exists() and not target.is_dir():
        raise FaqError("this is a file", hint="name a new folder", file=target_dir)
    try:
        with atomic_folder(target) as staging:
            copy_files(artifact, CHECKPOINT, staging)
    except OSError as error:
        raise FaqError(f"cannot be written: {error.strerror}", file=target_dir) from error
    return target
