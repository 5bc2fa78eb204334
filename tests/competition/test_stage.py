from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from faq_pipeline.competition.answers import RULES
from faq_pipeline.competition.stage import COMPETITION_SCORES
from faq_pipeline.config.recipe import Dataset, Seeds
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build
from faq_pipeline.errors import FaqError
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Candidate, Score, Seed, Standing, Trace
from faq_pipeline.store.tables import read_rows, write_rows
from tests.competition.groups import make_candidate, make_seed


def with_competition(cell: Cell, draw: int = 0, **changes: object) -> Cell:
    competition = cell.recipe.competition.model_copy(update=changes)
    return cell.with_recipe(cell.recipe.model_copy(update={"competition": competition, "draw": draw}))


def build(cell: Cell, root: Path, seeds: list[Seed], candidates: list[Candidate]) -> tuple[dict, Path]:
    for name in (*COMPETITION_SCORES.inputs, "out"):
        (root / name).mkdir(parents=True)
    write_rows(root / "seed_data/seeds.parquet", seeds, Seed)
    write_rows(root / "regenerated_corpus/candidates.parquet", candidates, Candidate)
    traces = [Trace(f"t{i}", "a", [(5 * i + j) % 300 for j in range(20 + i)], 5) for i in range(3)]
    write_rows(root / "inference_traces/traces.parquet", traces, Trace)
    upstream = {name: Artifact(root / name) for name in COMPETITION_SCORES.inputs_for(cell)}
    return COMPETITION_SCORES.build(Build(cell, upstream, root / "out", root / "ledgers")), root / "out"


def corpus() -> tuple[list[Seed], list[Candidate]]:
    """Three groups: right and wrong answers; no known answer; nothing eligible."""
    seeds = [make_seed("s0"), make_seed("s1", answer=None), make_seed("s2")]
    texts = {
        "s0": ["Answer: 8", "Answer: 7", "Answer: 9"],
        "s1": ["The river town.", "", "The town of Mira had a harvest, and then she gives apples away."],
        "s2": ["Answer: 7", "she and he " * 40],
    }
    candidates = [
        make_candidate(
            i,
            text,
            id=f"{seed}-{i}",
            seed_id=seed,
            finish="length" if (seed, i) == ("s2", 0) else "stop",
            logprob=-float(i),
        )
        for seed, group in texts.items()
        for i, text in enumerate(group)
    ]
    return seeds, candidates


def test_winners_losers_and_groups_without_winner(tiny_cell: Cell, tmp_path: Path):
    cell = with_competition(tiny_cell, experts={"answer": 3.0, "teacher_likelihood": 1.0})
    metadata, folder = build(cell, tmp_path, *corpus())
    standings = read_rows(folder / "standings.parquet", Standing)
    assert {s.candidate_id for s in standings if s.winner} == {"s0-1", "s1-0"}
    assert len(standings) == 8
    assert metadata["groups"] == 3 and metadata["winners"] == 2 and metadata["groups_without_winner"] == 1
    assert metadata["ineligible"] == {"empty": 1, "length": 1, "looping": 1}
    assert metadata["accuracy_of_winners"] == 1.0
    assert metadata["accuracy_of_candidates"] == pytest.approx(2 / 5)


def test_a_seed_without_a_winner_is_told_with_the_reason(tiny_cell: Cell, tmp_path: Path):
    cell = with_competition(tiny_cell, experts={"length": 1.0})
    seeds = [make_seed(f"s{i}") for i in range(4)]
    texts = ["Answer: 7", "Answer: 8", "", "Answer: 9"]
    candidates = [make_candidate(0, t, id=f"c{i}", seed_id=f"s{i}") for i, t in enumerate(texts)]
    candidates.append(make_candidate(1, "Answer: 10", id="c4", seed_id="s3"))
    metadata, folder = build(cell, tmp_path, seeds, candidates)
    standings = read_rows(folder / "standings.parquet", Standing)
    assert sorted(s.seed_id for s in standings if s.winner) == ["s0", "s3"]
    assert (metadata["groups_without_winner"], metadata["wrong_alone"]) == (2, 1)
    assert (metadata["wrong_winners"], metadata["uncontested"]) == (1, 1)
    assert metadata["notes"] == [
        "2 of 4 seeds are left out: of 1 the only usable candidate gives a wrong answer,"
        " of 1 all candidates are cut, failed, empty or looping"
    ]


def test_where_most_answers_are_wrong_the_seeds_with_an_answer_are_counted(tiny_cell: Cell, tmp_path: Path):
    cell = with_competition(tiny_cell, experts={"length": 1.0})
    seeds = [make_seed(f"s{i}", answer=None if i > 2 else "7") for i in range(6)]
    texts = ["Answer: 8", "Answer: 9", "Answer: 7", "It rains.", "It pours.", "It hails."]
    candidates = [make_candidate(0, t, id=f"c{i}", seed_id=f"s{i}") for i, t in enumerate(texts)]
    metadata, _ = build(cell, tmp_path, seeds, candidates)
    assert metadata["notes"] == [
        "2 of 6 seeds are left out: the only usable candidate gives a wrong answer (3 seeds have an answer)"
    ]


def test_an_expert_that_scores_nothing_is_told(tiny_cell: Cell, tmp_path: Path):
    cell = with_competition(tiny_cell, experts={"answer": 1.0, "length": 1.0})
    candidates = [make_candidate(i, f"The river town {i}.") for i in range(2)]
    metadata, _ = build(cell, tmp_path / "two", [make_seed(answer=None)], candidates)
    assert metadata["notes"] == ["expert 'answer' scored none of the 2 candidates"]
    alone, _ = build(cell, tmp_path / "one", [make_seed(answer=None)], candidates[:1])
    assert alone["notes"] == []  # no expert decides between candidates there


def test_rules_for_answers_are_in_the_identity_only_where_answers_are_compared(tiny_cell: Cell):
    """The scores of other recipes need not be made again for them."""

    def recipe(**changes: object) -> dict:
        return COMPETITION_SCORES.identity(
            tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update=changes))
        ).get("answers")

    original = tiny_cell.recipe.regeneration.model_copy(update={"source": "original"})
    dataset = Dataset(name="a/b", revision="0" * 40)
    assert recipe() == RULES and recipe(regeneration=original) is None
    assert recipe(seeds=Seeds(dataset=dataset, count=8)) is None
    experts = tiny_cell.recipe.competition.model_copy(update={"experts": {"answer": 1.0}})
    assert recipe(regeneration=original, competition=experts) == RULES


def test_scores_are_kept_for_every_expert_and_candidate(tiny_cell: Cell, tmp_path: Path):
    cell = with_competition(tiny_cell, experts={"answer": 3.0, "teacher_likelihood": 1.0})
    metadata, folder = build(cell, tmp_path, *corpus())
    scores = read_rows(folder / "scores.parquet", Score)
    assert len(scores) == 2 * 8
    silent = [s for s in scores if s.raw is None]
    assert {(s.expert, s.seed_id) for s in silent} == {("answer", "s1")}
    assert all((s.raw is None) == (s.normalised is None) for s in scores)
    figures = metadata["experts"]["answer"]
    assert figures == {"mean_of_winners": 1.0, "mean_of_losers": pytest.approx(1 / 4), "abstentions": 3}


def test_random_selection_needs_no_expert(tiny_cell: Cell, tmp_path: Path):
    won = set()
    for draw in range(6):
        cell = with_competition(tiny_cell, draw, selection="random", experts={})
        metadata, folder = build(cell, tmp_path / str(draw), *corpus())
        assert metadata["winners"] == 2 and metadata["experts"] == {}
        won |= {s.candidate_id for s in read_rows(folder / "standings.parquet", Standing) if s.winner}
    assert {"s0-0", "s0-1", "s0-2"} & won and not won & {"s1-1", "s2-0", "s2-1"}
    assert len(won) > 2


def test_every_expert_together_and_the_same_bytes_again(tiny_cell: Cell, tmp_path: Path):
    names = ("answer", "teacher_likelihood", "target_likelihood", "length", "degeneration")
    cell = with_competition(tiny_cell, experts=dict.fromkeys(names, 1.0))
    first, folder = build(cell, tmp_path / "a", *corpus())
    second, again = build(cell, tmp_path / "b", *corpus())
    assert first == second and sorted(first["experts"]) == sorted(names)
    for name in ("scores.parquet", "standings.parquet"):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_an_unknown_expert_is_refused_before_anything_is_built(tiny_cell: Cell):
    with pytest.raises(FaqError, match="unknown expert 'charm'"):
        COMPETITION_SCORES.identity(with_competition(tiny_cell, experts={"charm": 1.0}))


def test_identity_holds_the_target_only_where_an_expert_needs_it(tiny_cell: Cell):
    def other_target(cell: Cell) -> Cell:
        return dataclasses.replace(cell, target=dataclasses.replace(cell.target, digest="0" * 20))

    plain = with_competition(tiny_cell, experts={"answer": 1.0})
    needing = with_competition(tiny_cell, experts={"answer": 1.0, "target_likelihood": 1.0})
    assert COMPETITION_SCORES.identity(plain) == COMPETITION_SCORES.identity(other_target(plain))
    assert COMPETITION_SCORES.identity(needing) != COMPETITION_SCORES.identity(other_target(needing))


def test_identity_moves_with_weights_and_selection_and_with_the_draw_only_at_random(tiny_cell: Cell):
    def identity(draw: int = 0, **changes: object) -> dict:
        return COMPETITION_SCORES.identity(with_competition(tiny_cell, draw, **changes))

    assert identity(experts={"answer": 1.0}) != identity(experts={"answer": 2.0})
    assert identity(experts={"answer": 1.0}) != identity(experts={"length": 1.0})
    assert identity(experts={"answer": 1.0}) != identity(experts={"answer": 1.0}, selection="random")
    assert identity(0) == identity(1)
    assert identity(0, selection="random") != identity(1, selection="random")
