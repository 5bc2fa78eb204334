"""The figures of an evaluation, as JSON-serializable data and as rows of the lineage index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from faq_pipeline.config.recipe import Gate
from faq_pipeline.evaluation.bootstrap import IntervalEstimate
from faq_pipeline.evaluation.paired import PairedResult, accuracy, compare_paired, join
from faq_pipeline.store.records import Answer, EvaluationRow

Figures = dict[str, Any]

MOST_TRUNCATED = 0.05
"""Share of replies that may be cut, or never close their reasoning, without a note."""

SHORT_REPLY = 0.5
"""A reply is short if its length is less than this share of the reference's reply to the same question."""
MOST_SHORT = 0.05
"""Share of replies that may be short without a note."""

_UNASKED: Figures = {
    "questions": 0,
    **dict.fromkeys(("reference", "quantized", "recovery", "loss", "mcnemar_p", "noise_floor", "verdict")),
    "truncated": {"reference": 0, "quantized": 0},
    "gate": None,
    "per_task": {},
}
"""The figures of a report without questions."""


def reference_figures(answers: Sequence[Answer]) -> Figures:
    """Accuracy, overall and per task, and the number of truncated replies. None without answers."""
    return {
        "questions": len(answers),
        "accuracy": accuracy(join(answers)[:, 0]).as_dict() if answers else None,
        "truncated": sum(a.truncated for a in answers),
        "tokens": sum(a.tokens for a in answers),
        "per_task": {
            label: {"accuracy": accuracy(join(group)[:, 0]).as_dict(), "n": len(group)}
            for label, group in by_label(answers).items()
        },
    }


def report_figures(
    reference: Sequence[Answer],
    quantized: Sequence[Answer],
    kl: IntervalEstimate | None,
    kl_prose: IntervalEstimate | None,
    gate: Gate | None,
) -> Figures:
    """All figures of a quantized model against its reference.

    The gate is passed if the unrounded lower bound of recovery reaches it. Where no question was asked,
    all but the divergences is None.

    Raises:
        FaqError: the two answered different questions.
    """
    divergence = {"kl": _optional(kl), "kl_prose": _optional(kl_prose)}
    if not (reference or quantized):
        return {**_UNASKED, **divergence}
    result = compare_paired(reference, quantized)
    low = result.recovery.low if result.recovery else None
    return {
        "questions": result.questions,
        "reference": result.reference.as_dict(),
        "quantized": result.quantized.as_dict(),
        "recovery": _optional(result.recovery),
        "loss": result.loss.as_dict(),
        **divergence,
        "mcnemar_p": result.mcnemar_p,
        "noise_floor": result.noise_floor,
        "verdict": result.verdict,
        "truncated": {
            "reference": sum(a.truncated for a in reference),
            "quantized": sum(a.truncated for a in quantized),
        },
        "gate": gate and {"threshold": gate.recovery, "passed": low is not None and low >= gate.recovery},
        "per_task": _per_task(reference, quantized),
    }


def reply_notes(truncated: Mapping[str, int], questions: int) -> list[str]:
    """What the user should know of replies that did not end.

    Args:
        truncated: number of such replies, by the model that wrote them.
    """
    many = {model: count for model, count in truncated.items() if count > MOST_TRUNCATED * questions}
    return [
        f"{count} of {questions} replies of the {model} model were cut at evaluation.max_new_tokens or never"
        " closed their reasoning"
        for model, count in many.items()
    ]


def short_reply_notes(reference: Sequence[Answer], quantized: Sequence[Answer]) -> list[str]:
    """What the user should know where many replies are short: accuracy is lost before a token is wrong.

    Args:
        reference, quantized: answers to the same questions, in any order.
    """
    theirs = {(a.task, a.doc_id): a for a in reference}
    whole = [theirs[a.task, a.doc_id] for a in quantized]
    short = are_short([a.tokens for a in whole], [a.truncated for a in whole], [a.tokens for a in quantized])
    if not short or sum(short) <= MOST_SHORT * len(short):
        return []
    return [
        f"{sum(short)} of {len(short)} replies of the quantized model are less than half as long as the"
        " unquantized model's: it may skip its reasoning"
    ]


def are_short(reference: Iterable[float], cut: Iterable[bool], quantized: Iterable[float]) -> list[bool]:
    """Whether replies are short, for the questions to which the reference wrote a whole reply.

    Args:
        reference, quantized: tokens of each model's reply to each question; 0 where an option was chosen.
        cut: whether the reference's reply was truncated, so that its length says nothing.
    """
    rows = zip(reference, cut, quantized, strict=True)
    return [ours < SHORT_REPLY * theirs for theirs, is_cut, ours in rows if theirs and not is_cut]


def by_label(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    """Answers by domain, and also by task if there are several tasks."""
    several = len({a.task for a in answers}) > 1
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        named = several and answer.domain != answer.task
        label = f"{answer.task}/{answer.domain}" if named else answer.domain
        groups.setdefault(label, []).append(answer)
    return dict(sorted(groups.items()))


def evaluation_rows(figures: Figures, sequences: Mapping[str, int] | None = None) -> list[EvaluationRow]:
    """The figures that have a value, one row each.

    Args:
        sequences: number of sequences on which divergence was measured, by scope (`traces`, `prose`).
    """
    rows = list(_rows("all", figures, figures["questions"]))
    for scope, metric in (("traces", "kl"), ("prose", "kl_prose")):
        if sequences and figures.get(metric) is not None:
            rows += _rows(scope, {"kl": figures[metric]}, sequences[scope])
    for label, task in figures["per_task"].items():
        rows += _rows(label, task, task["n"])
    return rows


def _rows(scope: str, figures: Mapping[str, Any], n: int) -> Iterator[EvaluationRow]:
    for metric, figure in figures.items():
        if scope == "all" and metric in ("kl", "kl_prose"):
            continue
        if isinstance(figure, dict) and {"value", "low", "high"} <= figure.keys():
            yield EvaluationRow(scope, metric, figure["value"], figure["low"], figure["high"], n)
        elif figure is not None and metric in ("mcnemar_p", "noise_floor"):
            yield EvaluationRow(scope, metric, float(figure), None, None, n)
        elif metric == "truncated":
            counts = figure if isinstance(figure, dict) else {"reference": figure}
            for model, count in counts.items():
                yield EvaluationRow(scope, f"truncated_{model}", float(count), None, None, n)


def _per_task(reference: Sequence[Answer], quantized: Sequence[Answer]) -> Figures:
    theirs = by_label(quantized)
    results = {label: compare_paired(group, theirs[label]) for label, group in by_label(reference).items()}
    return {label: _task(result) for label, result in results.items()}


def _task(result: PairedResult) -> Figures:
    return {
        "reference": result.reference.as_dict(),
        "quantized": result.quantized.as_dict(),
        "loss": result.loss.as_dict(),
        "verdict": result.verdict,
        "n": result.questions,
    }


def _optional(figure: IntervalEstimate | None) -> dict[str, float] | None:
    return None if figure is None else figure.as_dict()
