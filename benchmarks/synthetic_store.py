"""A store with as many candidates as wanted, written by the product's own writers.

Every cell has 500 seeds, 4 candidates a seed, 3 experts, one calibration sample a seed, a checkpoint and a
report; 25 cells share their seeds, as the draws of a study do. Texts are random words, about as long as
those of the embedded family. Cells belong to the members and recipes of the catalog in turn, one draw
after the other, so that `faq status` finds their uses.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faq_pipeline.core import stage_names
from faq_pipeline.lineage.uses import record_use
from faq_pipeline.planning.cell_plan import cell_plans
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.fingerprint import fingerprint, short_hash
from faq_pipeline.store.records import (
    TABLES,
    Candidate,
    CheckpointRow,
    EvaluationRow,
    Sample,
    Score,
    Seed,
    Standing,
)
from faq_pipeline.store.store import Key, Store
from faq_pipeline.store.tables import write_rows

SEEDS, GROUP, SHARED = 500, 4, 25
EXPERTS = ("degeneration", "target_likelihood", "teacher_likelihood")
METRICS = ("accuracy", "kl", "loss", "recovery")


@dataclass(frozen=True)
class Filled:
    """What was written: number of candidates and artifacts, and one id of each kind."""

    candidates: int
    artifacts: int
    ids: dict[str, str]


def fill(settings: Settings, candidates: int) -> Filled:
    """Write cells until there are at least so many candidates."""
    plans = [plan for plan in cell_plans(settings) if plan.cell is not None]
    drawn = random.Random(0)
    words = ["".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=drawn.randint(2, 9))) for _ in range(4000)]
    writer = _Writer(settings.store, drawn, words)
    ids: dict[str, str] = {}
    cells = -(-candidates // (SEEDS * GROUP))
    for number in range(cells):
        plan = plans[number % len(plans)]
        ids = writer.cell(number, plan.partition, f"cpu, draw {number // len(plans)}")
    return Filled(cells * SEEDS * GROUP, writer.artifacts, ids)


@dataclass
class _Writer:
    store: Store
    drawn: random.Random
    words: list[str]
    artifacts: int = 0
    seeds: Sequence[Seed] = ()
    shared: Sequence[Artifact] = ()

    def cell(self, number: int, partition: str, setting: str) -> dict[str, str]:
        """Write a cell; the ids of its last sample and of what that was made from."""
        if number % SHARED == 0:
            self._share(number)
        seeds, traces, reference = self.shared
        what, model = {"cell": number}, partition.partition("|")[0]
        candidates = [self._candidate(seed, place, model) for seed in self.seeds for place in range(GROUP)]
        corpus = self._put(stage_names.REGENERATED_CORPUS, what, [seeds], candidates=candidates)
        scores, standings = self._judged(candidates)
        judged = self._put(
            stage_names.COMPETITION_SCORES, what, [seeds, corpus], scores=scores, standings=standings
        )
        samples = self._samples(candidates[::GROUP])
        calibration = self._put(
            stage_names.CALIBRATION_SET, what, [seeds, corpus, judged, traces], samples=samples
        )
        row = CheckpointRow(model, "gptq", "W3A16", "64", 1_000_000 + number, 4_000_000)
        checkpoint = self._put(stage_names.QUANTIZED_CHECKPOINT, what, [calibration], checkpoints=[row])
        report = self._put(
            stage_names.EVAL_REPORT, what, [checkpoint, reference], evaluations=self._figures()
        )
        for made in (*self.shared, corpus, judged, calibration, checkpoint, report):
            licences = {"base": "Apache-2.0", "teacher": "Apache-2.0"}
            record_use(self.store, partition, made.path.parent.name, made.path.name, licences, setting)
        return {
            "seed": samples[-1].seed_id,
            "candidate": samples[-1].candidate_id,
            "sample": samples[-1].id,
            "checkpoint": checkpoint.path.name,
            "report": report.path.name,
        }

    def _share(self, number: int) -> None:
        self.seeds = [
            Seed(f"seed-{number}-{i:03}", self._text(20), "question", self._text(2), "sums", "made", "MIT")
            for i in range(SEEDS)
        ]
        what = {"shared": number}
        self.shared = (
            self._put(stage_names.SEED_DATA, what, [], seeds=list(self.seeds)),
            self._put(stage_names.INFERENCE_TRACES, what, []),
            self._put(stage_names.REFERENCE_EVAL, what, [], evaluations=self._figures()),
        )

    def _candidate(self, seed: Seed, position: int, model: str) -> Candidate:
        reasoning, answer = self._text(36), self._text(6)
        text = f"<think>\n{reasoning}\n</think>\n\n{answer}"
        return Candidate(
            short_hash(f"{seed.id}|{position}|teacher|{text}".encode()),
            seed.id,
            position,
            "teacher",
            model,
            f"<|im_start|>user\n{seed.text}<|im_end|>\n<|im_start|>assistant\n",
            text,
            reasoning,
            answer,
            60 + len(text) % 30,
            -self.drawn.random() * 40,
            "stop",
        )

    def _judged(self, candidates: Sequence[Candidate]) -> tuple[list[Score], list[Standing]]:
        """The first candidate of each group wins."""
        scores = [
            Score(one.id, one.seed_id, expert, -self.drawn.random(), self.drawn.gauss(0, 1))
            for one in candidates
            for expert in EXPERTS
        ]
        standings = [
            Standing(one.id, one.seed_id, 1.0 - one.position / GROUP, one.position + 1, one.position == 0)
            for one in candidates
        ]
        return scores, standings

    def _samples(self, winners: Sequence[Candidate]) -> list[Sample]:
        return [
            Sample(
                short_hash(f"sample {one.id}".encode()),
                one.id,
                one.seed_id,
                "sums",
                row,
                0,
                one.tokens,
                one.text,
            )
            for row, one in enumerate(winners)
        ]

    def _figures(self) -> list[EvaluationRow]:
        return [EvaluationRow("all", metric, self.drawn.random(), 0.0, 1.0, 256) for metric in METRICS]

    def _text(self, words: int) -> str:
        return " ".join(self.drawn.choices(self.words, k=words))

    def _put(
        self, stage: str, identity: dict[str, Any], inputs: Sequence[Artifact], **tables: list[Any]
    ) -> Artifact:
        def build(folder: Path) -> dict[str, Any]:
            for name, rows in tables.items():
                write_rows(folder / f"{name}.parquet", rows, TABLES[name])
            if not tables:
                (folder / "data.txt").write_text(str(identity), encoding="utf-8")
            return {"rows": {name: len(rows) for name, rows in tables.items()}}

        digests = {one.path.parent.name: one.digest for one in inputs}
        upstream = {one.path.parent.name: one.path.name for one in inputs}
        key = Key(stage, 1, fingerprint(stage, 1, identity, digests), identity, digests, upstream)
        self.artifacts += 1
        return self.store.produce(key, build)[0]


def add_artifact(store: Store, number: int) -> Artifact:
    """Write one small artifact more."""

    def build(folder: Path) -> dict[str, Any]:
        row = CheckpointRow("synthetic@00000000", "gptq", "W4A16", "128", number, number)
        write_rows(folder / "checkpoints.parquet", [row], CheckpointRow)
        return {}

    identity = {"more": number, "when": time.time_ns()}
    name = fingerprint(stage_names.QUANTIZED_CHECKPOINT, 1, identity, {})
    return store.produce(Key(stage_names.QUANTIZED_CHECKPOINT, 1, name, identity, {}, {}), build)[0]
