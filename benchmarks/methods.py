"""Quantization methods beside GPTQ on one member, in one run: divergence, layer error, time and memory.

    python -m benchmarks.methods [--table methods|awq|outliers] [--member kin-4m]
        [--recipe faq-one-gptq-w3a16] [--scheme W3A16] [--group channel] [--rounds 3] [--out docs/METHODS.md]

The recipe's calibration set and the member's inference traces are made where they are not there yet. Every
method takes the same of both, and the same settings: imatrix scales (autoround: its own), static column
order, dampening 0.1.
Table `awq` compares what AWQ searches among (`duo_scaling`), with imatrix and with minmax scales. KL
is per token, on the traces and on as many passages of the recipe's prose. The layer error is the
mean over layers of tr(E H E^T) / tr(W H W^T), where the method measures it. Each quantization runs in a
process of its own; its processor time is the least over the rounds; its memory is the greatest, less that of
a process that only loads the model. Figures other than processor time repeat exactly. One draw: the table
shows what a method costs here, and picks work; it is no result.
"""

from __future__ import annotations

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.member_data import read_data
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.divergence import mean_divergence
from faq_pipeline.models.loading import load_model
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.oneshot import run
from faq_pipeline.util.progress import SilentProgress

SETTINGS: dict[str, Any] = {"observer": "imatrix", "actorder": "static", "dampening": 0.1}
GPTQ = "gptq"
"""The row that times and memory are compared with."""
SOLVERS = ("gptaq", "foem", "quantease", "decoupleq")
"""Methods that are GPTQ with another solver."""
TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "methods": {method: {"method": method} for method in ("rtn", "awq", GPTQ, *SOLVERS)}
    # It learns its scales, for 200 iterations where the recipe says nothing else.
    | {"autoround": {"method": "autoround", "observer": "minmax"}},
    "awq": {GPTQ: {"method": "gptq"}}
    | {
        f"{method}, {observer}": {**search, "observer": observer}
        for observer in ("minmax", "imatrix")
        for method, search in {
            "rtn": {"method": "rtn"},
            "awq": {"method": "awq"},
            "awq, duo_scaling: false": {"method": "awq", "duo_scaling": False},
            "awq, duo_scaling: both": {"method": "awq", "duo_scaling": "both"},
        }.items()
    },
    "outliers": {
        "rtn": {"method": "rtn"},
        "rtn, rotate": {"method": "rtn", "rotate": True},
        GPTQ: {"method": "gptq"},
        "gptq, rotate": {"method": "gptq", "rotate": True},
        "smoothquant": {"method": "smoothquant"},
        "smoothquant, activations, 0.85": {
            "method": "smoothquant",
            "smoothing_form": "activations",
            "smoothing": 0.85,
        },
        "smoothquant, log": {"method": "smoothquant", "smoothing_form": "log"},
    },
}
"""Rows of each table, and how their settings differ from `SETTINGS`."""
HEADER = """\
| method | layer error | KL traces, x 1e-3 | KL prose, x 1e-3 | time over GPTQ's | memory over GPTQ's |
|---|---|---|---|---|---|
"""
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
MARKS = {
    "methods": (BEGIN, END),
    "awq": ("<!-- awq -->\n", "<!-- end of awq -->\n"),
    "outliers": ("<!-- outliers -->\n", "<!-- end of outliers -->\n"),
}


@dataclass(frozen=True)
class Took:
    """One quantization: mean layer error (None where not measured), mean KL per token in nats on the traces
    and on prose, seconds of processor time, and peak resident memory in bytes."""

    error: float | None
    traces: float
    prose: float
    seconds: float
    memory: int


def main() -> None:
    """Measure, and write the table between the marks of the page, or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", choices=TABLES, default="methods")
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--recipe", default="faq-one-gptq-w3a16")
    parser.add_argument("--scheme", default="W3A16")
    parser.add_argument("--group", default="channel")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = read_data(options.member, options.recipe)
    group = options.group if options.group == "channel" else int(options.group)
    specs = {
        label: Quantization(scheme=options.scheme, group_size=group, **SETTINGS | row)
        for label, row in TABLES[options.table].items()
    }
    took: dict[str, list[Took]] = {label: [] for label in specs}
    idle: list[int] = []
    for _ in range(options.rounds):
        idle.append(apart(_loaded, data.weights))
        for label, spec in specs.items():
            one = apart(quantized, spec, data.weights, data.rows, data.all_traces, data.prose)
            took[label].append(one)
            print(label, one, flush=True)
    text = HEADER + "\n".join(_line(label, took, max(idle)) for label in specs) + "\n"
    if options.out is None:
        print(text)
        return
    page = options.out.read_text(encoding="utf-8")
    options.out.write_text(in_page(page, text, *MARKS[options.table]), encoding="utf-8")


def in_page(page: str, text: str, begin: str = BEGIN, end: str = END) -> str:
    """A page with `text` in the place of what stood between two marks."""
    return page[: page.index(begin) + len(begin)] + text + page[page.index(end) :]


def apart(work: Any, *arguments: Any) -> Any:
    """The result of a function in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _loaded(weights: Weights) -> int:
    """Peak memory of a process that loads the libraries and the model, and quantizes nothing."""
    import llmcompressor  # noqa: F401 (what it takes is no method's)

    load_model(weights, "cpu")
    return _peak()


def quantized(
    spec: Quantization,
    weights: Weights,
    rows: list[list[int]],
    traces: list[list[int]],
    prose: list[list[int]],
) -> Took:
    """Quantize a member, and measure; memory is that of the whole process."""
    import llmcompressor  # noqa: F401 (its import is no method's time)

    reference = load_model(weights, "cpu")
    started = time.process_time()
    made = run(spec, weights, rows, "cpu", SilentProgress())
    seconds, memory = time.process_time() - started, _peak()
    model = made.model.to(reference.dtype)  # type: ignore[arg-type]
    errors = list(made.log.errors.values())
    return Took(
        sum(errors) / len(errors) if errors else None,
        mean_divergence(reference, model, traces),
        mean_divergence(reference, model, prose),
        seconds,
        memory,
    )


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _line(label: str, took: dict[str, list[Took]], idle: int) -> str:
    own, gptq = took[label], took[GPTQ]
    first = own[0]
    seconds = min(one.seconds for one in own) / min(one.seconds for one in gptq)
    memory = (max(one.memory for one in own) - idle) / (max(one.memory for one in gptq) - idle)
    error = "not measured" if first.error is None else f"{first.error:.5f}"
    return (
        f"| {label} | {error} | {1000 * first.traces:.2f} | {1000 * first.prose:.2f}"
        f" | {seconds:.2f} | {memory:.2f} |"
    )


if __name__ == "__main__":
    main()
