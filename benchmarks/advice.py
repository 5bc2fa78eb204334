"""What predicts a checkpoint's KL: figures of calibration sets beside the KL of a study's cells.

    python -m benchmarks.advice collect --cells CELLS.csv [--tokens N] --out TABLE.csv
    python -m benchmarks.advice judge TABLE.csv [--fit TABLE.csv]

`collect` reads the cells that `faq study report STUDY --out FOLDER` has written, runs each calibration set of
them (its first N tokens) and the traces through the target, and writes one row a cell with every figure of
`FIGURES`. The sets lie in the store of FAQ_HOME. `faq advise` reads the table of study `advice`.

`judge` prints, for each figure: its rank correlation with the KL, its error when KL is predicted draw by draw
from the other draws (or from the cells of --fit), and the regret of choosing the calibration set by it: how
much higher the KL of its choice is than that of the best set there. Last it prints how often the intervals of
`faq advise` hold. Intervals resample calibration sets (correlations) and draws (regrets).
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.advice_judge import judge

Row = Mapping[str, Any]
FIGURES = ("fitness", "log_fitness", "excess", "weighted_excess", "stein", "log_stein", "reversed_stein")
"""`excess`: see `faq_pipeline.activations.excess_error`. `weighted_excess`: the error of all layers in sum,
each relative to its outputs. `stein`: tr(S^-1 T) - ln det(S^-1 T) - d of the damped Hessians of set S and
traces T, over d; `reversed_stein` with both exchanged."""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect")
    collecting.add_argument("--cells", type=Path, required=True)
    collecting.add_argument("--tokens", type=int, default=0)
    collecting.add_argument("--out", type=Path, required=True)
    judging = commands.add_parser("judge")
    judging.add_argument("table", type=Path)
    judging.add_argument("--fit", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "collect":
        collect(arguments.cells, arguments.tokens, arguments.out)
    else:
        judge(read(arguments.table), read(arguments.fit) if arguments.fit else None, FIGURES)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, with numbers as such."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{k: v if k in _TEXT else float(v) for k, v in row.items()} for row in csv.DictReader(file)]


_TEXT = ("member", "arm", "quantizer", "set")


def collect(cells: Path, tokens: int, out: Path) -> None:
    """Write the table of the finished cells that have a calibration set."""
    from faq_pipeline.settings import Settings

    settings = Settings.from_environment()
    with cells.open(encoding="utf-8", newline="") as file:
        wanted = [
            row
            for row in csv.DictReader(file)
            if row["status"] == "finished" and row["pilot"] == "False" and row["fitness"]
        ]
    known = {row["set"]: row for row in read(out)} if out.exists() else {}
    rows: list[dict[str, Any]] = []
    by_member: dict[str, list[tuple[dict[str, str], str]]] = defaultdict(list)
    for row in wanted:
        checkpoint = settings.store.get("quantized_checkpoint", row["checkpoint"])
        if checkpoint is None:
            continue
        by_member[row["member"]].append((row, checkpoint.manifest.upstream["calibration_set"]))
    for member, its in by_member.items():
        figures = _figures(settings, member, {name for _, name in its}, tokens, known)
        rows += [
            {
                **{key: row[key] for key in ("member", "quantizer", "arm", "draw")},
                "tokens": row["calibration_tokens"],
                "sampled": row["sampled_tokens"],
                "set": name,
                "kl": f"{float(row['kl']):.6g}",
                **{key: f"{value:.5f}" for key, value in figures[name].items()},
            }
            for row, name in its
        ]
        with out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _figures(
    settings: Any, member: str, sets: Iterable[str], tokens: int, known: Mapping[str, Row]
) -> dict[str, dict[str, float]]:
    """Every figure of each set."""
    from faq_pipeline.activations.input_hessians import input_hessians
    from faq_pipeline.models.device import choose_device
    from faq_pipeline.models.loading import load_model
    from faq_pipeline.models.weights import find_weights
    from faq_pipeline.store.records import TokenRow, Trace
    from faq_pipeline.store.tables import read_rows

    found = {name: {key: known[name][key] for key in FIGURES} for name in sets if name in known}
    left = [name for name in sets if name not in found]
    if not left:
        return found
    weights = find_weights(settings.catalog.member(member)[1], settings.digests)
    model = load_model(weights, choose_device(settings.device))
    traces: dict[str, list[Any]] = {}
    for name in left:
        artifact = settings.store.get("calibration_set", name)
        upstream = artifact.manifest.upstream["inference_traces"]
        if upstream not in traces:
            told = settings.store.get("inference_traces", upstream).file("traces.parquet")
            own = [trace.input_ids for trace in read_rows(told, Trace) if trace.input_ids]
            traces[upstream] = input_hessians(model, own, lambda n: None)
        rows = [row.input_ids for row in read_rows(artifact.file("rows.parquet"), TokenRow)]
        hessians = input_hessians(model, _first(rows, tokens), lambda n: None)
        found[name] = figures_of(model, hessians, traces[upstream])
        print(member, name, {k: round(v, 4) for k, v in found[name].items()}, flush=True)
    return found


def _first(rows: Sequence[list[int]], tokens: int) -> list[list[int]]:
    """The first rows of that many tokens; all for 0."""
    ends = np.cumsum([len(row) for row in rows])
    return [row for row, end in zip(rows, ends, strict=True) if not tokens or end <= tokens]


def figures_of(model: Any, calibration: Sequence[Any], traces: Sequence[Any]) -> dict[str, float]:
    """`FIGURES` of a set, by its Hessians and those of the traces."""
    from faq_pipeline.activations.excess_error import excess_errors, expected_error, mean_excess
    from faq_pipeline.activations.fitness import mismatch

    per_reader: dict[str, list[float]] = defaultdict(list)
    weighted = 0.0
    for one, own in zip(calibration, traces, strict=True):
        h, g = one.mean.double(), own.mean.double()
        error = float(expected_error(h, g))
        for name in one.readers:
            weight = model.get_submodule(name).weight.detach()[:, own.channels].float()
            steps = (weight.amax(1) - weight.amin(1)).double().square().sum()
            outputs = float(((weight @ own.mean) * weight).sum())
            weighted += error * float(steps) / outputs
            per_reader["fitness"].append(mismatch(h.diagonal(), g.diagonal()))
            per_reader["stein"].append(stein(h, g))
            per_reader["reversed_stein"].append(stein(g, h))
    means = {name: fmean(values) for name, values in per_reader.items()}
    excess = mean_excess(excess_errors(calibration, traces))
    assert excess is not None
    return {
        "fitness": means["fitness"],
        "log_fitness": math.log(means["fitness"]),
        "excess": excess,
        "weighted_excess": math.log(weighted),
        "stein": means["stein"],
        "log_stein": math.log(means["stein"]),
        "reversed_stein": means["reversed_stein"],
    }


def stein(first: Any, second: Any) -> float:
    """Stein's loss of two damped Hessians, a channel."""
    import torch

    from faq_pipeline.activations.excess_error import DAMPENING

    roots = []
    for one in (first, second):
        damped = one.clone()
        damped.diagonal().add_(DAMPENING * damped.diagonal().mean())
        roots.append((damped, torch.linalg.cholesky(damped)))
    (_, root), (other, other_root) = roots
    product = (torch.cholesky_inverse(root) * other).sum()
    dets = [2 * one.diagonal().log().sum() for one in (root, other_root)]
    return float((product - (dets[1] - dets[0]) - len(other)) / len(other))


if __name__ == "__main__":
    main()
