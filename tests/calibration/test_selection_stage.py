"""The stage with a selection across seeds, and with originals kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from faq_pipeline.calibration.stage import CALIBRATION_SET
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.store.records import Sample, TokenRow, Trace
from faq_pipeline.store.tables import read_rows, write_rows
from tests.calibration.test_stage import build, inputs, with_calibration

SELECTIONS = ["centroid", "clusters", "coverage", "diversity", "entropy", "fidelity"]


def samples_of(folder: Path) -> list[Sample]:
    return read_rows(folder / "samples.parquet", Sample)


def is_original(sample: Sample) -> bool:
    """Candidates of the corpus are called c0, c1, ...; those of originals by their content's hash."""
    return len(sample.candidate_id) == 20


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_selection_fills_the_budget_balanced_and_repeats(selection: str, tiny_cell: Cell, tmp_path: Path):
    cell = with_calibration(tiny_cell, tokens=600, selection=selection)
    upstream = inputs(tmp_path / "in", count=24)
    metadata = build(cell, upstream, tmp_path / "out")
    drawn = build(with_calibration(cell, selection="draw"), upstream, tmp_path / "drawn")
    assert 600 - 3 * 70 < metadata["tokens"] <= 600  # three domains, samples of about 70 tokens
    for domain, share in metadata["domain_shares"].items():
        assert share == pytest.approx(drawn["domain_shares"][domain], abs=0.2)
    assert metadata["samples"] + sum(metadata["left_out"].values()) == 24
    build(cell, upstream, tmp_path / "again")
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["fitness.parquet", "fitness.png", "rows.parquet", "samples.parquet"]
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_fidelity_finds_the_samples_that_the_traces_are_made_of(tiny_cell: Cell, tmp_path: Path):
    """Of a domain with questions and plain text, plain text is chosen where traces are of it."""
    upstream = inputs(tmp_path / "in", count=18)
    long = with_calibration(tiny_cell, sequence_length=400)
    build(with_calibration(long, tokens=3000), upstream, tmp_path / "all")
    rows = {row.row: row.input_ids for row in read_rows(tmp_path / "all/rows.parquet", TokenRow)}
    text = [s for s in samples_of(tmp_path / "all") if int(s.seed_id[1:]) % 2]
    traces = [Trace(s.id, "a", rows[s.row][s.start : s.start + s.tokens], 1) for s in text]
    write_rows(upstream["inference_traces"].file("traces.parquet"), traces, Trace)
    cell = with_calibration(long, tokens=1500)
    drawn = build(cell, upstream, tmp_path / "drawn")
    chosen = build(with_calibration(cell, selection="fidelity"), upstream, tmp_path / "chosen")
    assert chosen["fitness"] < drawn["fitness"]

    def texts(folder: str) -> int:
        return sum(int(s.seed_id[1:]) % 2 for s in samples_of(tmp_path / folder))

    assert texts("chosen") > texts("drawn")


def test_a_selection_without_traces_is_an_error(tiny_cell: Cell, tmp_path: Path):
    upstream = inputs(tmp_path / "in")
    write_rows(upstream["inference_traces"].file("traces.parquet"), [], Trace)
    with pytest.raises(FaqError, match="no inference traces"):
        build(with_calibration(tiny_cell, selection="coverage"), upstream, tmp_path / "out")
    build(with_calibration(tiny_cell, selection="diversity"), upstream, tmp_path / "plain")


@pytest.mark.parametrize("selection", ["draw", "fidelity"])
def test_originals_fill_their_share_in_the_same_form(selection: str, tiny_cell: Cell, tmp_path: Path):
    upstream = inputs(tmp_path / "in", count=24)
    cell = with_calibration(tiny_cell, tokens=800, originals=0.25, selection=selection)
    metadata = build(cell, upstream, tmp_path / "out")
    regenerated, originals = [], []
    for sample in samples_of(tmp_path / "out"):
        (originals if is_original(sample) else regenerated).append(sample)
    tokens = sum(s.tokens for s in originals)
    assert metadata["originals"] == tokens and 0.15 * 800 < tokens <= 200
    assert 800 - 3 * 70 < metadata["tokens"] == tokens + sum(s.tokens for s in regenerated) <= 800
    for sample in originals:
        i = int(sample.seed_id[1:])
        assert sample.text.startswith("<|im_start|>user\n") and "<think>" not in sample.text
        assert (
            f"Mira has {i + 12} apples." if i % 2 == 0 else f"The river town had {i} harvests."
        ) in sample.text
    assert all("<think>" in s.text for s in regenerated)
    assert len({s.id for s in [*originals, *regenerated]}) == metadata["samples"]


def test_what_originals_do_not_fill_goes_to_regenerated_samples(tiny_cell: Cell, tmp_path: Path):
    upstream = inputs(tmp_path / "in", count=6)
    cell = with_calibration(tiny_cell, tokens=500, originals=0.9, sequence_length=120)
    metadata = build(cell, upstream, tmp_path / "out")
    assert metadata["originals"] < 0.9 * 500
    assert not all(is_original(s) for s in samples_of(tmp_path / "out"))


def test_originals_beside_originals_are_refused(tiny_cell: Cell):
    regeneration = tiny_cell.recipe.regeneration.model_copy(update={"source": "original"})
    cell = tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"regeneration": regeneration}))
    CALIBRATION_SET.identity(cell)
    with pytest.raises(FaqError, match="originals go beside regenerated samples") as error:
        CALIBRATION_SET.identity(with_calibration(cell, originals=0.25))
    assert error.value.key == "calibration.originals"


def test_what_is_off_is_no_part_of_the_identity(tiny_cell: Cell):
    assert set(CALIBRATION_SET.identity(tiny_cell)["calibration"]) == {
        "template",
        "tokens",
        "sequence_length",
    }
