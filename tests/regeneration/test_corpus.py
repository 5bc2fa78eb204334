"""Seed data and the regenerated corpus, from every source, through the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.family import Prompts, Thinking
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.runner import Outcome, materialize
from faq_pipeline.inference.engine import Completion
from faq_pipeline.models.loading import load_tokenizer
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.regeneration.seed_stage import SEED_DATA
from faq_pipeline.regeneration.stage import REGENERATED_CORPUS
from faq_pipeline.store.records import Candidate, Seed
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows
from tests.tiny import TEMPLATE

STAGES = {stage.name: stage for stage in (SEED_DATA, REGENERATED_CORPUS)}


def altered(cell: Cell, section: str = "regeneration", **changes: Any) -> Cell:
    """The cell under a recipe with one section (or the top level) changed."""
    recipe = cell.recipe
    if section == "recipe":
        return cell.with_recipe(recipe.model_copy(update=changes))
    inner = getattr(recipe, section).model_copy(update=changes)
    return cell.with_recipe(recipe.model_copy(update={section: inner}))


def source(cell: Cell, name: str, **changes: Any) -> Cell:
    teacher = {"teacher": cell.teacher, "self": cell.target}.get(name)
    return replace(altered(cell, source=name, **changes), teacher=teacher)


class Listener:
    """Keeps what a stage tells."""

    def __init__(self) -> None:
        self.total, self.done, self.notes = 0, 0, []  # type: ignore[var-annotated]

    def start(self, what: str, total: int) -> None:
        self.total = total

    def advance(self, done: int = 1) -> None:
        self.done += done

    def detail(self, text: str) -> None:
        pass

    def note(self, message: str) -> None:
        self.notes.append(message)


def make(cell: Cell, root: Path, listener: Listener | None = None) -> tuple[Outcome, list[Candidate]]:
    store = Store(root)
    materialize("seed_data", cell, STAGES, store)
    outcome = materialize("regenerated_corpus", cell, STAGES, store, listener)
    return outcome, read_rows(outcome.artifact.file("candidates.parquet"), Candidate)


def seeds_of(cell: Cell, root: Path) -> list[Seed]:
    artifact = materialize("seed_data", cell, STAGES, Store(root)).artifact
    return read_rows(artifact.file("seeds.parquet"), Seed)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def test_teacher_candidates_in_seed_order(tiny_cell: Cell, store: Path) -> None:
    listener = Listener()
    outcome, rows = make(tiny_cell, store, listener)
    seeds = seeds_of(tiny_cell, store)
    assert [(r.seed_id, r.position) for r in rows] == [(s.id, k) for s in seeds for k in (0, 1)]
    assert len({r.id for r in rows}) == len(rows) == 16
    assert tiny_cell.teacher is not None
    assert {r.model for r in rows} == {tiny_cell.teacher.partition}
    for row, seed in zip(rows[::2], seeds, strict=True):
        assert row.prompt.endswith("<|im_start|>assistant\n") and seed.text in row.prompt
    assert all(r.logprob is not None and r.logprob < 0 for r in rows)
    assert rows[0].text != rows[1].text
    assert (listener.total, listener.done) == (16, 16)
    figures = outcome.artifact.metadata
    assert figures["candidates"] == 16
    assert figures["truncated"] == sum(r.finish == "length" for r in rows)
    assert figures["mean_logprob_per_token"] == pytest.approx(
        sum(r.logprob or 0 for r in rows) / sum(r.tokens for r in rows), abs=1e-3
    )


def test_the_same_cell_gives_the_same_bytes(tiny_cell: Cell, store: Path, tmp_path: Path) -> None:
    first, _ = make(tiny_cell, store)
    again, _ = make(tiny_cell, tmp_path)
    assert first.artifact.digest == again.artifact.digest
    hit, _ = make(tiny_cell, store)
    assert hit.hit


def test_a_draw_decides_the_samples_too(tiny_cell: Cell, store: Path) -> None:
    everything = altered(tiny_cell, "seeds", count=12)
    texts = []
    for draw in (0, 1):
        _, rows = make(altered(everything, "recipe", draw=draw), store)
        texts.append({(r.seed_id, r.position): r.text for r in rows})
    assert texts[0].keys() == texts[1].keys()
    assert sum(texts[0][key] != texts[1][key] for key in texts[0]) > 20


def test_self_takes_the_same_path_with_the_target(tiny_cell: Cell, store: Path) -> None:
    _, rows = make(source(tiny_cell, "self"), store)
    assert {r.model for r in rows} == {tiny_cell.target.partition}
    assert {r.source for r in rows} == {"self"}
    assert all(r.logprob is not None for r in rows)


def test_original_passes_seeds_through(tiny_cell: Cell, store: Path) -> None:
    cell = source(tiny_cell, "original", candidates=3)
    outcome, rows = make(cell, store)
    seeds = seeds_of(cell, store)
    assert [(r.seed_id, r.text, r.answer) for r in rows] == [(s.id, s.text, s.answer or "") for s in seeds]
    assert {(r.position, r.prompt, r.reasoning, r.finish) for r in rows} == {(0, "", "", "given")}
    tokenizer = load_tokenizer(cell.target)
    assert all(r.tokens == len(tokenizer(r.text)["input_ids"]) for r in rows)
    assert outcome.artifact.metadata["mean_logprob_per_token"] is None


def test_random_tokens_are_plain_text_of_about_the_length(tiny_cell: Cell, store: Path) -> None:
    cell = source(tiny_cell, "random")
    _, rows = make(cell, store)
    assert len(rows) == 16 == len({r.text for r in rows})
    for row in rows:
        assert "<|" not in row.text and "think>" not in row.text and "\ufffd" not in row.text
        assert 0.5 * 128 < row.tokens <= 128 * 1.5
    _, other = make(altered(cell, "recipe", draw=1), store)
    assert not {r.text for r in other} & {r.text for r in rows}


MOVES: list[tuple[str, Callable[[Cell], Cell]]] = [
    ("candidates", lambda c: altered(c, candidates=3)),
    ("draw", lambda c: altered(c, "recipe", draw=1)),
    ("batch size", lambda c: altered(c, batch_size=8)),
    (
        "temperature",
        lambda c: altered(c, sampling=c.recipe.regeneration.sampling.model_copy(update={"temperature": 0.5})),
    ),
    (
        "prompts",
        lambda c: replace(c, family=c.family.model_copy(update={"prompts": Prompts(text="{{ text }}")})),
    ),
    (
        "thinking",
        lambda c: replace(c, family=c.family.model_copy(update={"thinking": Thinking(close="</t>")})),
    ),
    ("teacher", lambda c: replace(c, teacher=c.target)),
    ("source", lambda c: source(c, "self")),
    ("device", lambda c: replace(c, device="cuda")),
]


@pytest.mark.parametrize(("what", "move"), MOVES, ids=[m[0] for m in MOVES])
def test_the_identity_moves_with(tiny_cell: Cell, what: str, move: Callable[[Cell], Cell]) -> None:
    assert REGENERATED_CORPUS.identity(move(tiny_cell)) != REGENERATED_CORPUS.identity(tiny_cell)


def test_the_identity_moves_with_the_library(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    before = REGENERATED_CORPUS.identity(tiny_cell)
    monkeypatch.setattr(
        "faq_pipeline.inference.transformers_engine.tool_version", lambda package: f"{package} next"
    )
    assert REGENERATED_CORPUS.identity(tiny_cell) != before


def test_the_identity_stays_with_what_is_not_used(tiny_cell: Cell) -> None:
    assert SEED_DATA.identity(altered(tiny_cell, candidates=9)) == SEED_DATA.identity(tiny_cell)
    scheme = altered(tiny_cell, "quantization", scheme="W8A8")
    longer = altered(scheme, "calibration", sequence_length=64)
    assert REGENERATED_CORPUS.identity(longer) == REGENERATED_CORPUS.identity(tiny_cell)
    original = source(tiny_cell, "original")
    moved = altered(altered(original, candidates=5, sampling=None), "recipe", draw=4)
    assert REGENERATED_CORPUS.identity(moved) == REGENERATED_CORPUS.identity(original)
    tokens = source(tiny_cell, "random")
    assert REGENERATED_CORPUS.identity(altered(tokens, batch_size=1)) == REGENERATED_CORPUS.identity(tokens)
    assert REGENERATED_CORPUS.identity(
        altered(tokens, "calibration", sequence_length=64)
    ) != REGENERATED_CORPUS.identity(tokens)


def test_an_unknown_engine_is_refused_before_anything_runs(tiny_cell: Cell) -> None:
    with pytest.raises(FaqError, match="unknown engine 'vlm'"):
        REGENERATED_CORPUS.identity(altered(tiny_cell, engine="vlm"))


def long_seed(cell: Cell, folder: Path, words: int) -> Cell:
    path = folder / "long.jsonl"
    rows = [{"id": f"s{i}", "kind": "text", "text": "river " * (words if i == 2 else 3)} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return altered(cell, "seeds", path=path, count=4)


@pytest.mark.parametrize("name", ["teacher", "original"])
def test_a_seed_longer_than_the_context_names_its_line(tiny_cell: Cell, tmp_path: Path, name: str) -> None:
    cell = long_seed(source(tiny_cell, name), tmp_path, 600)
    with pytest.raises(FaqError, match=r"long.jsonl:3: seed 's2' takes \d+ tokens.*context of tiny-s is 512"):
        make(cell, tmp_path / "store")


def test_a_prompt_must_leave_room_for_the_sample(tiny_cell: Cell, tmp_path: Path) -> None:
    cell = long_seed(tiny_cell, tmp_path, 240)
    sampling = cell.recipe.regeneration.sampling
    assert sampling is not None
    cell = altered(cell, sampling=sampling.model_copy(update={"max_new_tokens": 400}))
    with pytest.raises(
        FaqError, match=r"long.jsonl:3: seed 's2' as a prompt takes \d+ tokens and max_new_tokens 400.*tiny-l"
    ):
        make(cell, tmp_path / "store")


def other_template(weights: Weights, folder: Path, template: str, **config: Any) -> Weights:
    shutil.copytree(weights.folder, folder)
    (folder / "chat_template.jinja").write_text(template)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return find_weights(weights.member.model_copy(update={"path": folder}), folder.parent / "digests")


def test_a_template_that_opens_the_thinking(
    tiny_cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_cell.teacher is not None
    opening = TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    teacher = other_template(tiny_cell.teacher, tmp_path / "opens", opening)
    written = "12 - 5 = 7\n</think>\n\nAnswer: 7"
    asked = []

    def batch(self: Any, requests: Any, sampling: Any) -> list[Completion]:
        asked.extend(requests)
        return [Completion(r.id, written, 9, -3.0, "stop") for r in requests]

    monkeypatch.setattr("faq_pipeline.inference.transformers_engine.TransformersEngine._batch", batch)
    listener = Listener()
    _, rows = make(replace(tiny_cell, teacher=teacher), tmp_path / "store", listener)
    assert all(r.prompt.endswith("<think>\n") for r in rows) and len(asked) == 16
    assert {(r.text, r.reasoning, r.answer) for r in rows} == {(written, "12 - 5 = 7", "Answer: 7")}
    assert any("other chat templates" in note for note in listener.notes)


def test_a_padded_vocabulary_is_worth_a_note(
    tiny_cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_cell.teacher is not None
    teacher = other_template(tiny_cell.teacher, tmp_path / "padded", TEMPLATE, vocab_size=640)

    def batch(self: Any, requests: Any, sampling: Any) -> list[Completion]:
        return [Completion(r.id, "", 1, -3.0, "stop") for r in requests]

    monkeypatch.setattr("faq_pipeline.inference.transformers_engine.TransformersEngine._batch", batch)
    monkeypatch.setattr("faq_pipeline.inference.transformers_engine.load_model", load_smaller(tiny_cell))
    outcome, _ = make(replace(tiny_cell, teacher=teacher), tmp_path / "store")
    (note,) = outcome.artifact.metadata["notes"]
    assert "640 and 512" in note
    assert outcome.artifact.metadata["empty"] == 16


def load_smaller(cell: Cell) -> Callable[[Weights, str], Any]:
    """The padded config has no fitting weights: load the real ones."""
    from faq_pipeline.models.loading import load_model

    return lambda weights, device: load_model(cell.target, device)
