"""Plots of an artifact, inline in Dagster's metadata."""

import base64
import math
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import dagster as dg

MOST_BYTES = 300_000
"""Larger pictures are linked instead of embedded, since Dagster's storage refuses oversized metadata."""
WIDTH, MARGIN = 420, 75
"""Width of the interval plot, and the margin for labels on each side of its axis, in pixels."""
HIGH, LEFT, MOST_POINTS = 100, 60, 48
"""Height of the plot by layer and the margin for its labels, in pixels; how many layers it draws at most."""
IN_ADDRESS = "/:=',;."
"""Characters that need no percent-encoding in the data URI of an SVG within Markdown."""


def picture(path: Path) -> dg.MetadataValue:
    """A PNG embedded in Markdown, or its path if it is too large."""
    data = path.read_bytes()
    if len(data) > MOST_BYTES:
        return dg.MetadataValue.path(str(path))
    return dg.MetadataValue.md(f"![{path.stem}]({png_uri(data)})")


def png_uri(data: bytes) -> str:
    """A PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def interval_bar(figure: Mapping[str, float], marks: Mapping[str, float]) -> dg.MetadataValue:
    """A plot of a figure with its interval and named reference marks, as Markdown.

    It stays below a thousand characters, so that the UI shows it in place. Hence the minimal SVG.
    """
    values = [*marks.values(), figure["low"], figure["high"]]
    least, most = min(values), max(values)
    scale = (WIDTH - 2 * MARGIN) / (most - least or 1)

    def x(value: float) -> int:
        return round(MARGIN + (value - least) * scale)

    low, high, value = x(figure["low"]), x(figure["high"]), x(figure["value"])
    lines = "".join(f"<path d='M{x(at)} 16V50' stroke='#999'/>" for at in marks.values())
    names = "".join(
        f"<text x='{x(at)}' y='12' text-anchor='{('start', 'end')[at == least]}'>{name} {at:g}</text>"
        for name, at in marks.items()
    )
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='70' font-size='11'"
        f" font-family='Arial' text-anchor='middle'>{lines}{names}"
        f"<path d='M{low} 33H{high}' stroke='#17b' stroke-width='3'/>"
        f"<circle cx='{value}' cy='33' r='5' fill='#17b'/><text x='{value}' y='65'>{figure['value']:.3f}"
        f" [{figure['low']:.3f}, {figure['high']:.3f}]</text></svg>"
    )
    return _svg("interval", svg)


def by_layer(values: Mapping[int, float]) -> dg.MetadataValue:
    """A plot of a positive figure of each layer on a logarithmic axis, as Markdown.

    It stays below a thousand characters too: of many layers it draws every second, or third.
    """
    layers = sorted(values)
    step = math.ceil(len(layers) / MOST_POINTS)
    drawn = sorted({*layers[::step], layers[-1]})
    logs = {layer: math.log10(max(values[layer], 1e-9)) for layer in drawn}
    least, most = min(logs.values()), max(logs.values())
    across = (WIDTH - LEFT - 10) / (layers[-1] - layers[0] or 1)
    down = (HIGH - 40) / (most - least or 1)
    points = ",".join(
        f"{round(LEFT + (layer - layers[0]) * across)},{round(10 + (most - logs[layer]) * down)}"
        for layer in drawn
    )
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HIGH}' font-size='11'"
        f" font-family='Arial'><polyline points='{points}' fill='none' stroke='#17b' stroke-width='2'/>"
        f"<text y='14'>{10**most:.2g}</text><text y='{HIGH - 28}'>{10**least:.2g}</text>"
        f"<text x='{LEFT}' y='{HIGH - 4}'>layer {layers[0]}</text>"
        f"<text x='{WIDTH - 50}' y='{HIGH - 4}'>{layers[-1]}</text></svg>"
    )
    return _svg("by layer", svg)


def _svg(name: str, svg: str) -> dg.MetadataValue:
    return dg.MetadataValue.md(f"![{name}](data:image/svg+xml,{quote(svg, safe=IN_ADDRESS)})")
