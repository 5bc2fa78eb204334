"""A study of the tiny family, and scores of it that no model made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.stats import norm

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.study.analysis.costs import Cost
from faq_pipeline.study.analysis.outcomes import Scores
from faq_pipeline.study.design.cells import Design, StudyCell, resolve_study
from faq_pipeline.study.execution.results import Result

STUDY = """\
name: trial
title: A trial
families:
  tiny:
    recipe: tiny-faq
    members: [tiny-s]
    splits:
      development: {tasks: [tiny_sums], limit: 4}
      test: {tasks: [tiny_sums]}
base:
  seeds: {path: ../seeds/prose.jsonl}
  evaluation: {batch_size: 8}
split: test
draws: 2
headline: faq
originals: {raw: original-raw, chat: original-chat}
primary: {draws: [10, 11], split: development}
arms:
  faq: {title: FAQ}
  original-raw:
    title: original, raw
    regeneration: &none {source: original, candidates: 1, sampling: null}
    competition: &random {selection: random, experts: null}
    calibration: {template: raw}
  original-chat: {title: "original, templated", regeneration: *none, competition: *random}
  self: {title: self, regeneration: {source: self, candidates: 12}}
  teacher-one: {title: "teacher, one sample", regeneration: {candidates: 1}}
  teacher-random: {title: "teacher, random of K", competition: *random}
  random-tokens:
    title: random tokens
    regeneration: {source: random, candidates: 1, sampling: null}
    competition: *random
  rtn: {title: round to nearest, quantization: {method: rtn}}
quantizers:
  gptq-w3: {method: gptq, scheme: W3A16}
  gptq-w4: {method: gptq, scheme: W4A16}
accuracy:
  cells:
    - {arms: [faq, original-raw, original-chat, rtn], quantizers: [gptq-w3]}
pairs:
  - {arm: faq, than: original-raw, isolates: regeneration}
  - {arm: faq, than: self, isolates: family}
"""

Change = tuple[str, str]


def write_study(data: Path, *changes: Change, name: str = "trial") -> Path:
    """The study above in a data folder, with texts replaced."""
    text = STUDY
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = data / f"studies/{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def designed(data: Path, digests: Path, name: str = "trial") -> Design:
    return resolve_study(Catalog((data,)), name, "cpu", digests)


def line_of(path: Path, text: str) -> int:
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def results_of(design: Design) -> dict[str, Result]:
    """Every cell finished, on one machine."""
    machine = {
        "kind": "cpu",
        "device": "a processor",
        "cores": 2,
        "commit": "abc",
        "versions": {"torch": "1"},
    }
    return {c.id: Result(c.id, c.declared, c.judged, {}, machine=machine) for c in design.cells}


def scores_of(
    design: Design,
    results: dict[str, Result],
    loss: Callable[[StudyCell], float],
    *,
    questions: int = 400,
    seed: int = 0,
) -> Iterator[Scores]:
    """Scores in which a cell loses about so large a share of the questions, and KL follows the loss."""
    generator = np.random.default_rng(seed)
    shared = {split: generator.normal(size=questions) for split in ("test", "development")}
    for cell in design.cells:
        share = loss(cell)
        # Half of what decides a question is the question's own.
        ease = (shared[cell.split] + generator.normal(size=questions)) / np.sqrt(2)
        threshold = norm.ppf(share)
        kl = 0.001 + share * generator.lognormal(0, 0.2, 40)
        yield Scores(
            cell=cell,
            result=results[cell.id],
            reference=np.ones(questions) if cell.judged else None,
            correct=(ease > threshold).astype(np.float64) if cell.judged else None,
            questions=(cell.split,),
            short_replies=share if cell.judged else None,
            kl=kl * 50,
            tokens=np.full(40, 50.0),
            kl_prose=kl * 20,
            tokens_prose=np.full(40, 20.0),
            fitness=None if cell.arm == "rtn" else share * float(generator.lognormal(0, 0.1)) + 0.01,
            calibration_tokens=None if cell.arm == "rtn" else 512,
            cost=Cost(1000 if cell.arm == "faq" else 0, {"regenerated_corpus": 2.0, "calibration_set": 1.0}),
        )
