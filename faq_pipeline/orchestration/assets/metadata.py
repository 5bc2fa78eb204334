"""How figures and rows look in Dagster's metadata.

The UI draws tables in place, and Markdown of a thousand characters and more behind a link; so
figures are tables and prose is Markdown.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

MOST_PARTS = 6
"""Longer lists and mappings of a manifest are left to the asset that knows what to say of them."""
NOT_SHOWN = {"work", "vocabulary"}
"""What estimates and later stages live on; it tells a reader nothing."""
LONGEST = 400
"""Characters of one text in a table."""


def figures(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's figures: numbers rounded, intervals and short structures as one line of text."""
    lines = {name: _figure(value) for name, value in metadata.items() if name not in NOT_SHOWN}
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
    """Four significant digits."""
    return float(f"{value:.4g}")


def interval(figure: Mapping[str, float | None]) -> str:
    """A figure with its 95% interval, as text."""
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.4f}"
    return f"{figure['value']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"


def percent(figure: Mapping[str, float]) -> str:
    """A share with its 95% interval, in percent."""
    value, low, high = (100 * figure[name] for name in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def table(rows: Iterable[Mapping[str, Any]]) -> dg.MetadataValue:
    """A few narrow rows, drawn in place."""
    records = [dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in rows]
    return dg.MetadataValue.table(records) if records else dg.MetadataValue.text("(none)")


def long_table(rows: Iterable[Mapping[str, Any]]) -> dg.MetadataValue:
    """Rows that are many or hold prose, behind a link."""
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
    """A text on one line that Markdown leaves as it is."""
    for mark in "\\|<*_`[":
        text = text.replace(mark, "\\" + mark)
    return shorten(text.replace("\n", " "))


def shorten(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
