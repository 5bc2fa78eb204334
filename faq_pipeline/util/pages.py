"""Templates of documents: one environment, and one style of pages, for all reports and cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Figure = Mapping[str, float]


def render(package: str, template: str, **facts: Any) -> str:
    """A document from a package's `templates` folder, or from ours.

    Pages extend `page.html`, which holds their style: they need no network, follow the reader's light or
    dark scheme, and fit a narrow screen.

    Args:
        template: the file's name without `.jinja`; facts are escaped where it ends in `.html`.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("faq_pipeline.util")]),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = lambda figure: interval(figure, 1, 100)
    environment.filters["milli"] = lambda figure: interval(figure, 2, 1000)
    environment.filters["interval"] = interval
    environment.filters["duration"] = duration
    environment.filters["size"] = size
    return environment.get_template(f"{template}.jinja").render(**facts)


def interval(figure: Figure | None, digits: int = 3, scale: float = 1.0) -> str:
    """Format as `value [low, high]`, or a dash if there is no figure."""
    if figure is None:
        return "-"
    value, low, high = (figure[key] * scale for key in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def duration(seconds: float) -> str:
    """A duration in the unit that fits: `0.4 s`, `2 min 05 s`, `3 h 12 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def size(count: float) -> str:
    """A number of bytes in the decimal unit that fits: `612 B`, `18 kB`, `2.3 MB`, `1.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.{0 if unit != 'MB' or count >= 100 else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
