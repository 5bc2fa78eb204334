"""The claim, measured: how much FAQ loses at W3A16 beside every control, over repeated draws.

    python -m benchmarks.claim [--member kin-4m] [--draws 8] [--workers N]

Each arm is a recipe of `data/recipes/`, at its own settings but for the draw number and the full
evaluation split; each cell is made by the pipeline's own stages and kept in its store, so a stopped
study goes on where it was. Arms of one draw share their seed samples. Writes `docs/claim-MEMBER.json`
(every cell) and `docs/claim-MEMBER.md` (the table). An hour or
more on two CPU cores; for models this small a GPU was no faster.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from faq_pipeline.evaluation.bootstrap import Array
from faq_pipeline.evaluation.draws import crossed_estimate
from faq_pipeline.lineage.uses import cell_licences, cell_setting, record_use
from faq_pipeline.records import Answer, SequenceDivergence, read_rows
from faq_pipeline.resolve import resolve_cell
from faq_pipeline.runner import obtain
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.stages import STAGES

ARMS = {
    "FAQ": "faq-gptq-w3a16",
    "teacher, random of K": "random-of-k-gptq-w3a16",
    "self": "self-gptq-w3a16",
    "original, templated": "original-chat-gptq-w3a16",
    "original, raw": "original-raw-gptq-w3a16",
    "random tokens": "random-tokens-gptq-w3a16",
    "RTN": "rtn-w3a16",
}
Arms = dict[str, tuple[Array, Array]]
"""Values (draws, units) and the units' weights, by arm."""
ORIGINALS = ("original, raw", "original, templated")
TASK, TRACES, BATCH = "kin_full", 192, 256


def make_cell(member: str, arm: str, draw: int) -> dict[str, Any]:
    """One cell of the study: all stages, from the store or made; returns its figures and artifacts."""
    settings = Settings.from_environment()
    recipe = settings.catalog.recipe(ARMS[arm])
    evaluation = recipe.evaluation.model_copy(update={"tasks": [TASK], "traces": TRACES, "batch_size": BATCH})
    recipe = recipe.model_copy(update={"draw": draw, "evaluation": evaluation})
    cell = resolve_cell(settings.catalog, member, recipe, settings.device, settings.digests)
    started = time.perf_counter()
    made = {name: obtain(name, cell, STAGES, settings.store).artifact for name in STAGES}
    for stage, artifact in made.items():  # under a name of the study's own: `faq cache gc` spares it
        study = f"{cell.target.partition}|claim-{recipe.name}"
        record_use(
            settings.store, study, stage, artifact.fingerprint, cell_licences(cell), cell_setting(cell)
        )
    report, calibration = made["eval_report"], made["calibration_set"]
    return {
        "arm": arm,
        "draw": draw,
        "accuracy": report.metadata["quantized"]["value"],
        "kl": report.metadata["kl"]["value"],
        "kl_prose": report.metadata["kl_prose"]["value"],
        "fitness": calibration.metadata["fitness"],
        "calibration_tokens": calibration.metadata["tokens"],
        "eval_report": report.fingerprint,
        "reference_eval": made["reference_eval"].fingerprint,
        "device": cell.device,
        "seconds": round(time.perf_counter() - started, 1),
    }


def run(member: str, draws: int, workers: int, minutes: float) -> list[dict[str, Any]]:
    """All cells, draw by draw; the reference first, so that no two processes wait for it.

    After `minutes` nothing new is begun, and only draws whose arms are all there count.
    """
    deadline = time.monotonic() + 60 * minutes
    wanted = [(arm, draw) for draw in range(draws) for arm in ARMS if arm != "RTN"]
    cells = [make_cell(member, "RTN", 0)]
    print(f"reference and RTN: {cells[0]['seconds']} s", flush=True)
    context = multiprocessing.get_context("spawn")
    devices = context.Queue()
    for worker in range(workers):
        devices.put(worker)
    with ProcessPoolExecutor(workers, context, initializer=_take_device, initargs=(devices,)) as pool:
        futures = [pool.submit(make_cell, member, arm, draw) for arm, draw in wanted]
        for number, future in enumerate(as_completed(futures), 1):
            if time.monotonic() > deadline:
                for waiting in futures:
                    waiting.cancel()
            if future.cancelled():
                continue
            cell = future.result()
            cells.append(cell)
            print(
                f"{number}/{len(futures)} {cell['arm']}, draw {cell['draw']}: accuracy {cell['accuracy']:.4f}"
                f", KL {cell['kl'] * 1e3:.2f}e-3, {cell['seconds']} s",
                flush=True,
            )
    made = Counter(cell["draw"] for cell in cells if cell["arm"] != "RTN")
    complete = [c for c in cells if c["arm"] == "RTN" or made[c["draw"]] == len(ARMS) - 1]
    return sorted(complete, key=lambda cell: (list(ARMS).index(cell["arm"]), cell["draw"]))


def _take_device(devices: Any) -> None:
    """Spread the workers over the GPUs, where there are several."""
    import pynvml

    worker = devices.get()
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = str(worker % count)


def answers(cells: list[dict[str, Any]]) -> Arms:
    """Scores by arm, (draws, questions), and the reference's; questions weigh the same."""
    store = Settings.from_environment().store
    found: dict[str, list[Array]] = {}
    order: list[tuple[str, str, int]] | None = None
    first = store.get("reference_eval", cells[0]["reference_eval"])
    runs = [("reference", first)] + [(c["arm"], store.get("eval_report", c["eval_report"])) for c in cells]
    for arm, artifact in runs:
        assert artifact is not None
        rows = read_rows(artifact.file("answers.parquet"), Answer)
        keys = [(row.task, row.doc_hash, row.doc_id) for row in rows]
        order = order or keys
        assert keys == order, "cells were judged on different questions"
        found.setdefault(arm, []).append(np.array([row.correct for row in rows]))
    return {arm: (np.stack(rows), np.ones(rows[0].shape)) for arm, rows in found.items()}


def divergences(cells: list[dict[str, Any]], scope: str) -> Arms:
    """Nats by arm, (draws, sequences), with the sequences' tokens as weights."""
    store = Settings.from_environment().store
    found: dict[str, list[Array]] = {}
    tokens = np.ones(0)
    for cell in cells:
        artifact = store.get("eval_report", cell["eval_report"])
        assert artifact is not None
        rows = [
            r for r in read_rows(artifact.file("divergence.parquet"), SequenceDivergence) if r.scope == scope
        ]
        tokens = np.array([row.tokens for row in rows], dtype=np.float64)
        found.setdefault(cell["arm"], []).append(np.array([row.nats for row in rows]))
    return {arm: (np.stack(rows), tokens) for arm, rows in found.items()}


def summarise(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Every arm's figures, and FAQ's reductions against the other arms, with 95% intervals."""
    scores, tasks, prose = answers(cells), divergences(cells, "traces"), divergences(cells, "prose")
    return {
        "reference": crossed_estimate(scores, lambda means: means["reference"]).as_dict(),
        "questions": scores["FAQ"][0].shape[1],
        "arms": {arm: _arm(arm, cells, scores, tasks, prose) for arm in ARMS},
        "faq_against": {arm: _against(arm, scores, tasks) for arm in ARMS if arm != "FAQ"},
    }


def _arm(arm: str, cells: list[dict[str, Any]], scores: Arms, tasks: Arms, prose: Arms) -> dict[str, Any]:
    own = [cell for cell in cells if cell["arm"] == arm]
    return {
        "draws": len(own),
        "kl": crossed_estimate(tasks, lambda means: means[arm]).as_dict(),
        "kl_prose": crossed_estimate(prose, lambda means: means[arm]).as_dict(),
        "accuracy": crossed_estimate(scores, lambda means: means[arm]).as_dict(),
        "loss": crossed_estimate(scores, lambda means: means["reference"] - means[arm]).as_dict(),
        "fitness": float(np.mean([cell["fitness"] for cell in own])),
        "calibration_tokens": [cell["calibration_tokens"] for cell in own],
    }


def _against(arm: str, scores: Arms, tasks: Arms) -> dict[str, Any]:
    """What FAQ brings against one arm; no loss reduction where the arm's loss is within the noise."""

    def reduction(means: Mapping[str, Array]) -> Array:
        lost: Array = means["reference"] - means["FAQ"]
        return 1 - lost / (means["reference"] - means[arm])

    lost = crossed_estimate(scores, lambda means: means["reference"] - means[arm])
    formed = lost.value > lost.half_width
    return {
        "kl_reduction": crossed_estimate(tasks, lambda means: 1 - means["FAQ"] / means[arm]).as_dict(),
        "points_recovered": crossed_estimate(scores, lambda means: means["FAQ"] - means[arm]).as_dict(),
        "loss_reduction": crossed_estimate(scores, reduction).as_dict() if formed else None,
    }


def markdown(member: str, result: dict[str, Any], device: str) -> str:
    """The table for the docs."""
    draws = max(arm["draws"] for arm in result["arms"].values())
    lines = [
        f"# {member}, GPTQ W3A16 per channel: {draws} draws, {result['questions']:,} questions",
        "",
        f"Made by `python -m benchmarks.claim --member {member} --draws {draws}` on {device}."
        f" Reference accuracy {_show(result['reference'], 100, 2)} %."
        " 95% intervals over draws and questions (KL: draws and sequences).",
        "",
        "| arm | KL on tasks, 1e-3 | KL on prose, 1e-3 | accuracy, % | loss, points | fitness |",
        "|---|---|---|---|---|---|",
    ]
    for name, arm in result["arms"].items():
        lines.append(
            f"| {name} | {_show(arm['kl'], 1e3, 2)} | {_show(arm['kl_prose'], 1e3, 2)} |"
            f" {_show(arm['accuracy'], 100, 2)} | {_show(arm['loss'], 100, 2)} | {arm['fitness']:.3f} |"
        )
    lines += ["", "| FAQ against | KL reduction | points recovered | loss reduction |", "|---|---|---|---|"]
    for name, row in result["faq_against"].items():
        figures = (_show(row["kl_reduction"], 1, 2), _show(row["points_recovered"], 100, 2))
        lines.append(f"| {name} | {' | '.join(figures)} | {_reduction(row['loss_reduction'])} |")
    formed = [result["faq_against"][name]["loss_reduction"] for name in ORIGINALS]
    smaller = min(formed, key=lambda figure: figure["value"]) if all(formed) else None
    lines += ["", f"**Headline**, the smaller of the two originals' loss reductions: {_reduction(smaller)}."]
    return "\n".join(lines) + "\n"


def _reduction(figure: dict[str, float] | None) -> str:
    return "not formed, the original's loss is within the noise" if figure is None else _show(figure, 1, 2)


def _show(figure: dict[str, float], scale: float, digits: int) -> str:
    value, low, high = (f"{figure[name] * scale:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def main() -> None:
    """Run or finish the study and write its documents."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no cell after this")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cells = run(arguments.member, arguments.draws, arguments.workers, arguments.minutes)
    result = summarise(cells)
    stem = arguments.out / f"claim-{arguments.member}"
    text = json.dumps({"result": result, "cells": cells}, indent=1)
    stem.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    report = markdown(arguments.member, result, cells[0]["device"])
    stem.with_suffix(".md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
