"""Where does it come from, what came of it: the answers of `trace`."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import duckdb
import pytest
from rich.console import Console

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.lineage.index import merge, rebuild
from faq_pipeline.lineage.trace import LineageTrace
from faq_pipeline.lineage.trace_queries import trace
from faq_pipeline.lineage.trace_text import LINES, render
from faq_pipeline.lineage.uses import cell_licences
from faq_pipeline.store.records import CheckpointRow
from tests.lineage.conftest import Small
from tests.lineage.small_store import FAQ, SEEDS, TEACHER, candidate, fill, put


def text_of(found: LineageTrace, lines: int | None = None, width: int = 200) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(render(found, lines))
    return console.export_text()


def test_a_checkpoint_lists_each_sample_with_winner_losers_and_seed(indexed: Small) -> None:
    found = trace(indexed.index, indexed.made["checkpoint"].fingerprint)
    assert [one.sample.seed_id for one in found.samples] == ["s0", "s1", "s10"]
    for traced, seed in zip(found.samples, SEEDS, strict=True):
        assert traced.seed == seed
        assert traced.calibration_fingerprint == indexed.made["calibration"].fingerprint
        assert traced.winner is not None and traced.winner.candidate == candidate(seed, 1)
        assert traced.winner.total == pytest.approx(0.9)
        assert [one.expert for one in traced.winner.scores] == ["length", "teacher_likelihood"]
        assert traced.winner.scores[0].raw == 11.0
        assert [one.candidate.position for one in traced.losers] == [2, 0]
        assert [one.place for one in traced.losers] == [2, 3]
        assert traced.losers[1].scores[0].normalised == -1.0
    prose = found.samples[1].winner
    assert prose is not None and prose.scores[1].normalised is None  # it abstained


def test_a_checkpoint_tells_cells_licences_and_figures(indexed: Small) -> None:
    found = trace(indexed.index, indexed.made["checkpoint"].fingerprint)
    (made,) = found.checkpoints
    assert made.cells == (FAQ,) and made.teachers == (TEACHER,)
    assert made.checkpoint is not None and made.checkpoint.method == "gptq"
    assert made.licences.base == ("Apache-2.0",) and made.licences.teacher == ("MIT",)
    assert made.licences.seeds == {"Apache-2.0": 2, "CC-BY-4.0": 1}
    assert [report.fingerprint for report in made.reports] == [indexed.made["report"].fingerprint]
    figures = {(one.scope, one.metric): one.value for one in made.reports[0].figures}
    assert figures["all", "recovery"] == 0.95
    assert found.artifact is not None
    assert [one.stage for one in found.artifact.parents] == ["calibration_set"]
    assert [one.stage for one in found.artifact.children] == ["eval_report"]


def test_a_report_is_traced_as_its_checkpoint(indexed: Small) -> None:
    by_report = trace(indexed.index, indexed.made["report"].fingerprint)
    by_checkpoint = trace(indexed.index, indexed.made["checkpoint"].fingerprint)
    assert by_report.checkpoints == by_checkpoint.checkpoints
    assert by_report.samples == by_checkpoint.samples


def test_a_report_counts_for_every_checkpoint_of_equal_bytes(indexed: Small) -> None:
    rows = [CheckpointRow("tiny-s@11112222", "gptq", "W3A16", "64", 1000, 4000)]
    twin = put(indexed.store, "quantized_checkpoint", identity={"method": "again"}, checkpoints=rows)
    assert twin.digest == indexed.made["checkpoint"].digest
    merge(indexed.store, indexed.index)
    for one in (twin, indexed.made["checkpoint"]):
        (made,) = trace(indexed.index, one.fingerprint).checkpoints
        assert [r.fingerprint for r in made.reports] == [indexed.made["report"].fingerprint]


def test_round_to_nearest_has_no_samples(indexed: Small) -> None:
    found = trace(indexed.index, indexed.made["rtn"].fingerprint)
    assert found.samples == () and found.checkpoints[0].calibration_fingerprint is None
    assert found.checkpoints[0].licences.seeds == {}


def test_a_seed_lists_everything_made_from_it(indexed: Small) -> None:
    more = fill(indexed.store, draw=1)
    merge(indexed.store, indexed.index)
    found = trace(indexed.index, "s1")
    checkpoints = {indexed.made["checkpoint"].fingerprint, more["checkpoint"].fingerprint}
    assert {one.fingerprint for one in found.checkpoints} == checkpoints
    assert {r.fingerprint for c in found.checkpoints for r in c.reports} == {
        indexed.made["report"].fingerprint,
        more["report"].fingerprint,
    }
    # The corpora of both draws are equal: one group for each competition.
    assert {one.scores_fingerprint for one in found.groups} == {
        indexed.made["scores"].fingerprint,
        more["scores"].fingerprint,
    }
    for group in found.groups:
        assert group.seed == SEEDS[1] and len(group.candidates) == 3
        assert group.candidates[0].winner and not any(c.winner for c in group.candidates[1:])
    assert {one.sample.seed_id for one in found.samples} == {"s1"} and len(found.samples) == 2


def test_a_loser_has_a_group_and_no_checkpoint(indexed: Small) -> None:
    loser = candidate(SEEDS[0], 0)
    found = trace(indexed.index, loser.id)
    assert found.kind == "candidate" and found.samples == () and found.checkpoints == ()
    (group,) = found.groups
    assert loser in [one.candidate for one in group.candidates]
    assert "no calibration sample was made from it" in text_of(found)


def test_a_sample_and_its_winner_lead_to_the_checkpoint(indexed: Small) -> None:
    winner = trace(indexed.index, candidate(SEEDS[2], 1).id)
    (sample,) = winner.samples
    found = trace(indexed.index, sample.sample.id)
    assert found.kind == "sample" and found.samples == winner.samples
    assert found.checkpoints == winner.checkpoints and found.groups == winner.groups
    assert [one.fingerprint for one in found.checkpoints] == [indexed.made["checkpoint"].fingerprint]


def test_any_other_artifact_names_the_checkpoints_made_from_it(indexed: Small) -> None:
    for name in ("seeds", "corpus", "scores", "traces", "calibration"):
        found = trace(indexed.index, indexed.made[name].fingerprint)
        made = [one.fingerprint for one in found.checkpoints]
        assert made == [indexed.made["checkpoint"].fingerprint], name


def test_the_same_answers_after_a_rebuild(indexed: Small) -> None:
    ids = [*(one.fingerprint for one in indexed.made.values()), "s0", candidate(SEEDS[0], 1).id]
    before = [trace(indexed.index, one) for one in ids]
    indexed.index.unlink()
    rebuild(indexed.store, indexed.index)
    assert [trace(indexed.index, one) for one in ids] == before


def test_what_was_removed_is_said_to_be_missing(indexed: Small) -> None:
    for name in ("corpus", "seeds"):
        indexed.store.remove(indexed.made[name])
    merge(indexed.store, indexed.index)
    found = trace(indexed.index, indexed.made["checkpoint"].fingerprint)
    assert len(found.samples) == 3
    assert all(one.winner is None and one.seed is None for one in found.samples)
    assert "was removed from the store" in text_of(found)


def test_a_prefix_is_enough_and_a_whole_id_wins(indexed: Small) -> None:
    whole = indexed.made["checkpoint"].fingerprint
    assert trace(indexed.index, whole[:10]).id == whole
    assert trace(indexed.index, "s1").id == "s1"  # though s10 starts with it


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("s", "'s' is ambiguous: seed s0, seed s1, seed s10 (give more digits)"),
        ("nope", "nothing in the lineage index has the id 'nope'"),
        ("%", "nothing in the lineage index has the id '%'"),
        ("", "the id is empty"),
    ],
)
def test_unknown_and_ambiguous_ids(indexed: Small, asked: str, says: str) -> None:
    with pytest.raises(FaqError) as error:
        trace(indexed.index, asked)
    assert says in str(error.value)


def test_an_open_connection_will_do_and_stays_open(indexed: Small) -> None:
    con = duckdb.connect(str(indexed.index), read_only=True)
    try:
        assert trace(con, "s0") == trace(indexed.index, "s0")
        assert con.execute("SELECT 1").fetchone() == (1,)
    finally:
        con.close()


def test_a_missing_locked_or_outdated_index_is_a_plain_mistake(indexed: Small) -> None:
    with pytest.raises(FaqError, match="no lineage index here"):
        trace(indexed.index.with_name("other.duckdb"), "s0")
    holder = "import sys, duckdb; con = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(indexed.index)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None and process.stdout.readline()
        with pytest.raises(FaqError, match=f"in use.*PID {process.pid}"):
            trace(indexed.index, "s0")
    finally:
        process.kill()
        process.communicate()
    con = duckdb.connect(str(indexed.index))
    con.execute("UPDATE schema_version SET version = 999")
    con.close()
    with pytest.raises(FaqError, match="another version"):
        trace(indexed.index, "s0")
    indexed.index.write_bytes(b"garbage" * 1000)
    with pytest.raises(FaqError, match="cannot be read"):
        trace(indexed.index, "s0")


def test_a_trace_is_json_and_fits_a_terminal(indexed: Small) -> None:
    for name in ("checkpoint", "seeds", "reference"):
        found = trace(indexed.index, indexed.made[name].fingerprint)
        assert json.loads(json.dumps(found.as_dict()))["id"] == found.id
        assert found.id in text_of(found)
    found = trace(indexed.index, indexed.made["checkpoint"].fingerprint)
    shown = text_of(found, lines=21)
    assert "and 1 more sample" in shown and "s10" not in shown
    for said in ("winner", "loser", "abstains", "book two, CC-BY-4.0", "[0.85, 1.05]", FAQ):
        assert said in text_of(found)


@pytest.mark.parametrize("name", ["seed", "sample", "checkpoint", "seeds"])
def test_a_trace_answers_first_and_takes_about_60_lines(indexed: Small, name: str) -> None:
    for draw in range(1, 9):
        fill(indexed.store, draw=draw)
    merge(indexed.store, indexed.index)
    asked = {"seed": "s1", "sample": trace(indexed.index, "s1").samples[0].sample.id}
    found = trace(indexed.index, asked[name] if name in asked else indexed.made[name].fingerprint)
    shown = text_of(found, LINES, width=80)
    assert len(shown.splitlines()) <= LINES
    checkpoint = found.checkpoints[0]
    first = [checkpoint.fingerprint, checkpoint.reports[0].fingerprint, "licences: base Apache-2.0"]
    story = [] if name == "seeds" else ["├── seed s", "winner"]
    places = [shown.index(part) for part in (*first, *story)]
    assert places == sorted(places)
    assert "KL on prose 50 (1e-3 nats a token)" in " ".join(shown.split()).replace("│ ", "")
    whole = text_of(found)
    for one in found.checkpoints:
        assert one.fingerprint in whole
    if len(found.checkpoints) > 8:
        assert re.search(r"and \d more checkpoints", shown) and "--all" in shown


def test_nothing_is_left_out_of_a_short_trace(indexed: Small) -> None:
    loser = text_of(trace(indexed.index, candidate(SEEDS[0], 0).id), LINES)
    assert "--all" not in loser and "and 1 more" not in loser


def test_a_cells_licences_fall_back_to_its_familys(tiny_cell: Cell) -> None:
    assert cell_licences(tiny_cell) == {"base": "Apache-2.0", "teacher": "Apache-2.0"}
