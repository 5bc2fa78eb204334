"""Refuses a compensation that cannot be stored or loaded, before any work."""

from __future__ import annotations

from collections.abc import Sequence

from faq_pipeline.config.quantization import OUTLIER_COLUMNS, Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.architecture import LinearLayer
from faq_pipeline.quantization.schemes import SCHEMES

WITH_OUTLIER_COLUMNS = ("gptq", "smoothquant", "quantease")
"""Methods that make the error under the Hessian less and keep the observer's scales. Others aim at something
for which columns that are set by this error do not make up."""


def check_compensation(spec: Quantization, layers: Sequence[LinearLayer]) -> None:
    """Check a recipe's compensation, where it has one.

    Args:
        layers: those that the recipe quantizes.

    Raises:
        FaqError: activations are rounded, a layer is a routed expert, the rank exceeds the rows or columns
            of a layer, no layer gets an adapter, or outlier columns are asked of a method or scheme that has
            none.
    """
    if spec.compensation is None:
        return
    if SCHEMES.find(spec.scheme).activation_bits < 16:
        raise FaqError(
            f"{spec.scheme} rounds activations, and an adapter would be given others than the layer",
            hint="remove it, or use a scheme such as W4A16",
            key="quantization.compensation",
        )
    if experts := [layer.module for layer in layers if layer.part == "expert"]:
        raise FaqError(
            f"PEFT has no adapter of this kind for routed experts such as {experts[0]}",
            hint="remove it",
            key="quantization.compensation",
        )
    if all(layer.part == "head" for layer in layers):
        raise FaqError(
            "only the head is quantized, and it gets no adapter",
            hint="remove it, or leave fewer modules out by quantization.ignore",
            key="quantization.compensation",
        )
    outliers = spec.compensation.kind == OUTLIER_COLUMNS
    if outliers:
        _check_outlier_columns(spec)
    rank = spec.compensation.rank
    for layer in layers:
        if layer.part != "head" and rank > min(layer.rows, layer.columns):
            raise FaqError(
                f"rank {rank} exceeds the {min(layer.rows, layer.columns)} rows or columns of {layer.module}",
                hint="lower it; an adapter is small beside its layer",
                key="quantization.compensation.rank",
            )
        if layer.part != "head" and outliers and rank == layer.columns:
            raise FaqError(
                f"no column of {layer.module} would be rounded: it has {rank}",
                hint="lower the rank; an adapter is small beside its layer",
                key="quantization.compensation.rank",
            )


def _check_outlier_columns(spec: Quantization) -> None:
    if spec.method not in WITH_OUTLIER_COLUMNS:
        raise FaqError(
            f"method {spec.method!r} has no outlier columns",
            hint=f"use {', '.join(WITH_OUTLIER_COLUMNS)}, or kind: low_rank",
            key="quantization.compensation.kind",
        )
    if SCHEMES.find(spec.scheme).float_weights:
        raise FaqError(
            f"scales are searched anew without the outlier columns, and {spec.scheme} has scales of its own",
            hint="use a scheme with integer weights, such as W4A16, or kind: low_rank",
            key="quantization.compensation.kind",
        )
