"""GPTQ with other solvers beside GPTQ itself, over several calibration sets, at 3 and at 2 bits.

    python -m benchmarks.solvers [--member kin-4m] [--recipe faq-one-gptq-w3a16]
        [--cells W3A16:channel,W2A16:128] [--draws 0,1,2] [--out docs/METHODS.md]

Settings, figures and prose are those of `benchmarks.methods`; each draw is a calibration set of its own.
A cell is a scheme and a group size. GPTQ's row has its geometric means over draws; the others have the
geometric mean of their ratio to GPTQ's figure of the same draw, with a 95% t-interval over draws where
there are several. Processor time is that of one run each.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from pathlib import Path

from benchmarks.member_data import Data, read_data
from benchmarks.methods import GPTQ, SETTINGS, SOLVERS, Took, apart, in_page, quantized
from benchmarks.ratios import ratio_over_draws
from faq_pipeline import load_recipe
from faq_pipeline.config.quantization import Quantization

HEADER = """\
| scheme, group | method | layer error | KL traces | KL prose | processor time |
|---|---|---|---|---|---|
"""
BEGIN, END = "<!-- solvers -->\n", "<!-- end of solvers -->\n"


def main() -> None:
    """Measure, and write the table between the marks of the page, or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--recipe", default="faq-one-gptq-w3a16")
    parser.add_argument("--cells", default="W3A16:channel,W2A16:128", help="SCHEME:GROUP,...")
    parser.add_argument("--draws", default="0,1,2")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    data = [
        read_data(options.member, recipe.model_copy(update={"draw": int(draw)}))
        for draw in options.draws.split(",")
    ]
    lines = [line for cell in options.cells.split(",") for line in _cell(*cell.split(":"), data)]
    text = HEADER + "\n".join(lines) + "\n"
    print(text)
    if options.out is not None:
        page = options.out.read_text(encoding="utf-8")
        options.out.write_text(in_page(page, text, BEGIN, END), encoding="utf-8")


def _cell(scheme: str, group: str, data: list[Data]) -> list[str]:
    """The rows of a scheme and a group size."""
    found: dict[str, list[Took]] = defaultdict(list)
    size = group if group == "channel" else int(group)
    for draw in data:
        for method in (GPTQ, *SOLVERS):
            spec = Quantization(method=method, scheme=scheme, group_size=size, **SETTINGS)
            one: Took = apart(quantized, spec, draw.weights, draw.rows, draw.all_traces, draw.prose)
            found[method].append(one)
            print(scheme, group, method, one, flush=True)
    rows = []
    for method, own in found.items():
        cells = [
            _ratio_cell(method, own, found[GPTQ], name) for name in ("error", "traces", "prose", "seconds")
        ]
        rows.append(f"| {scheme}, {group} | {method} | {' | '.join(cells)} |")
    return rows


def _ratio_cell(method: str, own: list[Took], gptq: list[Took], name: str) -> str:
    """A figure of GPTQ, or what another method's is times GPTQ's."""
    mine, theirs = ([getattr(one, name) for one in took] for took in (own, gptq))
    if method != GPTQ:
        return ratio_over_draws(mine, theirs)
    mean = statistics.geometric_mean(theirs)
    if name == "seconds":
        return f"{mean:.0f} s"
    return f"{mean:.5f}"


if __name__ == "__main__":
    main()
