"""The trainer: schedule, pace, loss, determinism, and the commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from training import __main__ as commands
from training import family, model, tokenizer, train
from training.documents import block
from training.feed import BLOCK_ROWS, Feed
from training.settings import MODELS, ROOT, TOKENIZER, settings, shipped_members

CPU = torch.device("cpu")


def _build(seed: int = 1) -> Any:
    return model.build(settings().shapes["kin-test"], settings().vocabulary, seed)


@given(st.integers(1, 5000), st.data())
def test_learning_rate(steps: int, data: st.DataObject) -> None:
    warm_up = data.draw(st.integers(1, max(1, steps // 20)))
    rates = [train.learning_rate(step, steps, warm_up, 2.0) for step in range(steps)]
    flat = int(0.3 * steps)
    assert all(0 < rate <= 2.0 for rate in rates)
    assert rates[: warm_up - 1] == sorted(set(rates[: warm_up - 1]))
    assert set(rates[warm_up:flat]) <= {2.0}
    falling = rates[max(flat, warm_up) :]
    assert all(a > b for a, b in pairwise(falling))
    if steps > warm_up:
        assert rates[max(flat, warm_up) :][0] == 2.0 or flat < warm_up
        assert rates[-1] == pytest.approx(2.0 / (steps - flat))


def test_weight_decay_spares_norms_and_embeddings() -> None:
    network = _build()
    decayed, plain = train.optimizer(network, 1e-3, fused=False).param_groups
    names = {id(weight): name for name, weight in network.named_parameters()}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {names[id(w)].split(".")[-2] for w in plain["params"]} >= {"embed_tokens", "norm", "q_norm"}
    assert all(names[id(w)].endswith("_proj.weight") for w in decayed["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_the_plain_loss_is_that_of_the_architecture() -> None:
    shape = replace(settings().shapes["kin-test"], layers=2)
    network = model.build(shape, settings().vocabulary, 3)
    ids = torch.randint(0, settings().vocabulary, (3, 40), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        for weight in network.parameters():  # norms start at one: move them, so that they count
            weight.mul_(1 + 0.3 * torch.rand(weight.shape, generator=torch.Generator().manual_seed(5)))
    ours = model.loss(network, ids, *model.rope(40, CPU), torch.float32)
    ours.backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    network.zero_grad(set_to_none=True)
    theirs = network(input_ids=ids, labels=ids).loss
    theirs.backward()
    torch.testing.assert_close(ours, theirs)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_the_seed_decides_the_first_weights() -> None:
    one, two, other = (_build(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


class Clock:
    """Time that passes only when told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(train, "time", clock)
    return clock


def _walk(clock: Clock, watch: train.Watch, per_step: float) -> int:
    step = 0
    while step < watch.steps:
        clock.now += per_step
        step += 1
        if step == train.SLOW_STEPS:
            watch.measure_from(step)
        if step % train.LOOK_EVERY == 0 or step == watch.steps:
            watch.look(step, 1.0, 1e-3)
    return step


@pytest.mark.parametrize(
    ("minutes", "steps"),
    [(None, 1000), (1000.0, 1000), (1000 / 60, 1000), (10.0, 600), (2.0, 120), (0.5, 61)],
)
def test_a_run_is_shortened_to_its_time(clock: Clock, minutes: float | None, steps: int) -> None:
    run = train.Run("m", 0)
    watch = train.Watch(run, 1000, 10, 0.0, minutes)
    assert _walk(clock, watch, 1.0) == steps
    watch.finish(0.25)
    assert (run.steps, run.tokens, run.seconds, run.final_loss) == (steps, 10 * steps, steps, 0.25)
    assert run.tokens_per_second == pytest.approx(10.0)
    assert bool(run.shortened) == (steps < 1000)


def test_a_late_decision_adds_no_step(clock: Clock) -> None:
    run = train.Run("m", 0)
    watch = train.Watch(run, 12, 10, 0.0, 0.01)
    assert _walk(clock, watch, 1.0) == 12
    assert run.shortened == []


def test_the_second_decision_sees_a_slowdown(clock: Clock) -> None:
    run = train.Run("m", 0)
    watch = train.Watch(run, 1000, 10, 0.0, 20.0)
    for step in range(1, 261):
        clock.now += 1.0 if step <= 60 else 6.0
        if step == train.SLOW_STEPS:
            watch.measure_from(step)
        if step % train.LOOK_EVERY == 0:
            watch.look(step, 1.0, 1e-3)
    assert watch.steps < 300
    assert len(run.shortened) == 1


def test_compiling_may_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", broken)
    assert train._compiled(_build(), ()) == (model.loss, False)
    assert "no compiler" in capsys.readouterr().out


def test_feed_and_training_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    """One worker or two: the same rows, hence bit by bit the same weights."""
    loaded = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    written = np.concatenate([block(settings(), loaded, index, BLOCK_ROWS) for index in range(3)])
    feed = Feed(TOKENIZER, 2, 20)
    try:
        batches = iter(feed)
        assert np.array_equal(np.concatenate([next(batches) for _ in range(4)]), written[:80])
    finally:
        feed.close()
    plan = replace(settings().plans["kin-test"], tokens=2048 * 6)
    results = [train.train("kin-test", plan, TOKENIZER, CPU, workers, None, False) for workers in (1, 2)]
    (one, run), (two, _) = results
    assert (run.steps, run.tokens, run.hardware, run.compiled) == (6, 12288, "CPU", False)
    first, second, untrained = one.state_dict(), two.state_dict(), _build(settings().seed).state_dict()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
        assert not torch.equal(weight, untrained[name]), name
    model.save(one, tmp_path)
    again = AutoModelForCausalLM.from_pretrained(str(tmp_path))
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, first[name].to(torch.bfloat16)), name


@pytest.mark.slow
def test_a_member_from_the_command_line(tmp_path: Path) -> None:
    """The real command: workers, training, saving, evaluation, card."""
    options = "--device cpu --eager --workers 1 --tokens 4096 --questions 4".split()  # noqa: SIM905
    done = subprocess.run(
        [sys.executable, "-m", "training", "member", "kin-test", "--out", str(tmp_path), *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "RESULT kin-test accuracy" in done.stdout
    folder = tmp_path / "kin-test"
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert (record["steps"], record["tokens"], record["planned_tokens"]) == (2, 4096, 4096)
    assert record["evaluation"]["questions"] == 4
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("---\nlicense: apache-2.0")
    assert AutoModelForCausalLM.from_pretrained(str(folder)).num_parameters() == record["parameters"]
    assert {p.name for p in folder.iterdir()} == {p.name for p in (MODELS / "kin-2m").iterdir()}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the commands would make, without making it."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tokenizer, "train", lambda _: "trained")
    monkeypatch.setattr(tokenizer, "save", lambda trained, folder: calls.append((trained, folder)))
    monkeypatch.setattr(family, "make_member", lambda *places, **options: calls.append((*places, options)))
    return calls


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    commands.main()


def test_family_makes_the_tokenizer_first(
    made: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(monkeypatch, "family", "--device", "cpu", "--out", str(tmp_path), "--max-minutes", "1.5")
    options = {
        "workers": 14,
        "tokens": None,
        "max_minutes": 1.5,
        "questions": 1500,
        "compile_model": True,
        "tokenizer": tmp_path / "kin-tokenizer",
    }
    expected = [(name, tmp_path, CPU, options) for name in shipped_members()]
    assert made == [("trained", tmp_path / "kin-tokenizer"), *expected]


def test_family_rebuilds_the_shipped_folders_unless_told_otherwise(
    made: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(monkeypatch, "family", "--device", "cpu")
    assert made[0] == ("trained", TOKENIZER)
    assert {call[1] for call in made[1:]} == {MODELS}


def test_a_member_uses_the_shipped_tokenizer(
    made: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(monkeypatch, "member", "kin-test", "--device", "cpu", "--eager", "--tokens", "5")
    ((name, folder, device, options),) = made
    assert (name, folder, device) == ("kin-test", MODELS, CPU)
    assert (options["tokens"], options["compile_model"], options["tokenizer"]) == (5, False, TOKENIZER)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("family --device nowhere", "nowhere is no device"),
        ("family --device cuda:99", "there is no cuda:99 here"),
        ("family --device cpu --tokens 0", "0 is not at least 1"),
        ("family --device cpu --workers 0", "0 is not at least 1"),
        ("family --device cpu --questions -3", "-3 is not at least 1"),
        ("family --device cpu --max-minutes 0", "0 is not more than 0"),
        ("member kin-9m --device cpu", "invalid choice"),
        ("evaluate x --split training", "invalid choice"),
        ("", "required"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    arguments: str,
    complaint: str,
    made: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        _run(monkeypatch, *arguments.split())
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err
    assert made == []
