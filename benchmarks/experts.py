"""Speed and memory of the experts that run the target, beside loops over samples.

    python -m benchmarks.experts [--member kin-4m] [--samples 510] [--naive 48] [--rounds 3] [--out FILE]

The corpus is made of held-out questions of the family kin with their written-out reasoning, three
candidates each. In each round every expert scores it, and the loop of `benchmarks.naive` scores an
even part of it; the order alternates. Both begin with rendering and tokenizing, and with the traces
where they look at traces: 64, of which the loop gets the same part. The loop runs the target in
bf16, and again in the precision that our experts compute in, where that is another. Samples per
second are counted by the wall clock, and by this process's own CPU time, which other processes on
the machine disturb less.

Then each expert scores a corpus of --samples and one of four times as many, each in a process of its
own, and the peaks of their memory are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import naive
from faq_pipeline.competition.expert import Context, Group
from faq_pipeline.competition.experts import EXPERTS
from faq_pipeline.competition.experts.target_likelihood import _exchange, _ids
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.models.device import gpu_name
from faq_pipeline.models.loading import load_model
from faq_pipeline.quantization.rounding import rounded_copy
from faq_pipeline.settings import Settings
from faq_pipeline.store.records import Candidate, Seed, Trace
from training.questions import balanced
from training.settings import settings as family_settings

NAMES = ("target_likelihood", "activation_fidelity", "outlier_coverage", "sensitivity")
STYLES = 3
TRACES = 64


@dataclass(frozen=True)
class Took:
    """One pass over so many samples."""

    expert: str
    arm: str
    samples: int
    wall: float
    cpu: float

    def rate(self, clock: str) -> float:
        """Samples a second."""
        return self.samples / float(getattr(self, clock))


def main() -> None:
    """Measure, print and write."""
    options = _options()
    settings = Settings.from_environment()
    recipe = settings.catalog.recipe(options.recipe)
    cell = resolve_cell(settings.catalog, options.member, recipe, settings.device, settings.digests)
    if options.peak:
        score(cell, options.peak, groups(options.samples))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    took = _speeds(cell, options)
    result: dict[str, Any] = {
        "device": cell.device if cell.device == "cpu" else gpu_name(),
        "options": vars(options),
        "passes": [asdict(one) for one in took],
        "speeds": {name: _report(name, took) for name in NAMES if took},
        "peak_bytes": {name: _peaks(name, options) for name in NAMES if options.memory},
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")


def groups(candidates: int, split: str = "seeds") -> list[Group]:
    """So many candidates (at least), in groups of one a style of reasoning."""
    found = []
    for number, problem in enumerate(balanced(family_settings("kin"), split, -(-candidates // STYLES))):
        seed = Seed(f"s{number}", problem.question, "question", problem.answer, problem.task, "", "")
        found.append(Group(seed, tuple(_candidate(seed, i, t) for i, t in enumerate(problem.thoughts))))
    return found


def score(cell: Cell, name: str, given: Sequence[Group]) -> list[float | None]:
    """An expert's scores, the target loaded and let go."""
    context = Context(cell, traces=_traces(cell))
    try:
        return EXPERTS[name].score(given, context)
    finally:
        context.close()


def _candidate(seed: Seed, position: int, thought: str) -> Candidate:
    text = f"<think>\n{thought}\n</think>\n\n{seed.answer}"
    return Candidate(
        f"{seed.id}-{position}", seed.id, position, "teacher", "t", "", text, thought, str(seed.answer),
        0, None, "stop",
    )  # fmt: skip


def _traces(cell: Cell) -> list[Trace]:
    samples = list(Context(cell).samples(groups(TRACES, "development")))
    return [Trace(f"t{i}", "", list(ids), 1) for i, ids in enumerate(samples[:TRACES])]


def _speeds(cell: Cell, options: argparse.Namespace) -> list[Took]:
    context = Context(cell, traces=_traces(cell))
    everything = groups(options.samples)
    step = max(1, len(everything) * STYLES // options.naive)
    part = everything[::step]
    loaded = load_model(cell.target, cell.device, "bfloat16")
    models = {"loop": loaded}
    if context.model.dtype != loaded.dtype:
        models[f"loop in {str(context.model.dtype).removeprefix('torch.')}"] = context.model
    copies = {arm: rounded_copy(model, cell.recipe.quantization) for arm, model in models.items()}
    took = []
    for number in range(options.rounds):
        for name in NAMES:
            arms: list[tuple[str, Sequence[Group], Callable[[Sequence[Group]], Any]]] = [
                ("ours", everything, lambda given, name=name: EXPERTS[name].score(given, context))
            ]
            for arm, model in models.items():
                arms.append((arm, part, _loop(name, context, model, copies[arm], step)))
            for arm, given, run in arms if number % 2 else reversed(arms):
                took.append(_timed(name, arm, given, run))
                print(f"round {number + 1}, {_line(took[-1])}", flush=True)
    return took


def _loop(name: str, context: Context, model: Any, copy: Any, step: int) -> Callable[[Sequence[Group]], Any]:
    """The loop over groups; `step`: of how many traces it looks at one."""

    def run(given: Sequence[Group]) -> list[float]:
        if name == "target_likelihood":
            texts = [_exchange(group.seed, c, context) for group in given for c in group.candidates]
            items = [(_ids(context, text.prompt), _ids(context, text.reply)) for text in texts]
            return naive.target_likelihood(model, items)
        samples = list(context.samples(given))
        if name == "sensitivity":
            return naive.sensitivity(model, copy, samples)
        loop = naive.activation_fidelity if name == "activation_fidelity" else naive.outlier_coverage
        return loop(model, samples, [trace.input_ids for trace in context.traces[::step]])

    return run


def _timed(name: str, arm: str, given: Sequence[Group], run: Callable[[Sequence[Group]], Any]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    count = len(run(given))
    return Took(name, arm, count, time.perf_counter() - wall, time.process_time() - cpu)


def _report(name: str, took: Sequence[Took]) -> dict[str, Any]:
    """Medians over the rounds, printed and returned."""
    own = [one for one in took if one.expert == name]
    found: dict[str, Any] = {}
    for arm in dict.fromkeys(one.arm for one in own):
        of_arm = [one for one in own if one.arm == arm]
        found[arm] = {clock: statistics.median(o.rate(clock) for o in of_arm) for clock in ("wall", "cpu")}
    ours = [one for one in own if one.arm == "ours"]
    for arm in [arm for arm in found if arm != "ours"]:
        loops = [one for one in own if one.arm == arm]
        pairs = list(zip(ours, loops, strict=True))
        ratios = {c: statistics.median(a.rate(c) / b.rate(c) for a, b in pairs) for c in ("wall", "cpu")}
        found[f"ours over {arm}"] = ratios
        print(f"{name}: ours over {arm}: {ratios['wall']:.1f} by the clock, {ratios['cpu']:.1f} by CPU time")
    return found


def _peaks(name: str, options: argparse.Namespace) -> list[int]:
    """Peak resident bytes for the corpus and for four times as much, printed and returned."""
    found = []
    for count in (options.samples, 4 * options.samples):
        command = [sys.executable, "-m", "benchmarks.experts", "--member", options.member, "--peak", name]
        command += ["--samples", str(count), "--recipe", options.recipe]
        # Blocks go back to the system when they are freed: the peak is what is in use.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(int(done.stdout.split()[-1]))
    sizes = " and ".join(f"{peak / 2**20:.0f} MiB" for peak in found)
    print(f"{name}: peak memory {sizes} for {options.samples} and {4 * options.samples} samples", flush=True)
    return found


def _line(took: Took) -> str:
    return (
        f"{took.expert}, {took.arm}: {took.rate('wall'):.1f} samples/s by the clock,"
        f" {took.rate('cpu'):.1f} by CPU time ({took.samples} samples)"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--recipe", default="faq-gptq-w3a16", help="whose scheme sensitivity rounds by")
    parser.add_argument("--samples", type=int, default=510)
    parser.add_argument("--naive", type=int, default=48, help="samples that the loops score")
    parser.add_argument("--rounds", type=int, default=3, help="of the speeds; 0: memory only")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="speeds only")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
