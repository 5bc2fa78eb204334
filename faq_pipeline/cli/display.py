"""Print tables, figures and JSON to the terminal."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from faq_pipeline.cli.columns import FRAME, fit, fold, is_numeric

PIPED = 140
"""Columns of output that goes to a pipe."""
Figure = Mapping[str, float | None]


def out() -> Console:
    """The console for results, on stdout.

    Output to a pipe is 140 columns wide, so cells wrap less.
    """
    return Console(width=None if sys.stdout.isatty() else PIPED, highlight=False)


def err() -> Console:
    """The console for progress and notes, on stderr, so that stdout holds only results."""
    return Console(stderr=True, highlight=False, force_terminal=sys.stderr.isatty())


def say(text: str) -> None:
    """Print one line verbatim: no wrapping, since it may hold a path, and no markup."""
    out().print(text, soft_wrap=True, markup=False)


def wrapped(text: str) -> None:
    """Print a sentence, wrapped to the terminal (to 80 columns at most), with later lines indented."""
    for line in in_lines(text):
        say(line)


def in_lines(text: str) -> list[str]:
    """The lines of a sentence, as `wrapped` prints them."""
    width = min(out().width, 80)
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def print_json(content: Any) -> None:
    """Print one JSON object to stdout."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def table(
    title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]], most: int | None = None
) -> Table:
    """A table, with a title or none; numeric columns are right-aligned.

    Args:
        most: characters of its width, however wide the terminal is; None does not limit it.
    """
    widths = fit(columns, rows, min(out().width, most or out().width))
    heading = (
        None if title is None else "\n".join(fold(title, max(sum(widths) + FRAME * len(widths) + 1, 20)))
    )
    result = Table(title=heading, title_justify="left", header_style="bold", title_style="bold")
    for index, (name, own) in enumerate(zip(columns, widths, strict=True)):
        numeric = is_numeric([row[index] for row in rows])
        header = escape("\n".join(fold(name, own)))
        result.add_column(header, justify="right" if numeric else "left", width=own, no_wrap=True)
    for row in rows:
        result.add_row(*(escape("\n".join(fold(cell, own))) for cell, own in zip(row, widths, strict=True)))
    return result


def figure(value: Figure | None, digits: int = 3, scale: float = 1.0) -> str:
    """Format a figure with its 95% interval; `-` if there is no value."""
    if value is None or value["value"] is None:
        return "-"
    shown = f"{value['value'] * scale:.{digits}f}"
    low, high = value.get("low"), value.get("high")
    if low is None or high is None:
        return shown
    return f"{shown} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


def said(row: Mapping[str, str | None]) -> str:
    """A recipe's verdict, why its loss reduction is not computed, and any remark."""
    reason = f"(not computed: {row['reason']})" if row["reason"] else ""
    remark = f"({row['remark']})" if row["remark"] else ""
    return " ".join(part for part in (row["verdict"], reason, remark) if part)


def seconds(value: float) -> str:
    """Format a duration, given in seconds."""
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60):02d} s"
