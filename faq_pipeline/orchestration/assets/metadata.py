"""Format figures and rows as Dagster metadata.

The UI shows tables in place, but Markdown of a thousand characters or more behind a link. So figures are
tables, and long text is Markdown.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

MOST_PARTS = 6
"""Longer lists and mappings of a manifest are not shown here; the asset's own metadata may show them."""
NOT_SHOWN = {"work", "vocabulary"}
"""Fields that only estimates and later stages use."""
NAMES = {
    "bytes_repeat": "same_samples_if_run_again",
    "shortfall": "tokens_below_budget",
    "budget": "token_budget",
    "ineligible": "candidates_that_cannot_win",
    "uncontested": "groups_with_one_usable_candidate",
    "wrong_alone": "seeds_whose_only_usable_candidate_is_wrong",
    "answered": "seeds_with_an_answer",
    "wrong_winners": "winners_with_a_wrong_answer",
    "unclosed": "replies_without_end_of_reasoning",
    "truncated": "replies_cut_at_the_limit",
    "looping": "replies_that_repeat_themselves",
    "left_out": "seeds_left_out",
    "rtn_fallback": "layers_that_gptq_gave_up",
    "mcnemar_p": "p_value_of_mcnemar_test",
    "ratio": "size_relative_to_original",
}
"""What the UI calls fields of a manifest whose own names are short."""
KL_NAMES = {"kl": "kl_on_tasks_1e-3_nats", "kl_prose": "kl_on_prose_1e-3_nats"}
"""What the UI calls the divergences of an evaluation, which manifests hold in nats a token."""
LONGEST = 400
"""Maximum number of characters of a text in a table."""


def figures(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a manifest: rounded numbers, and intervals and short structures as one line of text."""
    lines = {
        NAMES.get(name, name): _figure(value)
        for name, value in metadata.items()
        if name not in NOT_SHOWN and name not in KL_NAMES
    }
    lines |= {
        shown: interval(metadata[name], 1000, 2) for name, shown in KL_NAMES.items() if metadata.get(name)
    }
    return {name: line for name, line in lines.items() if line is not None}


def _figure(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        if {"value", "low", "high"} <= value.keys():
            return interval(value)
        parts = [f"{name}: {_figure(part)}" for name, part in value.items()]
        scalars = all(isinstance(part, (bool, int, float, str)) for part in value.values())
        return ", ".join(parts) if parts and scalars and len(parts) <= MOST_PARTS else None
    if isinstance(value, list):
        texts = value and all(isinstance(part, str) for part in value) and len(value) <= MOST_PARTS
        return "; ".join(value) if texts else None
    return None


def rounded(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")


def interval(figure: Mapping[str, float | None], scale: float = 1, digits: int = 4) -> str:
    """A figure with its 95% interval, as text."""
    value, low, high = (
        None if (part := figure[name]) is None else f"{part * scale:.{digits}f}"
        for name in ("value", "low", "high")
    )
    return f"{value}" if low is None or high is None else f"{value} [{low}, {high}]"


def percent(figure: Mapping[str, float]) -> str:
    """A share with its 95% interval, in percent."""
    value, low, high = (100 * figure[name] for name in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def table(rows: Iterable[Mapping[str, Any]]) -> dg.MetadataValue:
    """A table of a few narrow rows, shown in place."""
    records = [dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in rows]
    return dg.MetadataValue.table(records) if records else dg.MetadataValue.text("(none)")


def long_table(rows: Iterable[Mapping[str, Any]]) -> dg.MetadataValue:
    """A table of many rows or long texts, shown behind a link."""
    return dg.MetadataValue.md(markdown_table(list(rows)))


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table."""
    if not rows:
        return "(none)"
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(plain(_cell(row[name])) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def plain(text: str) -> str:
    """The text shortened to one line, with Markdown characters escaped."""
    for mark in "\\|<*_`[":
        text = text.replace(mark, "\\" + mark)
    return shorten(text.replace("\n", " "))


def shorten(text: str) -> str:
    """The text, truncated with an ellipsis if it is too long."""
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
