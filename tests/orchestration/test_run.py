"""`faq run` from seed to report, the first ones as processes, on a family with random weights.

One home serves the module: a first run fills it, one with another scheme follows while a DuckDB
process holds the index, and then the first again. In a second home two runs start at once.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from faq_pipeline.execution.graph import STAGES
from faq_pipeline.models.loading import load_folder
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.store import Store
from tests.orchestration.cli import Faq, FaqHere
from tests.orchestration.conftest import Run

pytestmark = pytest.mark.slow

RUN = ("run", "--member", "tiny-s", "--recipe", "tiny-beside", "--json")
OTHER_SCHEME = ("run", "--member", "tiny-s", "--recipe", "tiny-w8", "--json")
Trace = Callable[[str], dict[str, Any]]
CHECKPOINTS = "SELECT fingerprint FROM artifacts WHERE stage = 'quantized_checkpoint'"


@dataclass(frozen=True)
class Home:
    """A filled home, and what the runs that filled it printed.

    Attributes:
        beside_a_shell: the run with the other scheme, made while a shell held the index.
        known_then: checkpoints in the index after it.
    """

    faq: Faq
    first: dict[str, Any]
    beside_a_shell: dict[str, Any]
    known_then: set[str]
    again: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.faq.home

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def index(self) -> Path:
        return self.folder / "lineage.duckdb"

    def fingerprint(self, asset: str, recipe: str = "tiny-beside") -> str:
        return (keys(self.again) | keys(self.beside_a_shell))[recipe, asset]


def keys(result: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Fingerprints by (recipe, asset)."""
    return {(row["recipe"], row["asset"]): row["fingerprint"] for row in result["stages"]}


def missed(result: dict[str, Any]) -> list[str]:
    return [row["asset"] for row in result["stages"] if row["cache"] == "miss"]


def digests(faq: Faq) -> dict[str, str]:
    artifacts = Store(faq.home / "store").artifacts()
    return {a.fingerprint: a.digest for a in artifacts if a.manifest.stage in STAGES}


def known(index: Path) -> set[str]:
    """Checkpoints that the index knows, asked in SQL."""
    with duckdb.connect(str(index), read_only=True) as con:
        return {fingerprint for (fingerprint,) in con.execute(CHECKPOINTS).fetchall()}


@contextmanager
def held(index: Path) -> Iterator[None]:
    """The index open in another process, as by a DuckDB shell."""
    code = (
        f"import duckdb, sys; c = duckdb.connect({str(index)!r}); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None and shell.stdin is not None
        assert shell.stdout.readline() == "open\n"
        yield
        shell.stdin.close()


@pytest.fixture(scope="module")
def home(pipeline_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    faq = Faq(tmp_path_factory.mktemp("first"), pipeline_data)
    first = faq.json(*RUN[:-1])
    index = faq.home / "lineage.duckdb"
    with held(index):
        done = faq(*OTHER_SCHEME)
    assert done.returncode == 0, done.stderr
    assert "the lineage index is in use by another program" in done.stderr
    known_then = known(index)
    here = FaqHere(faq.home, faq.data)
    return Home(here, first, json.loads(done.stdout), known_then, here.json(*RUN[:-1]))


# --- the runs themselves ---


def test_a_first_run_makes_everything_and_a_second_reuses_it(home: Home) -> None:
    # The baseline comes first and makes what both recipes share.
    assert Counter(missed(home.first)) == Counter([*STAGES, *STAGES, "recipe_comparison"]) - Counter(
        ["seed_data", "inference_traces", "reference_eval"]
    )
    assert missed(home.again) == []
    # The comparison is another one: the member has one recipe more.
    assert {name for _, name in dict(keys(home.again).items() - keys(home.first).items())} == {
        "recipe_comparison"
    }
    assert home.again["result"] == home.first["result"]


def test_the_json_is_as_the_contract_says(home: Home) -> None:
    stages, result = home.again["stages"], home.again["result"]
    assert all(set(row) == {"member", "recipe", "asset", "fingerprint", "cache", "seconds"} for row in stages)
    assert [row["asset"] for row in stages].count("recipe_comparison") == 1
    for recipe in ("tiny-beside", "tiny-original"):
        assert {row["asset"] for row in stages if row["recipe"] == recipe} == set(STAGES)
    assert result["member"].startswith("tiny-s@") and result["recipe"] == "tiny-beside"
    assert Path(result["checkpoint_path"], "config.json").is_file()
    for name in ("reference", "quantized", "recovery", "loss", "kl"):
        assert set(result[name]) == {"value", "low", "high"}
        assert result[name]["low"] <= result[name]["value"] <= result[name]["high"]
    assert result["kl"]["value"] > 0 and 0.2 < result["reference"]["value"] < 0.8
    reduction = result["loss_reduction"]
    assert reduction is None or set(reduction) == {"value", "low", "high"}
    assert (reduction is None) == bool(result["reason"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_with_one_line(
    number: signal.Signals, pipeline_data: Path, tmp_path: Path
) -> None:
    """While a stage runs, which Dagster then reports as failed."""
    faq = Faq(tmp_path / "home", pipeline_data)
    process = subprocess.Popen(
        faq.command(*RUN), env=faq.environment, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "made calibration_set" in line:  # the next stage takes seconds for its imports alone
            process.send_signal(number)
            break
    rest = process.stderr.read()
    assert process.wait() == 130, rest
    assert "faq: interrupted; finished work is kept" in rest and "Traceback" not in rest


def test_a_loss_reduction_that_is_not_formed_says_why(home: Home, faq: Run, pipeline_data: Path) -> None:
    """In JSON and for people; and that there is one original only."""
    result = home.again["result"]
    assert result["reason"].startswith("tiny-original: ") and "in the chat template alone" in result["remark"]
    compared = faq(pipeline_data, "compare", "--member", "tiny-s", home=home.folder)
    assert f"(not computed: {result['reason']})" in compared.out and f"({result['remark']})" in compared.out


def test_notes_stand_in_the_summary_of_every_run_that_uses_the_artifact(home: Home) -> None:
    """In JSON and for people, of cache hits too, and once where recipes share the artifact."""
    notes = home.again["notes"]
    assert notes == home.first["notes"] and notes
    assert all(set(note) == {"member", "recipes", "asset", "fingerprint", "note"} for note in notes)
    told = {(note["fingerprint"], note["note"]) for note in notes}
    assert len(told) == len(notes)
    made = {a.fingerprint: a.metadata.get("notes", []) for a in home.store.artifacts()}
    assert told == {(own, text) for own in keys(home.again).values() for text in made[own]}
    shown = " ".join(home.faq(*RUN[:-1]).stdout.split())
    for note in notes:
        assert f"{', '.join(note['recipes'])}, {note['asset']}: {note['note']}" in shown


def test_another_scheme_reuses_everything_up_to_the_calibration_set(home: Home) -> None:
    assert missed(home.beside_a_shell) == ["quantized_checkpoint", "eval_report", "recipe_comparison"]


def test_two_runs_at_once_in_another_home_make_everything_once_and_the_same(
    home: Home, pipeline_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Faq(tmp_path_factory.mktemp("second"), pipeline_data)
    # Without Dagster's pool the two do meet: it would let in one stage at a time.
    (other.home / "dagster").mkdir()
    (other.home / "dagster/dagster.yaml").write_text("telemetry: {enabled: false}\n")
    both = [
        subprocess.Popen(
            other.command(*OTHER_SCHEME),
            env=other.environment,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    rows: list[dict[str, Any]] = []
    for process in both:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        rows += json.loads(out)["stages"]
    made = Counter(row["fingerprint"] for row in rows if row["cache"] == "miss")
    assert set(made) == {row["fingerprint"] for row in rows} and set(made.values()) == {1}
    assert len(digests(other)) == len(STAGES)
    assert digests(other).items() <= digests(home.faq).items()


# --- in Dagster ---


@pytest.fixture(scope="module")
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home.folder / "dagster"))
        with dg.DagsterInstance.get() as opened:
            yield opened


def test_the_runs_are_in_the_instance(home: Home, instance: dg.DagsterInstance) -> None:
    runs = instance.get_runs()
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    member = home.again["result"]["member"]
    partitions = {(run.job_name, run.tags["dagster/partition"]) for run in runs}
    assert {
        ("quantize", f"{member}|tiny-beside"),
        ("quantize", f"{member}|tiny-original"),
        ("compare", member),
    } <= partitions


def test_materializations_tell_of_cache_fingerprint_and_digest(
    home: Home, instance: dg.DagsterInstance
) -> None:
    for asset in STAGES:
        events = instance.fetch_materializations(
            dg.AssetRecordsFilter(
                dg.AssetKey(asset), asset_partitions=[f"{home.again['result']['member']}|tiny-beside"]
            ),
            limit=100,
        ).records
        newest = events[0].asset_materialization
        assert newest is not None and newest.tags is not None
        artifact = home.store.get(asset, home.fingerprint(asset))
        assert artifact is not None
        assert newest.metadata["fingerprint"].value == artifact.fingerprint
        assert newest.tags["dagster/data_version"] == artifact.digest
        caches = [e.asset_materialization.metadata["cache"].value for e in events if e.asset_materialization]
        assert caches[0] == "hit" and set(caches) <= {"hit", "miss"}


# --- lineage ---


@pytest.fixture
def trace(home: Home, faq: Run, pipeline_data: Path) -> Trace:
    """`faq lineage trace ID --json`."""

    def ask(id_: str) -> dict[str, Any]:
        done = faq(pipeline_data, "lineage", "trace", id_, "--json", home=home.folder)
        assert done.code == 0, done
        found: dict[str, Any] = json.loads(done.out)
        return found

    return ask


def test_a_checkpoint_is_traced_to_winners_losers_and_seeds(home: Home, trace: Trace) -> None:
    found = trace(home.fingerprint("quantized_checkpoint"))
    assert found["kind"] == "artifact" and found["samples"]
    for one in found["samples"]:
        winner, losers = one["winner"], one["losers"]
        assert {s["expert"] for s in winner["scores"]} == {"teacher_likelihood", "length"}
        assert winner["winner"] and winner["candidate"]["id"] == one["sample"]["candidate_id"]
        assert len(losers) == 3 and not any(loser["winner"] for loser in losers)
        assert one["seed"]["id"] == one["sample"]["seed_id"] == winner["candidate"]["seed_id"]
    (made,) = found["checkpoints"]
    assert made["calibration_fingerprint"] == home.fingerprint("calibration_set")
    assert made["teachers"][0].startswith("tiny-l@")
    assert made["licences"]["base"] == ["Apache-2.0"] == made["licences"]["teacher"]
    with duckdb.connect(str(home.index), read_only=True) as con:
        (samples,) = con.execute(
            "SELECT count(*) FROM calibration_lineage WHERE checkpoint_fingerprint = ?",
            [home.fingerprint("quantized_checkpoint")],
        ).fetchone() or (0,)
    assert samples == len(found["samples"])


def test_a_seed_is_traced_to_everything_made_from_it(home: Home, trace: Trace) -> None:
    sample = trace(home.fingerprint("quantized_checkpoint"))["samples"][0]
    found = trace(sample["sample"]["seed_id"])
    sources = sorted(c["candidate"]["source"] for g in found["groups"] for c in g["candidates"])
    assert sources == ["original", *["teacher"] * 4]
    calibrations = {home.fingerprint("calibration_set", r) for r in ("tiny-beside", "tiny-original")}
    assert {one["calibration_fingerprint"] for one in found["samples"]} <= calibrations
    assert home.fingerprint("quantized_checkpoint") in {c["fingerprint"] for c in found["checkpoints"]}


def test_a_rebuilt_index_answers_the_same(home: Home, trace: Trace, faq: Run, pipeline_data: Path) -> None:
    checkpoint = home.fingerprint("quantized_checkpoint")
    seed = trace(checkpoint)["samples"][0]["sample"]["seed_id"]
    before = [trace(checkpoint), trace(seed)]
    home.index.unlink()
    assert "index" in faq(pipeline_data, "lineage", "trace", seed, home=home.folder).mistake
    assert faq(pipeline_data, "lineage", "rebuild", home=home.folder).code == 0
    assert [trace(checkpoint), trace(seed)] == before


def test_a_shell_that_holds_the_index_delays_it_until_the_next_run(home: Home) -> None:
    checkpoint = home.fingerprint("quantized_checkpoint", "tiny-w8")
    assert checkpoint not in home.known_then and len(home.known_then) == 2
    assert checkpoint in known(home.index)


# --- the other commands, on what the runs left ---


def test_an_exported_checkpoint_loads(home: Home, faq: Run, pipeline_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    short = home.fingerprint("quantized_checkpoint")[:10]
    done = faq(pipeline_data, "export", short, str(folder), home=home.folder)
    assert done.code == 0 and "vLLM has no kernel for W3A16" in done.out and "vllm serve" not in done.out
    eight = home.fingerprint("quantized_checkpoint", "tiny-w8")
    exported = faq(pipeline_data, "export", eight, str(tmp_path / "eight"), home=home.folder)
    assert f"vllm serve {tmp_path / 'eight'}" in exported.out
    model = load_folder(folder, "cpu")
    assert model.config.quantization_config is not None
    # Expanded to bf16 it is the same model, and no quantized one.
    dense = tmp_path / "dense"
    assert (
        "vllm serve" in faq(pipeline_data, "export", short, str(dense), "--to", "dense", home=home.folder).out
    )
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.quantization_config import CompressedTensorsConfig

    ids = torch.arange(8).unsqueeze(0)
    packed = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=CompressedTensorsConfig(dequantize=True)
    )
    plain = AutoModelForCausalLM.from_pretrained(dense)
    assert getattr(plain.config, "quantization_config", None) is None
    with torch.no_grad():
        assert torch.equal(packed(ids).logits, plain(ids).logits)
    again = faq(pipeline_data, "export", short, str(folder), home=home.folder)
    assert str(folder) in again.mistake
    assert (
        "no checkpoint or calibration set has"
        in faq(pipeline_data, "export", "zz", str(folder), home=home.folder).mistake
    )


LISTINGS = {
    ("cache", "ls"): ("artifacts", {"stage", "fingerprint", "digest", "bytes", "created", "seconds"}),
    ("members",): ("members", {"family", "member", "partition", "parameters", "problem"}),
    ("recipes",): ("recipes", {"name", "title", "families", "quantization"}),
    ("status",): ("cells", {"member", "recipe", "made", "stages", "complete", "next", "problem"}),
    ("compare", "--member", "tiny-s"): ("recipes", {"recipe", "loss", "kl", "loss_reduction", "verdict"}),
    ("doctor",): ("checks", {"what", "found", "problem"}),
    ("run", "--member", "tiny-s", "--recipe", "tiny-beside", "--dry-run"): (
        "plan",
        {"recipe", "asset", "fingerprint", "cache", "memory_gib", "tokens", "disk_mib", "seconds"},
    ),
    ("backfill", "--members", "tiny-s", "--recipes", "tiny-w8,tiny-original", "--dry-run"): (
        "plan",
        {"member", "recipe", "cache"},
    ),
}


@pytest.mark.parametrize("arguments", LISTINGS, ids=" ".join)
def test_what_prints_a_table_prints_json_too(
    home: Home, faq: Run, pipeline_data: Path, arguments: tuple[str, ...]
) -> None:
    name, columns = LISTINGS[arguments]
    table = faq(pipeline_data, *arguments, home=home.folder)
    assert table.code == 0, table
    assert table.out and not table.err
    listed = faq(pipeline_data, *arguments, "--json", home=home.folder)
    assert listed.code == 0 and not listed.err
    rows = json.loads(listed.out)[name]
    assert rows and columns <= set(rows[0])


def test_status_and_dry_run_know_what_is_made(home: Home, faq: Run, pipeline_data: Path) -> None:
    cells = json.loads(faq(pipeline_data, "status", "--json", home=home.folder).out)["cells"]
    complete = {row["recipe"] for row in cells if row["complete"]}
    assert complete == {"tiny-beside", "tiny-original", "tiny-w8"}
    assert not any(row["recipe"] == "tiny-beside" for row in cells if row["member"].startswith("kin"))
    plan = json.loads(faq(pipeline_data, *RUN, "--dry-run", home=home.folder).out)["plan"]
    assert {row["cache"] for row in plan} == {"hit"} and len(plan) == 2 * len(STAGES)
    fresh = json.loads(faq(pipeline_data, *RUN, "--dry-run").out)["plan"]
    assert all(row["cache"] == "miss" for row in fresh if row["recipe"] == "tiny-original")
    (corpus,) = [r for r in fresh if (r["recipe"], r["asset"]) == ("tiny-beside", "regenerated_corpus")]
    assert corpus["tokens"] == 12 * 4 * 24 and corpus["memory_gib"] > 0


def test_the_cache_is_verified_and_cleared(home: Home, faq: Run, pipeline_data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home.folder / "store", copy / "store")
    assert "0 problems" in faq(pipeline_data, "cache", "verify", home=copy).out
    store = Store(copy / "store")
    artifact = store.get("regenerated_corpus", home.fingerprint("regenerated_corpus"))
    assert artifact is not None
    with artifact.file("candidates.parquet").open("ab") as file:
        file.write(b"rot")
    bad = faq(pipeline_data, "cache", "verify", home=copy)
    assert bad.code == 1 and "candidates.parquet: bytes differ" in bad.out and "1 problems" in bad.out
    assert (
        "1 artifacts would be removed"
        in faq(pipeline_data, "cache", "gc", "--broken", "--dry-run", home=copy).out
    )
    left = store.root / ".staging" / "0123456789abcdef0123-dead"
    left.mkdir(parents=True)
    swept = faq(pipeline_data, "cache", "gc", "--broken", home=copy)
    assert swept.code == 0 and "1 artifacts and 1 leftovers removed" in swept.out
    assert store.get("regenerated_corpus", artifact.path.name) is None and not left.exists()
    assert list((copy / "store/.ledgers").glob("*/*.jsonl"))
    faq(pipeline_data, "cache", "gc", "--ledgers", home=copy)
    assert not (copy / "store/.ledgers").exists()


def test_a_broken_manifest_stops_no_command(
    home: Home, faq: Run, pipeline_data: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home.folder / "store", copy / "store")
    store = Store(copy / "store")
    report = store.get("eval_report", home.fingerprint("eval_report"))
    assert report is not None
    manifest = report.file("manifest.json")
    manifest.write_bytes(manifest.read_bytes()[:100])
    listed = json.loads(faq(pipeline_data, "cache", "ls", "--json", home=copy).out)["artifacts"]
    assert len(listed) == len(list(store.folders())) - 1
    assert "1 broken artifacts" in faq(pipeline_data, "cache", "ls", home=copy).out
    compared = json.loads(faq(pipeline_data, "compare", "--member", "tiny-s", "--json", home=copy).out)[
        "recipes"
    ]
    assert {row["recipe"] for row in compared} == {"tiny-original", "tiny-w8"}
    bad = faq(pipeline_data, "cache", "verify", home=copy)
    assert bad.code == 1 and f"{manifest}: missing or not a manifest" in bad.out
    assert "1 artifacts" in faq(pipeline_data, "cache", "gc", "--broken", home=copy).out
    assert not report.path.exists()


def test_after_a_run_nothing_is_unused_but_the_comparison_it_replaced(
    home: Home, faq: Run, pipeline_data: Path
) -> None:
    unused = faq(pipeline_data, "cache", "gc", "--unused", "--dry-run", home=home.folder)
    *named, total = unused.out.splitlines()
    assert unused.code == 0 and total == "1 artifacts would be removed"
    assert named[0].startswith("recipe_comparison ")
