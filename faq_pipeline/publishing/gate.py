"""The gate: the criteria that a checkpoint must meet to be published."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from faq_pipeline.calibration.checks import check_contamination
from faq_pipeline.quantization.checks import check_fallback, check_soundness
from faq_pipeline.quantization.methods import find_method
from faq_pipeline.reporting.finished import FinishedCell

SOUND = "loads, is complete and smaller than the original, holds no NaN, and is quantized as the recipe says"


@dataclass(frozen=True)
class Criterion:
    """One requirement on a checkpoint, with the result of its check.

    Attributes:
        found, needed: the actual state, and the required one.
        hint: how to fix it; empty if it passed or nothing can be done.
    """

    name: str
    passed: bool
    found: str
    needed: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint and not self.passed else ""
        return f"{self.name}: {self.found}; needed: {self.needed}{hint}"


CHECKS = ("contamination", "soundness")
"""Criteria that say something of a checkpoint which nobody means to publish, too."""


@dataclass(frozen=True)
class GateVerdict:
    """The results of all criteria. A checkpoint may be published if every criterion passed."""

    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        return all(criterion.passed for criterion in self.criteria)

    @property
    def reason(self) -> str:
        """Why it did not pass, in one line; empty if it did."""
        return ". ".join(str(criterion) for criterion in self.criteria if not criterion.passed)

    def as_dict(self) -> dict[str, Any]:
        """As JSON-serializable data."""
        return {"passed": self.passed, "criteria": [asdict(criterion) for criterion in self.criteria]}


def judge_publication(finished: FinishedCell) -> GateVerdict:
    """The verdict on a finished cell. It depends only on the artifacts, the recipe and the family."""
    return GateVerdict(tuple(judge(finished) for judge in CRITERIA))


def _recovery(finished: FinishedCell) -> Criterion:
    """The lower bound of recovery against the recipe's gate, without rounding."""
    recipe, figure = finished.cell.recipe, finished.report.metadata["recovery"]
    if recipe.evaluation.gate is None:
        return Criterion(
            "recovery",
            False,
            f"recipe {recipe.name!r} has no gate",
            "a gate that recovery's lower bound reaches",
            "add to the recipe  evaluation: {gate: {recovery: 0.98}}",
        )
    gate = recipe.evaluation.gate.recovery
    needed = f"a lower bound of {gate:g} or more"
    if figure is None:
        return Criterion("recovery", False, "not computed: the reference answers no question", needed)
    passed = bool(figure["low"] >= gate)
    found = f"{figure['value']:.4f}, lower bound {apart(figure['low'], gate)}"
    return Criterion("recovery", passed, found, needed)


def apart(bound: float, gate: float) -> str:
    """Format the bound with at least four digits, and enough that rounding does not cross the gate."""
    texts = (f"{bound:.{digits}f}" for digits in range(4, 17))
    return next((t for t in texts if (float(t) >= gate) == (bound >= gate)), repr(bound))


def _contamination(finished: FinishedCell) -> Criterion:
    needed = "no evaluation document in a calibration sample"
    if finished.calibration is None:
        return Criterion("contamination", True, "there is no calibration set", needed)
    found = check_contamination(finished.cell, finished.calibration)
    figures = found.metadata
    among = f"among {figures['samples']} samples and {figures['evaluation_documents']} documents"
    examples = "".join(f", {example}" for example in figures.get("examples", [])[:2])
    return Criterion(
        "contamination",
        found.passed,
        f"{figures['leaks'] or 'no'} leak{'' if figures['leaks'] == 1 else 's'} {among}{examples}",
        needed,
        "remove these seeds",
    )


def _licence(finished: FinishedCell) -> Criterion:
    family = finished.cell.family
    if family.publish is None:
        return Criterion(
            "licence",
            False,
            f"family {family.name!r} has no section publish",
            "licences that may be published",
            "add to the family  publish: {licences: [...]}",
        )
    named = {_plain(licence) for licence in family.publish.licences}
    licences = finished.licences()
    missing = {
        role: {name: count for name, count in found.items() if _plain(name) not in named}
        for role, found in licences.items()
    }
    passed = not any(missing.values())
    shown = licences if passed else missing
    return Criterion(
        "licence",
        passed,
        "; ".join(f"{role} {_listed(found)}" for role, found in shown.items() if found),
        f"each one of {', '.join(family.publish.licences)}",
        "state the licence where it is unknown, or name it in the family's publish.licences",
    )


def _plain(licence: str) -> str:
    return licence.strip().lower()


def _listed(licences: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in licences.items())


def _soundness(finished: FinishedCell) -> Criterion:
    problems = list(_problems(finished))
    fallback = check_fallback(finished.cell, finished.checkpoint)
    return Criterion(
        "soundness",
        not problems,
        "; ".join(problems) or _sound(finished),
        f"a checkpoint that {SOUND}",
        "" if fallback.passed else "raise quantization.dampening or calibration.tokens, and quantize again",
    )


def _sound(finished: FinishedCell) -> str:
    """What was checked of a sound checkpoint. Only GPTQ can fall back to round-to-nearest."""
    falls_back = "dampening" in find_method(finished.cell.recipe.quantization.method).options
    return f"it {SOUND}{', without a fallback to round-to-nearest' if falls_back else ''}"


def _problems(finished: FinishedCell) -> Iterable[str]:
    cell, checkpoint = finished.cell, finished.checkpoint
    sound, fallback = check_soundness(cell, checkpoint), check_fallback(cell, checkpoint)
    found = sound.metadata
    if not found["loads"]:
        yield f"it does not load: {found['load_error']}"
    for name, what in (
        ("nan_tensors", "hold NaN"),
        ("missing_tensors", "are missing"),
        ("wrong_shapes", "have a wrong shape"),
        ("not_quantized", "are not quantized"),
    ):
        if found[name]:
            yield f"{len(found[name])} tensors {what} ({found[name][0]})"
    if found["bytes"] >= found["original_bytes"]:
        yield "it is no smaller than the original"
    if not fallback.passed:
        modules = fallback.metadata["modules"]
        yield f"{len(modules)} modules fell back to round-to-nearest ({modules[0]})"


CRITERIA: tuple[Callable[[FinishedCell], Criterion], ...] = (_recovery, _contamination, _licence, _soundness)
