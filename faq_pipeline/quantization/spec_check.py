"""Refuses a quantization section that cannot work, before anything is loaded or computed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError, nearest
from faq_pipeline.models import hub
from faq_pipeline.models.architecture import Architecture, architecture_of
from faq_pipeline.models.device import device_gpus
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.compensation.check import check_compensation
from faq_pipeline.quantization.fused_layers import disagreeing
from faq_pipeline.quantization.group_check import check_groups, check_groups_chosen
from faq_pipeline.quantization.kv_cache import check_kv_cache
from faq_pipeline.quantization.layer_check import check_layers
from faq_pipeline.quantization.layers import is_ignored, not_ignored, read_tensors
from faq_pipeline.quantization.learning_check import check_learned_layers, check_learned_settings
from faq_pipeline.quantization.methods import METHODS, find_method
from faq_pipeline.quantization.methods.decoupleq import check_fitted_scales
from faq_pipeline.quantization.rotation import check_rotation
from faq_pipeline.quantization.schemes import ONE_SCALE, SCHEMES, with_exact_names
from faq_pipeline.quantization.size_budget import mean_bits
from faq_pipeline.quantization.stored_shapes import wrong_dense_shapes

HEAD = "lm_head"
"""Not in the files of a model whose head is tied to its embedding."""


def check_spec(spec: Quantization, weights: Weights) -> None:
    """Check that the recipe's quantization section fits the target.

    Builds the target's architecture without its weights: seconds at first, milliseconds once it is
    remembered. For a hub member that is not downloaded yet see `check_remote_layers`.

    Raises:
        FaqError: unknown method or scheme, groups that the scheme does not let a recipe choose, a scheme
            that the method cannot work with, a variant that the method does not have, a target that is
            quantized already, files that contradict its configuration, layers that cannot be quantized and
            that `ignore` does not name, nothing left to quantize, a group size that does not divide the
            columns of a quantized layer, a cache that cannot be rounded, a compensation that does not fit, a
            plan's size that no bits fit in, or what a method that learns roundings cannot do.
    """
    find_method(spec.method)
    _check_variants(spec)
    check_groups_chosen(spec)
    _check_search(spec)
    _check_smoothing(spec)
    check_learned_settings(spec)
    check_fitted_scales(spec)
    if (folder := _folder_here(weights)) is not None:
        _check_layers(spec, weights, folder)


def check_remote_layers(spec: Quantization, weights: Weights) -> None:
    """Check the layers of a hub member that is not here, by its configuration, which is downloaded.

    One whose configuration names no architecture of transformers, or that brings its own code, is
    checked when its checkpoint is built.

    Raises:
        FaqError: as `check_spec`, or the hub does not answer.
    """
    if _folder_here(weights) is not None or weights.member.trust_remote_code:
        return
    with hub.configuration(weights.member) as folder:
        here = weights.member.model_copy(update={"path": folder, "hub": None, "revision": None})
        found = replace(weights, member=here)
        if "model_type" in found.config:
            _check_layers(spec, found, folder)


def _check_layers(spec: Quantization, weights: Weights, folder: Path) -> None:
    _check_dense(weights, folder)
    check_rotation(spec, weights)
    architecture = architecture_of(weights)
    _check_files(weights, folder, architecture)
    _check_ignore(spec, weights, architecture)
    layers = not_ignored(architecture, spec.ignore)
    check_layers(spec, architecture, layers)
    check_kv_cache(spec, weights.name, [layer.module for layer in architecture.layers])
    _check_layer_bits(spec, [layer.module for layer in layers])
    check_compensation(spec, layers)
    check_learned_layers(spec, architecture, layers)
    check_groups(spec, {layer.module: layer.columns for layer in layers})
    if spec.plan is not None:
        mean_bits(spec, spec.plan, weights)


def _check_search(spec: Quantization) -> None:
    """AWQ's scales that are made of weights too need a scale for each row or group."""
    searches = "duo_scaling" in find_method(spec.method).variants and spec.duo_scaling is not False
    if searches and spec.scheme in ONE_SCALE:
        raise FaqError(
            f"this search needs a scale for each row or group, and {spec.scheme!r} has one for each weight",
            hint="duo_scaling: false",
            key="quantization.duo_scaling",
        )


def _check_smoothing(spec: Quantization) -> None:
    """The form `log` has no strength."""
    fields = Quantization.model_fields
    if spec.smoothing_form == "log" and spec.smoothing != fields["smoothing"].default:
        raise FaqError(
            "smoothing has no effect with smoothing_form: log", hint="remove it", key="quantization.smoothing"
        )


def _check_layer_bits(spec: Quantization, modules: Collection[str]) -> None:
    """Each entry is the first that matches some layer, and layers that inference engines fuse have the same
    bits."""
    if spec.layer_bits is None:
        return
    left = set(modules)
    for target in spec.layer_bits:
        matched = {module for module in modules if is_ignored(module, [target])}
        if not matched:
            raise FaqError(
                f"{target!r} matches no layer that is quantized",
                hint="exact names, or re: and a pattern",
                key="quantization.layer_bits",
            )
        if not matched & left:
            raise FaqError(
                f"{target!r} has no effect: entries above it match all of its layers, and the first counts",
                hint="move it above them, or remove it",
                key="quantization.layer_bits",
            )
        left -= matched
    own = SCHEMES.find(spec.scheme).weight_bits
    exact = with_exact_names(spec, modules).layer_bits or {}
    if parts := disagreeing({module: exact.get(module, own) for module in modules}):
        raise FaqError(
            f"{' and '.join(parts)} have different bits, and inference engines fuse them into one layer",
            hint="give them the same",
            key="quantization.layer_bits",
        )


def check_ranks(spec: Quantization, device: str) -> None:
    """Refuse more ranks than the device has GPUs. On a CPU there are as many as the recipe wants.

    Raises:
        FaqError: see above.
    """
    gpus = device_gpus(device)
    if gpus and spec.ranks is not None and len(gpus) < spec.ranks:
        raise FaqError(
            f"quantization.ranks is {spec.ranks}, and {device} has {len(gpus)} GPU{'s' * (len(gpus) > 1)}",
            hint="lower it, or let the run use more GPUs",
            key="quantization.ranks",
        )


def _check_variants(spec: Quantization) -> None:
    """Refuse what would be without effect, where a recipe asks for it in so many words."""
    built_in = METHODS.built_in.values()
    for name in sorted({name for method in built_in for name in method.variants}):
        default = Quantization.model_fields[name].default
        if getattr(spec, name) == default or name in find_method(spec.method).variants:
            continue
        able = [method.name for method in built_in if name in method.variants]
        raise FaqError(
            f"method {spec.method!r} has no {name}",
            hint=f"remove it, or use {' or '.join(able)}",
            key=f"quantization.{name}",
        )


def _check_dense(weights: Weights, folder: Path) -> None:
    """Refuse a target whose weights are quantized already, as those of gpt-oss and DeepSeek-V3 are."""
    text = weights.config.get("text_config")
    own = weights.config.get("quantization_config") or (text or {}).get("quantization_config")
    if own is None and "quantization_config" not in weights.config:
        return
    kind = own.get("quant_method") if isinstance(own, dict) else None
    raise FaqError(
        f"{weights.name!r} is quantized already{f' ({kind})' if kind else ''}",
        hint="take the original, or save it dense first: transformers loads some kinds with dequantize=True",
        file=folder / "config.json",
    )


def _check_files(weights: Weights, folder: Path, architecture: Architecture) -> None:
    """Refuse files whose tensors have other shapes than the configuration gives them; reads headers alone."""
    if wrong := wrong_dense_shapes(architecture, read_tensors(folder)):
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise FaqError(
            f"the files of {weights.name!r} and its config.json contradict each other: {wrong[0]}{more}",
            hint="fetch the model again, or correct its config.json",
            file=folder / "config.json",
        )


def _check_ignore(spec: Quantization, weights: Weights, architecture: Architecture) -> None:
    """Refuse an entry of `ignore` that matches no module: the layers that it means would be quantized."""
    layers, stored = architecture.layers, architecture.tensors
    modules = sorted(
        {HEAD, *(layer.module for layer in layers), *architecture.transposed}
        | {name.rpartition(".")[0] for name in stored}
    )
    for entry in spec.ignore:
        if any(is_ignored(module, [entry]) for module in modules):
            continue
        near = nearest(entry.removeprefix("re:"), modules)
        raise FaqError(
            f"quantization.ignore: {entry!r} matches no layer of {weights.name!r}",
            hint=f"a full name{f' ({near})' if near else ''}, or 're:' and a regular expression",
            key="quantization.ignore",
        )


def _folder_here(weights: Weights) -> Path | None:
    """The target's folder if it is on this machine; nothing is downloaded."""
    return weights.member.path or hub.cached(weights.member)
