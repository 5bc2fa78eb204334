from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from faq_pipeline.calibration.checks import CALIBRATION_CHECKS
from faq_pipeline.calibration.fill import Fill
from faq_pipeline.calibration.stage import CALIBRATION_SET
from faq_pipeline.config.family import Prompts, Thinking
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build
from faq_pipeline.errors import FaqError
from faq_pipeline.models.loading import load_tokenizer
from faq_pipeline.models.weights import vocabulary_digest
from faq_pipeline.store.artifact import MANIFEST, Artifact, Manifest
from faq_pipeline.store.records import Candidate, ChannelMismatch, Sample, Seed, Standing, TokenRow, Trace
from faq_pipeline.store.tables import read_rows, write_rows
from tests.noting import Noting

THOUGHT = "<think>\n{} - 5 = {}\n</think>\n\nAnswer: {}"


def inputs(
    root: Path, source: str = "teacher", count: int = 16, vocabulary: str | None = None, known: int = 17
) -> dict[str, Artifact]:
    """Upstream artifacts: question and text seeds in turn, over three domains; seed 3 has no winner."""
    made = {name: root / name for name in CALIBRATION_SET.inputs}
    for folder in made.values():
        folder.mkdir(parents=True)
    seeds, candidates, standings = [], [], []
    for i in range(count):
        question = i % 2 == 0
        text = f"Mira has {i + 12} apples." if question else f"The river town had {i} harvests. " * 9
        kind = "question" if question else "text"
        seed = Seed(f"s{i}", text, kind, str(i + 7) if question else None, "abc"[i % 3], "t", "MIT")
        reply = THOUGHT.format(i + 12, i + 7, i + 7)
        if source in ("original", "random"):
            reply = text
        seeds.append(seed)
        candidates.append(
            Candidate(
                f"c{i}", seed.id, 0, source, None, "", reply, f"{i + 12} - 5 = {i + 7}",
                f"Answer: {i + 7}", 9, None, "stop",
            )
        )  # fmt: skip
        standings.append(Standing(f"c{i}", seed.id, 0.0, 1, i != 3))
    traces = [Trace(f"t{i}", "a", [(5 * i + j) % 300 for j in range(20)], 5) for i in range(3)]
    write_rows(made["seed_data"] / "seeds.parquet", seeds, Seed)
    write_rows(made["regenerated_corpus"] / "candidates.parquet", candidates, Candidate)
    write_rows(made["competition_scores"] / "standings.parquet", standings, Standing)
    write_rows(made["inference_traces"] / "traces.parquet", traces, Trace)
    told = {
        "seed_data": {"known": known},
        "regenerated_corpus": {"vocabulary": vocabulary} if vocabulary else {},
    }
    for stage, metadata in told.items():
        manifest = Manifest(
            stage=stage, stage_version=1, fingerprint="f", digest="d", identity={}, inputs={}, upstream={},
            files=[], metadata=metadata, created="", seconds=1,
        )  # fmt: skip
        (made[stage] / MANIFEST).write_text(manifest.model_dump_json())
    return {name: Artifact(folder) for name, folder in made.items()}


def with_calibration(cell: Cell, **changes: object) -> Cell:
    calibration = cell.recipe.calibration.model_copy(update=changes)
    return cell.with_recipe(cell.recipe.model_copy(update={"calibration": calibration}))


def build(cell: Cell, upstream: dict[str, Artifact], folder: Path, progress=None) -> dict:
    folder.mkdir(parents=True)
    extra = {"progress": progress} if progress else {}
    return CALIBRATION_SET.build(Build(cell, upstream, folder, folder / "ledgers", **extra))


@pytest.fixture(scope="module")
def made(tiny_cell: Cell, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("made")
    cell = with_calibration(tiny_cell, tokens=400)
    upstream = inputs(root / "in")
    return cell, upstream, build(cell, upstream, root / "out"), root / "out"


def test_rows_hold_the_tokens_of_their_samples(made, tiny_cell: Cell):
    _, _, metadata, folder = made
    rows = read_rows(folder / "rows.parquet", TokenRow)
    samples = read_rows(folder / "samples.parquet", Sample)
    tokenizer = load_tokenizer(tiny_cell.target)
    rebuilt: dict[int, list[int]] = {row.row: [] for row in rows}
    for sample in samples:
        assert sample.start == len(rebuilt[sample.row])
        ids = tokenizer(sample.text, add_special_tokens=False)["input_ids"]
        assert len(ids) == sample.tokens
        rebuilt[sample.row] += ids
    assert rebuilt == {row.row: row.input_ids for row in rows}
    assert all(len(row.input_ids) <= 128 for row in rows)
    assert len({s.id for s in samples}) == len(samples)
    assert metadata["samples"] == len(samples) and metadata["rows"] == len(rows)


def test_samples_hold_the_winners_whole(made):
    samples = read_rows(made[3] / "samples.parquet", Sample)
    for sample in samples:
        i = int(sample.seed_id[1:])
        assert THOUGHT.format(i + 12, i + 7, i + 7) + "<|im_end|>" in sample.text
        assert sample.candidate_id == f"c{i}"
    assert "s3" not in {s.seed_id for s in samples}


def test_metadata_tells_size_balance_and_what_was_left_out(made):
    metadata = made[2]
    assert metadata["budget"] == 400
    assert metadata["tokens"] + metadata["shortfall"] == 400 and metadata["shortfall"] >= 0
    assert sum(metadata["domain_shares"].values()) == pytest.approx(1)
    assert set(metadata["domain_shares"]) == {"a", "b", "c"}
    left_out = metadata["left_out"]
    assert left_out["no_winner"] == 1
    assert metadata["samples"] + sum(left_out.values()) == 16


def test_fitness_has_a_row_for_every_linear_layer(made):
    measured = read_rows(made[3] / "fitness.parquet", ChannelMismatch)
    assert len(measured) == 14 and {row.layer for row in measured} == {0, 1}
    assert {row.channels for row in measured} == {128, 256}
    metadata = made[2]
    assert metadata["fitness"] == pytest.approx(sum(row.mismatch for row in measured) / 14)
    assert metadata["fitness"] > 0
    assert [entry["layer"] for entry in metadata["fitness_by_layer"]] == [0, 1]
    assert (made[3] / "fitness.png").stat().st_size > 1000


def test_a_second_build_has_the_same_bytes(made, tmp_path: Path):
    cell, upstream, metadata, folder = made
    assert build(cell, upstream, tmp_path / "again") == metadata
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["fitness.parquet", "fitness.png", "rows.parquet", "samples.parquet"]
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_calibrating_on_the_traces_themselves_has_fitness_zero(tiny_cell: Cell, tmp_path: Path):
    upstream = inputs(tmp_path / "in")
    cell = with_calibration(tiny_cell, tokens=400)
    build(cell, upstream, tmp_path / "first")
    rows = read_rows(tmp_path / "first/rows.parquet", TokenRow)
    traces = [Trace(f"t{row.row}", "a", row.input_ids, 1) for row in rows]
    write_rows(upstream["inference_traces"].file("traces.parquet"), traces, Trace)
    assert build(cell, upstream, tmp_path / "second")["fitness"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("source", ["original", "random"])
def test_plain_text_fills_the_budget_to_the_token(source, tiny_cell: Cell, tmp_path: Path):
    cell = with_calibration(tiny_cell, tokens=700, template="raw")
    metadata = build(cell, inputs(tmp_path / "in", source), tmp_path / "out")
    assert (metadata["tokens"], metadata["shortfall"], metadata["notes"]) == (700, 0, [])


def test_a_shortfall_is_recorded_and_told(tiny_cell: Cell, tmp_path: Path):
    told = Noting()
    cell = with_calibration(tiny_cell, tokens=2400, sequence_length=400)
    metadata = build(cell, inputs(tmp_path / "in"), tmp_path / "out", told)
    assert 0 < metadata["shortfall"] == 2400 - metadata["tokens"] < 1200
    (note,) = told.notes
    assert metadata["notes"] == [note]
    assert note.startswith(f"the set holds {metadata['tokens']:,} of 2,400 tokens (")
    assert "in 15 samples of 16 seeds (1 left out): raise seeds.count" in note


def test_a_set_that_fills_less_than_half_of_its_budget_fails(tiny_cell: Cell, tmp_path: Path):
    """In one line: how full, why, and what helps. Nothing is measured or kept for it."""
    upstream = inputs(tmp_path / "in")
    cell = with_calibration(tiny_cell, tokens=9000, sequence_length=400)
    with pytest.raises(FaqError) as error:
        build(cell, upstream, tmp_path / "out")
    told = str(error.value)
    assert "\n" not in told and "less than half of the calibration budget would be filled: " in told
    assert re.search(r": [\d,]+ of 9,000 tokens \(\d\d%\) in 15 samples of 16 seeds \(1 left out\)", told)
    assert "(raise seeds.count or lower calibration.tokens)" in told
    assert error.value.key == "calibration.tokens" and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("known", "hint"),
    [(17, "(raise seeds.count or"), (16, "(add seeds and raise seeds.count or")],
)
def test_more_seeds_are_asked_for_where_the_recipe_takes_all(
    known: int, hint: str, tiny_cell: Cell, tmp_path: Path
):
    cell = with_calibration(tiny_cell, tokens=9000, sequence_length=400)
    with pytest.raises(FaqError) as error:
        build(cell, inputs(tmp_path / "in", known=known), tmp_path / "out")
    assert hint in str(error.value)


def test_more_candidates_are_named_where_all_seeds_are_taken_and_most_are_left_out():
    fill = Fill.of({"samples": 1, "tokens": 10, "budget": 99, "left_out": {"no_winner": 9}})
    assert fill.hint.startswith("raise seeds.count or")
    assert dataclasses.replace(fill, all_seeds=True).hint.startswith(
        "raise regeneration.candidates, add seeds and raise seeds.count or lower calibration.tokens;"
    )


def test_a_method_without_calibration_needs_no_full_set(tiny_cell: Cell, tmp_path: Path):
    """The set of an RTN cell is there to be looked at; a cell that would use it is refused by the check."""
    rtn = tiny_cell.recipe.quantization.model_copy(update={"method": "rtn", "actorder": None})
    cell = with_calibration(tiny_cell, tokens=9000, sequence_length=400)
    spared = cell.with_recipe(cell.recipe.model_copy(update={"quantization": rtn}))
    metadata = build(spared, inputs(tmp_path / "in"), tmp_path / "out")
    assert metadata["tokens"] < 4500 and metadata["notes"]
    (check,) = [check for check in CALIBRATION_CHECKS if check.name == "half_full"]
    artifact = SimpleNamespace(metadata=metadata)
    assert check.blocking and check.run(spared, artifact).passed
    found = check.run(cell, artifact)
    assert not found.passed and "of 9,000 tokens" in found.metadata["holds"]


@pytest.mark.parametrize(
    ("left_out", "wrong", "why", "hint"),
    [
        ({}, 0, "in 9 samples of 9 seeds", "raise seeds.count or lower"),
        ({"over_budget": 4, "no_winner": 1}, 0, "of 14 seeds (1 left out)", "raise seeds.count"),
        ({"no_winner": 9}, 0, "of 18 seeds (9 left out)", "sampling.max_new_tokens"),
        ({"no_winner": 9}, 8, "8 of them for a wrong answer; 12 seeds have an answer)", "leave out 'answer'"),
        ({"no_winner": 1, "too_long": 9}, 1, "; 9 longer than", "raise calibration.sequence_length"),
    ],
)
def test_a_shortfall_names_its_cause_and_what_helps(left_out: dict, wrong: int, why: str, hint: str):
    told = {"samples": 9, "tokens": 10, "budget": 99, "left_out": left_out, "wrong_alone": wrong}
    fill = Fill.of(told | {"answered": 12})
    assert why in str(fill) and hint in fill.hint
    earlier = Fill.of(told)  # of a version that did not count seeds with an answer
    assert earlier.hint == fill.hint and "have an answer" not in str(earlier)


@pytest.mark.parametrize(("wrong", "most"), [(4, False), (5, True)])
def test_most_answers_left_out_as_wrong_are_told_of_a_full_set_too(
    wrong: int, most: bool, tiny_cell: Cell, tmp_path: Path
):
    """Its samples are then mostly of seeds without an answer."""
    upstream = inputs(tmp_path / "in")  # 8 of 16 seeds have an answer
    cell, share = with_calibration(tiny_cell, sequence_length=400), f"{wrong} of the 8 seeds with an answer"
    lost = {f"c{2 * i}" for i in range(wrong)}
    for stage, name, kind, changed in (
        ("regenerated_corpus", "candidates.parquet", Candidate, {"answer": "Answer: 1"}),
        ("competition_scores", "standings.parquet", Standing, {"winner": False}),
    ):
        file = upstream[stage].file(name)
        key = "id" if kind is Candidate else "candidate_id"
        rows = [
            dataclasses.replace(row, **changed) if getattr(row, key) in lost else row
            for row in read_rows(file, kind)
        ]
        write_rows(file, rows, kind)
    short = build(with_calibration(cell, tokens=1200), upstream, tmp_path / "short")
    (note,) = short["notes"]
    counted = f"{wrong} of them for a wrong answer; 8 seeds have an answer"
    assert f"({wrong + 1} left out, {counted})" in note
    told = Noting()
    full = build(with_calibration(cell, tokens=short["tokens"]), upstream, tmp_path / "full", told)
    assert full["answered"] == 8 and full["notes"] == told.notes
    if most:
        (note,) = told.notes
        assert note.startswith(f"{share} are left out for a wrong answer: check these answers, raise")
    else:
        assert told.notes == []


def test_seeds_that_cannot_fill_half_of_the_budget_are_refused_before_work_begins(tiny_cell: Cell):
    enough = with_calibration(tiny_cell, tokens=2048)  # 8 seeds of at most 128 tokens
    CALIBRATION_SET.preflight(enough)
    with pytest.raises(FaqError, match="8 seeds of at most 128 tokens each fill less than half of 2,050"):
        CALIBRATION_SET.preflight(with_calibration(tiny_cell, tokens=2050))
    CALIBRATION_SET.preflight(with_calibration(tiny_cell, tokens=2050, originals=0.5))
    seeds = tiny_cell.recipe.seeds
    assert seeds.path is not None
    every = seeds.model_copy(update={"count": len(seeds.path.read_text().splitlines())})
    for spec, hint in ((seeds, "raise seeds.count or"), (every, "add seeds and raise seeds.count or")):
        cell = tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"seeds": spec}))
        with pytest.raises(FaqError) as error:
            CALIBRATION_SET.preflight(with_calibration(cell, tokens=9000))
        assert str(error.value.hint).startswith(hint)


def test_a_sample_longer_than_a_row_is_left_out_and_counted(tiny_cell: Cell, tmp_path: Path):
    cell = with_calibration(tiny_cell, sequence_length=60, tokens=400)
    metadata = build(cell, inputs(tmp_path / "in"), tmp_path / "out")
    assert metadata["left_out"]["too_long"] > 0
    assert all(len(row.input_ids) <= 60 for row in read_rows(tmp_path / "out/rows.parquet", TokenRow))


def test_a_set_without_any_sample_is_an_error(tiny_cell: Cell, tmp_path: Path):
    cell = with_calibration(tiny_cell, sequence_length=3)
    with pytest.raises(FaqError, match=r"no_winner: 1, too_long: 15"):
        build(cell, inputs(tmp_path / "in"), tmp_path / "out")


def test_rows_longer_than_the_context_are_refused(tiny_cell: Cell, tmp_path: Path):
    cell = with_calibration(tiny_cell, sequence_length=1024, tokens=2048)
    with pytest.raises(FaqError, match="attends to 512 tokens"):
        build(cell, inputs(tmp_path / "in"), tmp_path / "out")


def test_identity_moves_with_what_the_stage_reads_and_with_nothing_else(tiny_cell: Cell):
    def identity(cell: Cell) -> dict:
        return CALIBRATION_SET.identity(cell)

    def recipe(**changes: object) -> Cell:
        return tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update=changes))

    def family(**changes: object) -> Cell:
        return dataclasses.replace(tiny_cell, family=tiny_cell.family.model_copy(update=changes))

    own = identity(tiny_cell)
    target = tiny_cell.target
    moving = [
        with_calibration(tiny_cell, tokens=640),
        with_calibration(tiny_cell, sequence_length=64),
        with_calibration(tiny_cell, template="raw"),
        family(thinking=Thinking(open="[T]")),
        family(prompts=Prompts(text="{{ text }}")),
        dataclasses.replace(tiny_cell, target=dataclasses.replace(target, digest="0" * 20)),
        dataclasses.replace(tiny_cell, target=dataclasses.replace(target, tokenizer_digest="0" * 20)),
        dataclasses.replace(tiny_cell, device="cuda"),
    ]
    assert all(identity(cell) != own for cell in moving)
    still = [
        recipe(name="other", draw=5),
        recipe(quantization=tiny_cell.recipe.quantization.model_copy(update={"scheme": "W8A8"})),
        recipe(competition=tiny_cell.recipe.competition.model_copy(update={"experts": {"answer": 2.0}})),
        family(licence="other"),
        dataclasses.replace(tiny_cell, teacher=None),
    ]
    assert all(identity(cell) == own for cell in still)


def test_an_upgraded_torch_moves_the_identity(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch):
    own = CALIBRATION_SET.identity(tiny_cell)
    monkeypatch.setattr("faq_pipeline.calibration.stage.tool_version", lambda package: "99")
    assert CALIBRATION_SET.identity(tiny_cell) != own


@pytest.mark.parametrize("module", ["calibration", "competition"])
def test_stages_import_no_model_library(module: str):
    code = (
        f"import sys; import faq_pipeline.{module}.stage;"
        " heavy = ('torch', 'transformers', 'pandas', 'matplotlib', 'dagster');"
        " print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_corpus_that_another_target_found_is_checked_against_this_one(tiny_cell: Cell, tmp_path: Path):
    """A hit skips the corpus's own check, and a hub teacher has no files here to check again."""
    ours = vocabulary_digest(tiny_cell.target)
    build(tiny_cell, inputs(tmp_path / "same", vocabulary=ours), tmp_path / "same/out")
    other = inputs(tmp_path / "other", vocabulary="0" * 20)
    with pytest.raises(FaqError, match="has another base tokenizer than 'tiny-s'"):
        build(tiny_cell, other, tmp_path / "other/out")
    allowed = tiny_cell.recipe.regeneration.model_copy(update={"allow_cross_family": True})
    cell = tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"regeneration": allowed}))
    build(cell, other, tmp_path / "allowed")
