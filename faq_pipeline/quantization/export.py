"""A checkpoint out of the store, into a folder of the user's."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.serving_format import is_weight_only
from faq_pipeline.quantization.stage import CHECKPOINT
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.copying import copy_files, new_folder


def export(artifact: Artifact, target_dir: Path) -> Path:
    """Copy an artifact's checkpoint to `target_dir`, which appears complete or not at all.

    Its bytes are compared with the manifest; modes follow the umask.

    Returns:
        The folder, for transformers and vLLM to load.

    Raises:
        FaqError: the artifact holds no checkpoint, is damaged or cannot be read, or the target is a file
            or a folder with files.
    """
    _check_holds_checkpoint(artifact)
    with new_folder(target_dir) as staging:
        copy_files(artifact, CHECKPOINT, staging)
    return target_dir.absolute()


def export_dense(artifact: Artifact, target_dir: Path, device: str) -> Path:
    """As `export`, with the weights expanded to bf16: an unquantized model of the same logits.

    It is for servers that have no kernel for the packed weights, and as large as the original.

    Raises:
        FaqError: as `export`; or the scheme rounds activations or the cache, which a dense model does not.
    """
    from faq_pipeline.config.family import Member
    from faq_pipeline.models.weights import count_parameters
    from faq_pipeline.quantization.dense import write_dense

    _check_holds_checkpoint(artifact)
    spec = spec_of(artifact)
    if not is_weight_only(spec):
        what = "the cache" if spec.kv_cache is not None else "activations"
        raise FaqError(
            f"{spec.scheme} rounds {what} too, so dense weights would be another model",
            hint="take --to checkpoint",
        )
    with new_folder(target_dir) as staging, TemporaryDirectory(dir=staging.parent) as packed:
        copy_files(artifact, CHECKPOINT, Path(packed))
        member = Member(name="checkpoint", path=Path(packed), parameters=count_parameters(Path(packed)))
        write_dense(Path(packed), member, staging, device)
    return target_dir.absolute()


def spec_of(artifact: Artifact) -> Quantization:
    """The recipe's section that a checkpoint was made by, as far as its identity tells."""
    said: dict[str, Any] = artifact.manifest.identity["quantization"]
    return Quantization.model_validate({key: said[key] for key in said.keys() & Quantization.model_fields})


def _check_holds_checkpoint(artifact: Artifact) -> None:
    if not artifact.file(CHECKPOINT).is_dir():
        raise FaqError(
            f"{artifact.fingerprint} is of stage {artifact.manifest.stage} and holds no checkpoint",
            hint="give the fingerprint of a quantized_checkpoint",
        )
