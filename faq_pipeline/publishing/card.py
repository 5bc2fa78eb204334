"""The model card of a published checkpoint: README.md with YAML front matter for the hub.

The card is built from an explicit list of facts, so that it cannot contain paths, host names or
secrets of this machine. Each of its sentences depends on the facts that it states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.weights import Weights
from faq_pipeline.publishing.gate import CHECKS, GateVerdict
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.quantization.serving_format import LORA_NAME, has_kernel, needs_adapter, serve_command
from faq_pipeline.reporting.data_account import DataFacts, counts
from faq_pipeline.reporting.finished import FinishedCell
from faq_pipeline.reporting.recipe_text import recipe_text
from faq_pipeline.store.fingerprint import tool_version
from faq_pipeline.util.pages import render

LICENCES = (
    "apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsl-1.0 cc0-1.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0"
    " cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 odc-by odbl pddl gpl-2.0 gpl-3.0 agpl-3.0"
    " lgpl-3.0 mpl-2.0 isc openrail bigscience-openrail-m bigcode-openrail-m llama2 llama3 llama3.1"
    " llama3.2 llama3.3 llama4 gemma unlicense unknown"
)
"""Licence identifiers that the hub knows; any other licence is given as `other`."""
METHODS = {
    "gptq": "GPTQ",
    "awq": "AWQ and rounding to nearest",
    "smoothquant": "SmoothQuant and GPTQ",
    "rtn": "rounding to nearest",
    "gptaq": "GPTAQ",
    "foem": "FOEM",
    "quantease": "QuantEase",
    "decoupleq": "decoupleQ",
    "autoround": "AutoRound",
}
"""Names of methods for readers; others are called as in the recipe."""


MIXED = "mixed precision"
"""What a card calls the scheme where a plan gives bits to each layer."""


@dataclass(frozen=True)
class Reduction:
    """Loss reduction against the recipe's baselines, from the member's comparison.

    Attributes:
        figure: the smallest of its loss reductions.
        against: the baselines.
        originals: whether all baselines are calibrated on seeds as they are.
        verdict: the least favourable verdict.
        remark: what the figure does not cover; empty if nothing.
    """

    figure: Mapping[str, float]
    against: tuple[str, ...]
    originals: bool
    verdict: str
    remark: str


def write_card(
    finished: FinishedCell,
    verdict: GateVerdict,
    reduction: Reduction | None,
    summary: Sequence[str] = (),
) -> str:
    """The text of the card. It depends only on the arguments and the version of this package.

    Args:
        summary: the report's verdict, in sentences.
    """
    cell, report = finished.cell, finished.report
    spec, facts = cell.recipe.quantization, DataFacts.of(finished)
    inspection = finished.checkpoint.metadata["inspection"]
    # Where neither the recipe nor the family speaks of publication, nobody asked for the gate.
    gated = cell.recipe.evaluation.gate is not None or cell.family.publish is not None
    shown = [criterion for criterion in verdict.criteria if gated or criterion.name in CHECKS]
    activations = SCHEMES.find(spec.scheme).activation_bits < 16
    return render(
        "faq_pipeline.publishing",
        "card.md",
        front_matter=_front_matter(finished, facts),
        member=cell.target.name,
        partition=cell.target.partition,
        recipe=cell.recipe.name,
        title=cell.recipe.title,
        scheme=MIXED if spec.plan else spec.scheme,
        precision=_precision(spec, finished.checkpoint.metadata),
        method=METHODS.get(spec.method, spec.method),
        rounded="weights and activations" if activations else "weights",
        summary=summary,
        account=facts.sentences() if facts else [],
        version=tool_version("faq-pipeline"),
        figures=report.metadata,
        questions=_questions(report.metadata["questions"], cell.recipe.evaluation),
        reduction=reduction,
        size=inspection["bytes"],
        original_size=inspection["original_bytes"],
        gated=gated,
        criteria=shown,
        unmet=[criterion.name for criterion in shown if not criterion.passed],
        kernel=has_kernel(spec, "cuda"),
        serve=serve_command(spec, "."),
        rank=spec.compensation and spec.compensation.rank,
        needs_adapter=needs_adapter(spec),
        lora_name=LORA_NAME,
        base=_base(cell.target),
        base_revision=_revision(cell.target),
        teacher=_teacher(cell, facts),
        data=counts(facts) if facts else "none; the quantization uses no calibration set",
        unquantized=", ".join(spec.ignore) or "none",
        licences="; ".join(f"{role} {', '.join(found)}" for role, found in finished.licences().items()),
        tools=_tools(finished),
        repeats=facts is None or facts.repeats,
        stages=[
            {"name": name, "fingerprint": artifact.fingerprint, "digest": artifact.digest}
            for name, artifact in finished.ancestry().items()
        ],
        recipe_yaml=recipe_text(cell.recipe),
    )


def write_notice(digest: str, cell: str, reason: str) -> str:
    """The README.md that replaces the card in a repository after its checkpoint is withdrawn."""
    return render("faq_pipeline.publishing", "withdrawn.md", digest=digest, cell=cell, reason=reason)


def _front_matter(finished: FinishedCell, facts: DataFacts | None) -> str:
    from huggingface_hub import ModelCardData

    cell = finished.cell
    spec, licence = cell.recipe.quantization, next(iter(finished.licences()["base"]))
    name = licence.strip().lower()
    known = name in LICENCES.split()
    data = ModelCardData(
        base_model=_base(cell.target),
        base_model_relation="quantized",
        library_name="transformers",
        pipeline_tag="text-generation",
        quantized_by="faq_pipeline",
        license=name if known else "other",
        tags=[
            *(["family-aware-quantization"] if facts is not None and facts.is_faq else []),
            "compressed-tensors",
            spec.method,
            *([] if spec.plan else [spec.scheme.lower()]),
        ],
        **({} if known else {"license_name": name}),  # type: ignore[arg-type]
    )
    return str(data.to_yaml()).strip()


def _base(weights: Weights) -> str:
    return weights.member.hub or weights.name


def _revision(weights: Weights) -> str:
    return f"{'digest of its files' if weights.member.hub is None else 'commit'} {weights.digest}"


def _teacher(cell: Cell, facts: DataFacts | None) -> str:
    if facts is None or not cell.recipe.regeneration.generates or cell.teacher is None:
        return "none"
    if facts.teacher is None:
        return "the model itself"
    return f"{facts.teacher}, {_revision(cell.teacher)}"


def _precision(spec: Quantization, checkpoint: Mapping[str, Any]) -> str:
    """To how many bits layers were rounded, in words."""
    if spec.plan is None:
        named = sorted(set((spec.layer_bits or {}).values()))
        some = f", and to {_either(named)} bits where the recipe says so" if named else ""
        return f"{spec.scheme}{some}"
    if checkpoint.get("plan_kept") is False:
        return f"{checkpoint['plan_uniform_bits']} bits everywhere, since bits by layer were no better"
    return f"{_either(sorted(spec.plan.bits))} bits, chosen layer by layer"


def _either(bits: Sequence[int]) -> str:
    *most, last = map(str, bits)
    return f"{', '.join(most)} or {last}" if most else last


def _questions(count: int, spec: Evaluation) -> str:
    """Which questions were asked, and how many."""
    each = " of each task" if len(spec.tasks) > 1 else ""
    limited = f"the first {spec.limit}{each}, " if spec.limit else ""
    return f"{count:,} question{'' if count == 1 else 's'} ({limited}{', '.join(spec.tasks)})"


def _tools(finished: FinishedCell) -> str:
    """The versions of the tools that determine the checkpoint's bytes, and the device it was made on."""
    identity = finished.checkpoint.manifest.identity
    tools = [f"{name} {version}" for name, version in identity["tools"].items()]
    return ", ".join([*tools, f"device {identity['device']}"])
