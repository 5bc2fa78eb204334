"""Checks of `quantized_checkpoint`."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.check import Check, CheckResult
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.store.artifact import Artifact


def check_soundness(cell: Cell, artifact: Artifact) -> CheckResult:
    """The checkpoint can be used, and is quantized where the recipe says so.

    The figures: those of the stage's inspection, and `not_quantized`, layers that the recipe does not
    leave out.
    """
    found = {"wrong_shapes": [], **artifact.metadata["inspection"]}  # earlier versions compared no shapes
    damaged = found["nan_tensors"] or found["missing_tensors"] or found["wrong_shapes"]
    ignore = cell.recipe.quantization.ignore
    forgotten = [name for name in found["unquantized_linear_layers"] if not is_ignored(name, ignore)]
    figures = ("loads", "load_error", "bytes", "original_bytes")
    names = (*figures, "nan_tensors", "missing_tensors", "wrong_shapes")
    return CheckResult(
        bool(found["loads"] and not damaged and found["bytes"] < found["original_bytes"] and not forgotten),
        {**{name: found[name] for name in names}, "not_quantized": forgotten},
    )


def check_fallback(cell: Cell, artifact: Artifact) -> CheckResult:
    """No module fell back to round-to-nearest; `modules` are those that did."""
    modules = [str(name) for name in artifact.metadata.get("rtn_fallback", [])]
    return CheckResult(not modules, {"modules": modules})


CHECKPOINT_CHECKS = (
    Check(
        "sound_checkpoint",
        "It loads back, is smaller than the original, holds no NaN, its tensors have their shapes, and every"
        " layer is quantized but for those that the recipe leaves out.",
        True,
        check_soundness,
    ),
    Check("no_silent_fallback", "No module fell back to round-to-nearest.", True, check_fallback),
)
