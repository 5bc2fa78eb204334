"""A store with one small but complete cell, from seeds to report, written through `Store.produce`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faq_pipeline.lineage.uses import record_use
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

FAQ = "tiny-s@11112222|tiny-faq"
RTN = "tiny-s@11112222|tiny-rtn"
TEACHER = "tiny-l@33334444"
EXPERTS = ("length", "teacher_likelihood")

SEEDS = [
    Seed("s0", "What is 1 + 1?", "question", "2", "sums", "book one", "Apache-2.0"),
    Seed("s1", "The river town.", "text", None, "prose", "book two", "CC-BY-4.0"),
    Seed("s10", "What is 9 - 2?", "question", "7", "sums", "book one", "Apache-2.0"),
]


def put(
    store: Store,
    stage: str,
    inputs: Sequence[Artifact] = (),
    identity: dict[str, Any] | None = None,
    **tables: list[Any],
) -> Artifact:
    """An artifact with these lineage tables."""

    def build(folder: Path) -> dict[str, Any]:
        for name, rows in tables.items():
            write_rows(folder / f"{name}.parquet", rows, TABLES[name])
        if not tables:
            (folder / "data.txt").write_text(str(identity))
        return {"rows": sum(map(len, tables.values()))}

    digests = {one.manifest.stage: one.digest for one in inputs}
    upstream = {one.manifest.stage: one.fingerprint for one in inputs}
    identity = identity or {}
    name = fingerprint(stage, 1, identity, digests)
    return store.produce(Key(stage, 1, name, identity, digests, upstream), build)[0]


def candidate(seed: Seed, position: int) -> Candidate:
    text = f"<think>think {position}</think>{seed.answer or seed.text} no. {position}"
    return Candidate(
        id=short_hash(f"{seed.id}|{position}|teacher|{text}".encode()),
        seed_id=seed.id,
        position=position,
        source="teacher",
        model=TEACHER,
        prompt=f"<|im_start|>{seed.text}",
        text=text,
        reasoning=f"think {position}",
        answer=f"{seed.answer or seed.text} no. {position}",
        tokens=10 + position,
        logprob=-1.5 * position,
        finish="stop",
    )


def standings(candidates: list[Candidate], best: int = 1) -> list[Standing]:
    """Of each group of three, number `best` wins with total 0.9; the others follow by position."""
    rows = []
    for one in candidates:
        behind = (one.position - best) % 3
        rows.append(Standing(one.id, one.seed_id, 0.9 - 0.4 * behind, behind + 1, behind == 0))
    return rows


def scores(candidates: list[Candidate]) -> list[Score]:
    """`length` scores all; `teacher_likelihood` abstains on prose."""
    rows = []
    for one in candidates:
        rows.append(Score(one.id, one.seed_id, "length", float(one.tokens), one.position - 1.0))
        abstains = one.seed_id == "s1"
        raw, normalised = (None, None) if abstains else (one.logprob, one.position * 0.5)
        rows.append(Score(one.id, one.seed_id, "teacher_likelihood", raw, normalised))
    return rows


def samples(candidates: list[Candidate], places: list[Standing]) -> list[Sample]:
    won = {place.candidate_id for place in places if place.winner}
    winners = [one for one in candidates if one.id in won]
    return [
        Sample(
            id=short_hash(f"sample {one.id}".encode()),
            candidate_id=one.id,
            seed_id=one.seed_id,
            domain="sums",
            row=number // 2,
            start=20 * (number % 2),
            tokens=20,
            text=one.text,
        )
        for number, one in enumerate(winners)
    ]


def evaluations(recovery: float) -> list[EvaluationRow]:
    return [
        EvaluationRow("all", "accuracy", 0.8 * recovery, 0.7 * recovery, 0.9 * recovery, 40),
        EvaluationRow("all", "recovery", recovery, recovery - 0.1, recovery + 0.1, 40),
        EvaluationRow("prose", "kl", 0.05, None, None, 6),
    ]


def fill(store: Store, *, draw: int = 0, note: bool = True) -> dict[str, Artifact]:
    """All stages of the FAQ cell and of the round-to-nearest cell; by name of the artifact."""
    drawn = {"draw": draw}
    made: dict[str, Artifact] = {}
    made["seeds"] = put(store, "seed_data", identity=drawn, seeds=SEEDS)
    candidates = [candidate(seed, position) for seed in SEEDS for position in range(3)]
    made["corpus"] = put(store, "regenerated_corpus", [made["seeds"]], drawn, candidates=candidates)
    places = standings(candidates, best=1 + draw)
    made["scores"] = put(
        store,
        "competition_scores",
        [made["seeds"], made["corpus"]],
        drawn,
        scores=scores(candidates),
        standings=places,
    )
    made["traces"] = put(store, "inference_traces", identity={"target": "11112222"})
    made["calibration"] = put(
        store,
        "calibration_set",
        [made["seeds"], made["corpus"], made["scores"], made["traces"]],
        drawn,
        samples=samples(candidates, places),
    )
    gptq = CheckpointRow("tiny-s@11112222", "gptq", "W3A16", "64", 1000 + draw, 4000)
    rtn = CheckpointRow("tiny-s@11112222", "rtn", "W3A16", "64", 1001, 4000)
    made["checkpoint"] = put(
        store, "quantized_checkpoint", [made["calibration"]], {"method": "gptq"}, checkpoints=[gptq]
    )
    made["rtn"] = put(store, "quantized_checkpoint", [], {"method": "rtn"}, checkpoints=[rtn])
    made["reference"] = put(
        store, "reference_eval", evaluations=[EvaluationRow("all", "accuracy", 0.8, 0.7, 0.9, 40)]
    )
    for name, checkpoint, recovery in (("report", "checkpoint", 0.95), ("rtn_report", "rtn", 0.7)):
        made[name] = put(
            store,
            "eval_report",
            [made[checkpoint], made["reference"]],
            evaluations=evaluations(recovery),
        )
    if note:
        note_uses(store, made)
    return made


def note_uses(store: Store, made: dict[str, Artifact]) -> None:
    """What the two cells used."""
    both = {"base": "Apache-2.0", "teacher": "MIT"}
    for name, artifact in made.items():
        stage = artifact.manifest.stage
        if name in ("rtn", "rtn_report", "reference"):
            record_use(store, RTN, stage, artifact.fingerprint, {"base": "Apache-2.0"})
        if name not in ("rtn", "rtn_report"):
            record_use(store, FAQ, stage, artifact.fingerprint, both)
