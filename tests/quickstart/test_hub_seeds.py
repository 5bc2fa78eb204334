"""Seeds out of data sets on a hub on 127.0.0.1: the commit stays, refused rows are told, presets resolve."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.prepare import prepare
from faq_pipeline.quickstart.quantize_options import QuantizeOptions
from faq_pipeline.quickstart.seed_presets import seed_presets
from faq_pipeline.regeneration.seeds import load_seeds
from faq_pipeline.settings import REPOSITORY, Settings
from tests.hub import HubFolder, HubServer
from tests.hub.client import use_hub_datasets
from tests.orchestration.conftest import Run

CARD = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
- config_name: other
  data_files: other/*
---
"""
ROWS: list[dict[str, Any]] = [
    {"frage": f"What is {n} + {n}?", "loesung": f"It is so.\n#### {2 * n}", "zahl": 2 * n, "sprache": "de"}
    for n in range(1, 11)
]


def write_math(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A data set of two configurations, with columns of its own names, in Parquet files."""
    for path in ("main/train-0", "main/test-0", "other/train-0"):
        file = folder / f"{path}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(rows if path == "main/train-0" else rows[:2]), file)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubFolder]:
    """A hub with the data set acme/math, and with acme/chat, which is JSON Lines."""
    rows = [*ROWS[:4], {**ROWS[4], "frage": None}, *ROWS[5:], ROWS[0]]
    folder = HubFolder(tmp_path / "hub")
    folder.datasets.add("acme/math", write_math(tmp_path / "math", rows), licence="mit")
    chat = tmp_path / "chat"
    chat.mkdir()
    lines = [{"messages": [{"role": "user", "content": f"Why is {n} odd?"}]} for n in range(6)]
    (chat / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder.datasets.add("acme/chat", chat, licence=None)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with HubServer(folder) as server:
        use_hub_datasets(monkeypatch, server.url)
        yield folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home", (REPOSITORY / "data",), "cpu")


def notes_and_seeds(settings: Settings, llama: Path, seeds: str) -> tuple[str, list[Any], str]:
    """What `faq init` says, the seeds that it wrote, and the recipe's text."""
    prepared = prepare(settings, QuantizeOptions(str(llama), seeds=seeds))
    (made,) = (settings.own_data / "seeds").glob("*.jsonl")
    recipe = settings.own_data / "recipes" / f"{prepared.recipe}.yaml"
    return "\n".join(prepared.notes), load_seeds(made, 1), recipe.read_text()


MATH = "acme/math,config=main,text=frage,answer=zahl,domain=sprache"


def test_named_columns_of_a_data_set_become_seeds_at_its_commit(
    hub: HubFolder, settings: Settings, llama: Path
) -> None:
    commit = hub.datasets.read("acme/math").main
    told, seeds, recipe = notes_and_seeds(settings, llama, MATH)
    assert [(seed.text, seed.answer) for seed in seeds] == [
        (row["frage"], str(row["zahl"])) for row in (*ROWS[:4], *ROWS[5:])
    ]
    assert {(seed.domain, seed.source, seed.licence) for seed in seeds} == {
        ("de", f"acme/math@{commit}", "mit")
    }
    assert f"acme/math, train, commit {commit[:8]}, licence mit" in told and ": 9 prompts" in told
    assert "acme/math, train:5: refused: 'frage' is missing" in told
    assert "acme/math, train:11: refused: the same text as line 1" in told
    assert f"# They are from the hub's data set acme/math, train, commit {commit}." in recipe

    # The commit stays though the data set moves on, and the hub is not asked again.
    hub.datasets.push("acme/math", licence="mit")
    hub.fail("500")
    again, same, unmoved = notes_and_seeds(settings.reread(), llama, MATH)
    assert (again, same, unmoved) == (told, seeds, recipe)


def test_the_form_of_a_data_set_is_recognized_and_its_only_split_read(
    hub: HubFolder, settings: Settings, llama: Path
) -> None:
    told, seeds, _ = notes_and_seeds(settings, llama, "acme/chat")
    assert [seed.text for seed in seeds] == [f"Why is {n} odd?" for n in range(6)]
    assert "licence not stated (chat messages): 6 prompts" in told
    assert {seed.licence for seed in seeds} == {"unknown"}


def test_a_named_commit_and_split_are_read(hub: HubFolder, settings: Settings, llama: Path) -> None:
    first = hub.datasets.read("acme/math").main
    hub.datasets.push("acme/math", licence="mit")
    _, seeds, _ = notes_and_seeds(settings, llama, f"{MATH},split=test,revision={first}")
    assert {seed.source for seed in seeds} == {f"acme/math@{first}"} and len(seeds) == 2


def test_a_preset_takes_the_commit_of_its_first_use(
    hub: HubFolder, settings: Settings, llama: Path, tmp_path: Path
) -> None:
    rows = [{"question": row["frage"], "answer": row["loesung"]} for row in ROWS]
    hub.datasets.add("openai/gsm8k", write_math(tmp_path / "gsm8k", rows), licence="cc-by-4.0")
    told, seeds, recipe = notes_and_seeds(settings, llama, "mathematics")
    commit = hub.datasets.read("openai/gsm8k").main
    assert [seed.text for seed in seeds] == [row["frage"] for row in ROWS]
    assert commit in recipe and {seed.licence for seed in seeds} == {"cc-by-4.0"}
    assert "the licence of openai/gsm8k was mit" in told


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ("acme/none", "the hub has no data set of that name"),
        ("acme/math", "several configurations (--seeds acme/math,config=NAME with one of: main, other"),
        ("acme/math,config=main", "no prompts in the keys frage, loesung, sprache, zahl"),
        ("acme/math,config=main,text=question", "has no column 'question' (columns: frage, "),
        ("acme/math,config=main,split=dev", "has no split 'dev'"),
        ("acme/math,config=none", "cannot be read: BuilderConfig 'none' not found"),
        ("acme/math,revision=v9", "has no revision 'v9'"),
        ("acme/math,column=frage", "'column=frage' is no option of a data set"),
        ("acme/math,answer=zahl", "'answer' goes with 'text'"),
        ("acme/gated", "is gated, and HF_TOKEN does not open it"),
        ("acme/broken", "data set acme/broken cannot be read: "),
        ("acme/none.jsonl", "no such seed file"),
    ],
)
def test_what_a_data_set_does_not_offer_is_one_line(
    hub: HubFolder, settings: Settings, llama: Path, tmp_path: Path, seeds: str, told: str
) -> None:
    hub.datasets.add("acme/gated", gated="manual")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/train.parquet").write_bytes(b"plain")
    hub.datasets.add("acme/broken", tmp_path / "broken")
    with pytest.raises(FaqError) as caught:
        prepare(settings, QuantizeOptions(str(llama), seeds=seeds))
    assert told in str(caught.value) and "\n" not in str(caught.value), caught.value


def test_a_hub_that_does_not_answer_is_one_line(hub: HubFolder, settings: Settings, llama: Path) -> None:
    hub.fail("500")
    with pytest.raises(FaqError, match="answers 500"):
        prepare(settings, QuantizeOptions(str(llama), seeds="acme/chat"))


def test_presets_are_listed_with_licence_and_commit(faq: Run) -> None:
    presets = seed_presets()
    listed = json.loads(faq("", "seeds", "--json").out)["presets"]
    assert list(listed) == list(presets) and presets["general"].path is not None
    shown = faq("", "seeds").out
    for name, preset in presets.items():
        assert name in shown and preset.licence in shown
        assert preset.dataset is None or preset.dataset.name in shown
