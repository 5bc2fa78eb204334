"""Seeds: every mistake names file, line and hint; draws are balanced and repeat."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.config.recipe import Dataset, Seeds
from faq_pipeline.errors import FaqError
from faq_pipeline.regeneration.seeds import (
    draw_seeds,
    load_dataset_seeds,
    load_seeds,
    seed_error,
    seeds_identity,
)
from faq_pipeline.store.records import Seed

GOOD = {"id": "a", "text": "One and one?", "kind": "question"}


def seed_file(folder: Path, *lines: str | dict[str, Any]) -> Path:
    path = folder / "seeds.jsonl"
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    path = seed_file(tmp_path, GOOD, "", {**GOOD, "id": "b", "answer": "two", "source": "me"})
    first, second = load_seeds(path, count=2)
    assert first == Seed("a", "One and one?", "question", None, "general", "seeds.jsonl", "unknown")
    assert (second.answer, second.source) == ("two", "me")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "b", "text": ', "not valid JSON"),
        ('["b"]', "expected a JSON object"),
        ({"id": "b", "kind": "text"}, "missing key 'text' (add it)"),
        ({**GOOD, "id": "b", "licens": "MIT"}, "unknown key 'licens' (did you mean 'licence'?)"),
        ({**GOOD, "id": 7}, "id: input should be a valid string, got 7"),
        ({**GOOD, "id": "b", "kind": "prose"}, "kind: input should be 'question' or 'text'"),
        ({**GOOD, "id": "b", "text": " \n"}, "text: must not be empty"),
        (GOOD, "id 'a' is already on line 1"),
    ],
)
def test_a_mistake_names_its_line(tmp_path: Path, line: Any, said: str) -> None:
    path = seed_file(tmp_path, GOOD, "", line)
    with pytest.raises(FaqError) as caught:
        load_seeds(path, count=1)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_few_rows_and_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(FaqError, match=r"seeds.jsonl:1: 1 seeds, and the recipe wants 5"):
        load_seeds(seed_file(tmp_path, GOOD), count=5)
    with pytest.raises(FaqError, match=r"seeds.jsonl:1: the file is empty"):
        load_seeds(seed_file(tmp_path), count=1)
    with pytest.raises(FaqError, match="no such file"):
        load_seeds(tmp_path / "gone.jsonl", count=1)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + '{"id": "é"}'.encode("latin-1"))
    with pytest.raises(FaqError, match=r"seeds.jsonl:2: not UTF-8"):
        load_seeds(path, count=1)


def test_identity_follows_the_bytes_and_not_the_path(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        seed_file(folder, GOOD)
    of = [seeds_identity(Seeds(path=f / "seeds.jsonl", count=1)) for f in (here, there)]
    assert of[0] == of[1]
    seed_file(there, {**GOOD, "domain": "sums"})
    assert seeds_identity(Seeds(path=there / "seeds.jsonl", count=1)) != of[0]
    with pytest.raises(FaqError, match="no such seed file"):
        seeds_identity(Seeds(path=tmp_path / "gone.jsonl", count=1))


def test_an_error_about_a_drawn_seed_finds_its_line(tmp_path: Path) -> None:
    path = seed_file(tmp_path, GOOD, {**GOOD, "id": "b"})
    second = load_seeds(path, count=2)[1]
    error = seed_error(Seeds(path=path, count=2), second, "is odd", "fix it")
    assert str(error) == f"{path}:2: seed 'b' is odd (fix it)"


def seed(name: str, domain: str) -> Seed:
    return Seed(name, "text", "text", None, domain, "tests", "MIT")


POPULATION = st.lists(st.sampled_from("abc"), min_size=1, max_size=40).map(
    lambda domains: [seed(f"s{i}", domain) for i, domain in enumerate(domains)]
)


@given(POPULATION, st.integers(1, 50), st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_draw_is_balanced_and_blind_to_order(
    seeds: list[Seed], count: int, draw: int, shuffler: Any
) -> None:
    drawn = draw_seeds(seeds, count, draw)
    assert len(drawn) == min(count, len(seeds)) == len({s.id for s in drawn})
    there, taken = Counter(s.domain for s in seeds), Counter(s.domain for s in drawn)
    # A domain may lag behind another by more than one only if it is used up.
    for domain in there:
        assert taken[domain] >= max(taken.values()) - 1 or taken[domain] == there[domain]
    shuffled = list(seeds)
    shuffler.shuffle(shuffled)
    assert draw_seeds(shuffled, count, draw) == drawn


def test_draws_differ_and_repeat_across_processes() -> None:
    seeds = [seed(f"s{i}", "ab"[i % 2]) for i in range(20)]
    draws = [tuple(s.id for s in draw_seeds(seeds, 4, draw)) for draw in range(8)]
    assert len(set(draws)) == 8
    # Written down once: Python's hash seed, version and platform must not matter.
    assert draws[0] == ("s3", "s14", "s15", "s0")


ROWS = [{"text": t} for t in ("", "one", "x" * 20_000, *[f"row {i}" for i in range(100)])]
DATASET = Dataset(name="owner/web", revision="0" * 40, licence="ODC-BY")


def test_hub_dataset_gives_its_first_usable_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        asked.update(kwargs, args=args)
        return iter(ROWS)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    seeds = load_dataset_seeds(DATASET, count=2)
    assert asked["revision"] == "0" * 40 and asked["streaming"] is True
    assert [s.id for s in seeds[:2]] == ["owner/web:1", "owner/web:3"]
    assert len(seeds) == 16
    assert {s.licence for s in seeds} == {"ODC-BY"}
    with pytest.raises(FaqError, match="101 usable rows, and the recipe wants 200"):
        load_dataset_seeds(DATASET, count=200)
    with pytest.raises(FaqError, match=r"no text in column 'body'.*columns: text"):
        load_dataset_seeds(DATASET.model_copy(update={"text": "body"}), count=2)


def test_a_dataset_that_cannot_be_read_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(FaqError, match="'owner/web' cannot be read: no route"):
        load_dataset_seeds(DATASET, count=2)
