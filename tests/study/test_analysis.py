"""What a study says: headline, pairs, fitness and the report, on scores whose truth is known."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest

from faq_pipeline.errors import FaqError
from faq_pipeline.study.analysis.analysis import Analysis, analyse
from faq_pipeline.study.analysis.crossed import Crossed, Figure
from faq_pipeline.study.analysis.fitness_correlation import rank_correlation
from faq_pipeline.study.analysis.headline import Headline, choose, headline
from faq_pipeline.study.analysis.outcomes import Condition, ScoreKey, samples
from faq_pipeline.study.analysis.pairs import compare_pairs
from faq_pipeline.study.design.cells import Design, StudyCell
from faq_pipeline.study.execution.results import Result
from faq_pipeline.study.report.block import reduction
from faq_pipeline.study.report.content import blocks, headline_words
from faq_pipeline.study.report.report import write_report
from tests.study.tiny_study import Change, designed, results_of, scores_of, write_study

LOSS = {
    "faq": 0.04,
    "self": 0.04,
    "original-raw": 0.10,
    "original-chat": 0.12,
    "teacher-one": 0.05,
    "teacher-random": 0.05,
    "random-tokens": 0.2,
    "rtn": 0.15,
    "one": 0.04,
}


ONE = "one: {title: one draw, draws: 1}"


def lost(cell: StudyCell) -> float:
    return LOSS[cell.arm]


@pytest.fixture
def eight(data: Path, tmp_path: Path) -> Design:
    """Eight draws, four pilots."""
    write_study(data, ("draws: 2", "draws: 8"), ("[10, 11]", "[10, 11, 12, 13]"))
    return designed(data, tmp_path / "digests")


def with_restricted_pairs(data: Path, tmp_path: Path) -> Design:
    """The headline arm against an original as one pair for each quantizer, and against `self` under all."""
    pair = "  - {arm: faq, than: original-raw, isolates: regeneration"
    each = "".join(f"{pair}, quantizers: [{quantizer}]}}\n" for quantizer in ("gptq-w3", "gptq-w4"))
    write_study(data, (f"{pair}}}\n", each))
    return designed(data, tmp_path / "digests")


def analysed(design: Design, loss: Callable[[StudyCell], float] = lost, seed: int = 0) -> Analysis:
    results = results_of(design)
    return analyse(design, results, list(scores_of(design, results, loss, seed=seed)))


def test_the_headline_is_formed_against_the_better_original(eight: Design) -> None:
    found = analysed(eight)
    assert [(one.condition, one.primary) for one in found.chosen] == [(Condition("tiny-s", "gptq-w3"), True)]
    assert found.headline.originals == {Condition("tiny-s", "gptq-w3"): "original-raw"}
    figure = found.headline.figure
    assert figure is not None and figure.draws == 8
    assert figure.low < 0.6 < figure.high and figure.value == pytest.approx(0.6, abs=0.15)
    # One quantizer of one target is primary: its parts are the whole.
    assert {name: one.figure for name, one in found.parts.items()} == {"gptq-w3": figure, "tiny-s": figure}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 0.4, ""), (-0.2, 0.3, "**not shown**"), (-0.5, -0.1, "**more is lost**")],
)
def test_the_headline_in_words_follows_its_interval(low: float, high: float, said: str) -> None:
    figure = Figure((low + high) / 2, low, high, se=0.1, df=7, p=0.01, mde=0.1, draws=8)
    words = headline_words(Headline(figure, {Condition("tiny-s", "gptq-w3"): "original-raw"}, ""))
    assert "over 1 primary cell (target x quantizer), 8 draws." in words
    assert [mark for mark in ("**not shown**", "**more is lost**") if mark in words] == [said] * bool(said)


def test_where_the_originals_lose_little_nothing_is_primary(eight: Design) -> None:
    found = analysed(eight, lambda cell: 0.005 if cell.arm.startswith("original") else 0.0)
    assert not found.chosen[0].primary
    assert found.headline.figure is None and found.headline.reason == "no condition is primary"


def test_the_headlines_interval_holds_the_truth(eight: Design) -> None:
    """1 - 0.04 / 0.10, and the other original is far worse."""
    results, held, formed = results_of(eight), 0, 0
    cells = [cell for cell in eight.cells if cell.judged]
    small = replace(eight, cells=tuple(cells))
    for seed in range(50):
        scores = list(scores_of(small, results, lost, questions=500, seed=seed))
        losses = Crossed(samples([s for s in scores if not s.cell.pilot], "loss"), resamples=300)
        pilot = Crossed(samples([s for s in scores if s.cell.pilot], "loss"), resamples=300)
        found = headline(eight.study, losses, choose(eight.study, pilot, [Condition("tiny-s", "gptq-w3")]))
        if found.figure is not None:  # on draws of its own the original lost enough
            formed += 1
            held += found.figure.low <= 0.6 <= found.figure.high
    assert formed >= 30 and held / formed >= 0.88


def test_draws_of_the_headline_do_not_decide_what_is_primary(eight: Design) -> None:
    """Originals that lose much on the headline's draws and nothing on the pilots' are not primary."""
    found = analysed(eight, lambda cell: 0.0 if cell.pilot else lost(cell))
    assert found.headline.figure is None
    assert found.everywhere.figure is not None  # told beside it, as what it is


def test_pairs_say_what_is_shown_and_what_is_not(eight: Design) -> None:
    found = {(one.pair.than, one.outcome): one for one in analysed(eight).pairs}
    better = found["original-raw", "loss"]
    assert better.figure is not None and better.figure.value == pytest.approx(0.06, abs=0.02)
    assert better.verdict == "shown: better"
    assert better.holm is not None and better.holm >= better.figure.p
    assert found["self", "loss"].figure is None  # it answers no questions
    assert found["self", "kl"].verdict == "not shown"
    assert found["self", "kl_prose"].holm is None
    raw = found["original-raw", "kl"].figure
    assert raw is not None and raw.value == pytest.approx(np.log(0.101 / 0.041), abs=0.25)
    assert set(found["original-raw", "kl"].conditions) == {
        Condition("tiny-s", "gptq-w3"),
        Condition("tiny-s", "gptq-w4"),
    }


@pytest.mark.parametrize(("draws", "said"), [(1, ", in one draw"), (2, ", in two draws"), (3, "")])
def test_what_few_draws_show_is_said_with_their_number(eight: Design, draws: int, said: str) -> None:
    results = results_of(eight)
    made = [one for one in scores_of(eight, results, lost) if one.cell.pilot or one.cell.draw < draws]
    found = analyse(eight, results, made)
    better = {one.verdict for one in found.pairs if one.verdict.startswith("shown: better")}
    assert better == {f"shown: better{said}"}
    assert bool(said) == any("fewer than three draws" in text for text in blocks(found)[0].text)


def test_arms_with_fewer_draws_by_declaration_are_named(data: Path, tmp_path: Path) -> None:
    def said(*changes: Change) -> list[str]:
        write_study(data, ("draws: 2", "draws: 3"), *changes)
        text = blocks(analysed(designed(data, tmp_path / "digests")))[0].text
        return [line for line in text if "declaration" in line]

    (line,) = said(("{title: self,", "{title: self, draws: 2,"), ("{title: FAQ}", "{title: FAQ}\n  " + ONE))
    assert "first draws of `one` (1 of 3), `self` (2 of 3);" in line
    assert (
        said(("{title: self,", "{title: self, draws: 3,"), ("{title: round", "{draws: 1, title: round")) == []
    )


def test_holm_takes_back_what_many_comparisons_find_by_chance(data: Path, tmp_path: Path) -> None:
    pairs = "".join(
        f"  - {{arm: {a}, than: {b}, isolates: nothing}}\n"
        for a in ("faq", "self", "teacher-one", "teacher-random", "random-tokens")
        for b in ("faq", "self", "teacher-one", "teacher-random", "random-tokens")
        if a < b
    )
    write_study(
        data, ("draws: 2", "draws: 5"), ("pairs:\n", f"pairs:\n{pairs}"), ("cells:\n", "cells:\n    - {}\n")
    )
    design = designed(data, tmp_path / "digests")
    results, alone, corrected = results_of(design), 0, 0
    for seed in range(12):
        scores = scores_of(design, results, lambda cell: 0.05, questions=100, seed=seed)
        counted = [one for one in scores if not one.cell.pilot]
        outcomes = {
            name: Crossed(samples(counted, name), log=log, resamples=300)
            for name, log in (("loss", False), ("kl", True))
        }
        tested = [one for one in compare_pairs(design.study, outcomes) if one.holm is not None]
        assert len(tested) == 2 * 12
        alone += any(one.figure is not None and one.figure.p < 0.05 for one in tested)
        corrected += any(one.verdict.startswith("shown") for one in tested)
    assert corrected <= 2 < alone


def test_fitness_that_predicts_kl_is_seen_and_noise_is_not(eight: Design) -> None:
    found = analysed(eight).fitness
    assert [one.condition.quantizer for one in found] == ["gptq-w3", "gptq-w4"]
    for one in found:
        assert one.estimate is not None and one.estimate.value > 0.8 and one.estimate.low > 0.5
        assert len(one.points) == 7 * 8  # round to nearest has no calibration set
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(30):
        points = [(f"a{i % 5}", i // 5, *generator.random(2)) for i in range(40)]
        estimate = rank_correlation([(a, d, float(f), float(k)) for a, d, f, k in points])
        assert estimate is not None
        held += estimate.low <= 0 <= estimate.high
    assert held >= 26


def test_cells_beside_another_reference_are_refused(eight: Design) -> None:
    results = results_of(eight)
    scores = list(scores_of(eight, results, lost))
    odd = next(i for i, one in enumerate(scores) if one.cell.arm == "self")
    scores[odd] = scores[odd].__class__(**{**vars(scores[odd]), "tokens": scores[odd].tokens + 1})
    with pytest.raises(FaqError, match="were measured on different texts"):
        analyse(eight, results, scores)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_study_of_multiple_choice_is_reported_without_divergence_on_tasks(
    design: Design, tmp_path: Path
) -> None:
    results, none = results_of(design), np.empty(0)
    scores = [replace(one, kl=none, tokens=none) for one in scores_of(design, results, lost)]
    found = analyse(design, results, scores)
    assert found.fitness == [] and {arm.kl for arm in found.arms} == {None}
    assert {row.kl for row in found.rows} == {None} and all(row.kl_prose for row in found.rows)
    assert all(arm.kl_prose is not None for arm in found.arms)
    write_report(tmp_path, found)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text and "Infinity" not in text


def test_pairs_that_differ_in_their_quantizers_share_the_table_beside_the_originals(
    data: Path, tmp_path: Path
) -> None:
    found = analysed(with_restricted_pairs(data, tmp_path))
    table = next(block for block in blocks(found) if block.heading.endswith("cell by cell"))
    on_tasks = table.columns.index("KL on tasks lower than of original, raw by, %")
    assert [row[:2] for row in table.rows] == [["tiny-s", "gptq-w3"], ["tiny-s", "gptq-w4"]]
    own = {
        condition.quantizer: reduction(figure)
        for one in found.pairs
        if (one.pair.than, one.outcome) == ("original-raw", "kl")
        for condition, figure in one.conditions.items()
    }
    assert {row[1]: row[on_tasks] for row in table.rows} == own


def test_the_report_holds_every_cell_and_says_what_is_not_shown(design: Design, tmp_path: Path) -> None:
    results = results_of(design)
    failed = next(c for c in design.cells if c.arm == "faq" and c.draw == 1 and c.quantizer == "gptq-w4")
    missing = next(c for c in design.cells if c.arm == "self" and c.draw == 0)
    results[failed.id] = Result(failed.id, failed.declared, False, {}, problem="fell back | to nearest")
    del results[missing.id]
    kept = replace(design, cells=tuple(c for c in design.cells if c not in (failed, missing)))
    analysis = analyse(design, results, list(scores_of(kept, results, lost)))
    write_report(tmp_path, analysis)

    rows = list(csv.DictReader((tmp_path / "cells.csv").open()))
    assert [row["status"] for row in rows].count("finished") == len(design.cells) - 2
    assert {(row["arm"], row["status"]) for row in rows} >= {("faq", "failed"), ("self", "missing")}
    judged = [row for row in rows if row["accuracy"]]
    assert judged and all(0 <= float(row["short_replies"]) <= 1 for row in judged)
    assert pq.read_table(tmp_path / "cells.parquet").num_rows == len(design.cells)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["cells"] == {"finished": len(design.cells) - 2, "failed": 1, "missing": 1}

    text = (tmp_path / "report.md").read_text()
    assert "FAQ against self" in text and "not shown" in text
    assert "fell back \\| to nearest" in text and "1 failed, " in text
    assert "| a processor | 2 | abc | torch 1 |" in text
    assert "beside the originals, cell by cell" in text
    assert "(forest.svg)" in text and (tmp_path / "forest.svg").is_file()
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2 and "<img" not in page  # one file
    assert "<code>trial</code>" in page and "**" not in page


def test_the_forest_plot_tells_pairs_apart_that_differ_in_their_quantizers(
    data: Path, tmp_path: Path
) -> None:
    write_report(tmp_path, analysed(with_restricted_pairs(data, tmp_path)))
    texts = [one.text for one in ElementTree.parse(tmp_path / "forest.svg").iter() if one.text]
    labels = [text for text in texts if text.startswith(("FAQ", "against ", "under "))]
    original = ["FAQ", "against original, raw"]
    assert labels == [*original, "under gptq-w3", *original, "under gptq-w4", "FAQ", "against self"]


def test_equal_results_give_equal_bytes(design: Design, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, analysed(design))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_keys_name_their_spot() -> None:
    assert ScoreKey("m", "q", "a").condition == Condition("m", "q")
