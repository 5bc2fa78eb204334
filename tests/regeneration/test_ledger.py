"""The sample ledger and the sampling that resumes from it, with an engine that counts its work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.engine import Completion, Request, Unit
from faq_pipeline.inference.ledger import Ledger
from faq_pipeline.inference.sampling import sample
from faq_pipeline.util.progress import SilentProgress

SAMPLING = Sampling(temperature=1, max_new_tokens=8)
REQUESTS = [Request(f"s{i}#0", f"prompt {i % 3}", i) for i in range(10)]


class Killed(Exception):
    pass


@dataclass
class Engine:
    """Answers at once, in units of `size`; dies after `life` completions, fails what `failing` names."""

    size: int = 1
    life: int | None = None
    failing: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    entered: int = 0
    repeats: bool = True

    def identity(self) -> dict[str, Any]:
        return {"engine": "counting"}

    def units(self, requests: Iterable[Request]) -> list[Unit]:
        known = sorted(requests, key=lambda r: r.prompt)
        batches = [known[i : i + self.size] for i in range(0, len(known), self.size)]
        return [Unit(tuple(b), "" if self.size == 1 else repr([r.id for r in b])) for b in batches]

    def __enter__(self) -> Self:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def generate(self, units: Sequence[Unit], sampling: Sampling) -> Iterator[Completion]:
        for unit in units:
            for request in reversed(unit.requests):
                if self.life is not None and len(self.asked) >= self.life:
                    raise Killed
                self.asked.append(request.id)
                if request.id in self.failing:
                    yield Completion(request.id, "", 0, None, "error", "too long")
                else:
                    yield Completion(request.id, f"text of {request.id} é\n", 5, -1.5, "stop")

    def figures(self) -> dict[str, Any]:
        return {"gpus": 0}


def ledger(root: Path, **configuration: Any) -> Ledger:
    return Ledger(root, configuration)


def run(engine: Engine, root: Path, requests: Sequence[Request] = REQUESTS) -> dict[str, Completion]:
    return sample(engine, requests, SAMPLING, ledger(root), SilentProgress()).completions


def test_a_finished_corpus_starts_no_engine(tmp_path: Path) -> None:
    first, again = Engine(), Engine()
    made = run(first, tmp_path)
    assert set(made) == {r.id for r in REQUESTS} and len(first.asked) == 10
    assert run(again, tmp_path, REQUESTS[::-1]) == made
    assert again.entered == 0


def test_more_seeds_pay_for_the_new_ones_only(tmp_path: Path) -> None:
    run(Engine(), tmp_path, REQUESTS[:6])
    engine = Engine()
    run(engine, tmp_path)
    assert sorted(engine.asked) == sorted(r.id for r in REQUESTS[6:])


def test_another_configuration_prompt_or_seed_finds_nothing(tmp_path: Path) -> None:
    run(Engine(), tmp_path)
    assert not ledger(tmp_path, engine="other").finished(Engine().units(REQUESTS))
    other = [Request(r.id, r.prompt + "!", r.seed) for r in REQUESTS[:5]]
    other += [Request(r.id, r.prompt, r.seed + 1) for r in REQUESTS[5:]]
    assert not ledger(tmp_path).finished(Engine().units(other))


@settings(max_examples=40)
@given(size=st.integers(1, 5), lives=st.lists(st.integers(0, 12), max_size=4), torn=st.integers(0, 40))
def test_killed_runs_lose_at_most_the_unit_under_way(size: int, lives: list[int], torn: int) -> None:
    """Whatever the kills and a torn last line, all samples come out as if nothing had happened."""
    with TemporaryDirectory() as folder:
        root, recorded = Path(folder), set[str]()
        for life in lives:
            engine = Engine(size, life)
            with suppress(Killed):
                run(engine, root)
            assert not recorded & set(engine.asked), "paid twice"
            units = engine.units(REQUESTS)
            now = set(ledger(root).finished(units))
            assert recorded <= now and len(now) >= len(recorded) + len(engine.asked) // size * size - size
            recorded = now
        for segment in root.glob("*/*.jsonl"):
            whole = segment.read_bytes()
            segment.write_bytes(whole + whole[: min(torn, len(whole) - 1)].split(b"\n")[0])
        assert set(ledger(root).finished(Engine(size).units(REQUESTS))) == recorded
        assert run(Engine(size), root) == run(Engine(size), root / "undisturbed")


def test_a_unit_of_other_requests_is_another_unit(tmp_path: Path) -> None:
    """A batch has one seed, so its samples are not those of a smaller or larger one."""
    run(Engine(size=5), tmp_path)
    engine = Engine(size=4)
    run(engine, tmp_path)
    assert len(engine.asked) == 10


def test_failed_requests_are_told_and_asked_again_by_the_next_run(tmp_path: Path) -> None:
    made = run(Engine(failing=frozenset({"s3#0"})), tmp_path)
    assert made["s3#0"].finish == "error" and made["s3#0"].error == "too long"
    engine = Engine()
    assert run(engine, tmp_path)["s3#0"].finish == "stop" and engine.asked == ["s3#0"]


def test_when_most_fail_the_run_fails_and_keeps_the_rest(tmp_path: Path) -> None:
    failing = frozenset(r.id for r in REQUESTS[:6])
    with pytest.raises(FaqError, match=r"6 of 10 samples failed, the first with: too long"):
        run(Engine(failing=failing), tmp_path)
    assert len(ledger(tmp_path).finished(Engine().units(REQUESTS))) == 4


def test_time_of_earlier_runs_counts(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(Engine(life=5), tmp_path)
    made = sample(Engine(), REQUESTS, SAMPLING, ledger(tmp_path), SilentProgress())
    entries = ledger(tmp_path).finished(Engine().units(REQUESTS))
    assert made.reused == 5 and made.seconds == pytest.approx(
        sum(e.seconds for e in entries.values()), abs=1e-3
    )


def test_samples_are_taken_inside_the_with_block_only(tmp_path: Path) -> None:
    ledger, (unit, *_) = Ledger(tmp_path, {"test": 1}), Engine().units(REQUESTS)
    done = {unit.requests[0].id: Completion(unit.requests[0].id, "text", 5, -1.5, "stop")}
    with ledger:
        ledger.record(unit, done)
    with pytest.raises(RuntimeError, match="'with' block"):
        ledger.record(unit, done)
    assert set(ledger.finished([unit])) == set(done)
