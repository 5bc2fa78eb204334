"""The trainer: loss, determinism, and the commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from training import __main__ as commands
from training import family as making
from training import model, together, tokenizer, train
from training.documents import block
from training.feed import BLOCK_ROWS, Feed
from training.settings import MODELS, ROOT, Settings, family_of, settings

CPU = torch.device("cpu")
KIN = settings("kin")


def _build(family: Settings = KIN, seed: int = 1) -> Any:
    shape = family.members[f"{family.name}-test"].shape
    return model.build(replace(family, seed=seed), shape)


def test_weight_decay_spares_norms_and_embeddings() -> None:
    network = _build()
    decayed, plain = train.optimizer(network, 1e-3, fused=False).param_groups
    names = {id(weight): name for name, weight in network.named_parameters()}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {names[id(w)].split(".")[-2] for w in plain["params"]} >= {"embed_tokens", "norm", "q_norm"}
    assert all(names[id(w)].endswith("_proj.weight") for w in decayed["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_the_plain_loss_is_that_of_the_architecture(family: Settings, kv_heads: int) -> None:
    shape = replace(family.members[f"{family.name}-test"].shape, layers=2, kv_heads=kv_heads)
    network = model.build(family, shape)
    ids = torch.randint(0, family.vocabulary, (3, 40), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        for weight in network.parameters():  # norms start at one: move them, so that they count
            weight.mul_(1 + 0.3 * torch.rand(weight.shape, generator=torch.Generator().manual_seed(5)))
    ours = model.loss(network, ids, *model.rope(family, 40, CPU), torch.float32)
    ours.backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    network.zero_grad(set_to_none=True)
    theirs = network(input_ids=ids, labels=ids).loss
    theirs.backward()
    torch.testing.assert_close(ours, theirs)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_the_seed_decides_the_first_weights() -> None:
    one, two, other = (_build(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_members_share_marks_and_differ_in_shape(family: Settings) -> None:
    """Configurations name the marks by their ids; groups of 128 fit every linear layer."""
    chat = family.chat
    for member in family.members.values():
        made = model.config(family, member.shape)
        assert (made.eos_token_id, made.pad_token_id) == (chat.id_of(chat.end), chat.id_of(chat.end_of_text))
        assert made.bos_token_id == (chat.id_of(chat.begin) if chat.begin else None)
        heads = made.num_attention_heads * made.head_dim
        assert made.hidden_size % 128 == made.intermediate_size % 128 == heads % 128 == 0


def test_compiling_may_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", broken)
    assert train._compiled(_build(), ()) == (model.loss, False)
    assert "no compiler" in capsys.readouterr().out


@pytest.mark.parametrize("member", ["kin-test", "moss-test"])
def test_feed_and_training_do_not_depend_on_the_workers(member: str, tmp_path: Path) -> None:
    """One worker or two: the same rows, hence bit by bit the same weights."""
    family = family_of(member)
    mix = family.members[member].mix
    loaded = Tokenizer.from_file(str(family.tokenizer / "tokenizer.json"))
    written = np.concatenate([block(family, mix, loaded, index, BLOCK_ROWS) for index in range(3)])
    feed = Feed(member, family.tokenizer, 2, 20)
    try:
        batches = iter(feed)
        assert np.array_equal(np.concatenate([next(batches) for _ in range(4)]), written[:80])
    finally:
        feed.close()
    plan = replace(family.members[member].plan, tokens=2048 * 6)
    results = [train.train(member, plan, family.tokenizer, CPU, workers, None, False) for workers in (1, 2)]
    (one, run), (two, _) = results
    assert (run.steps, run.tokens, run.hardware, run.compiled) == (6, 12288, "CPU", False)
    assert run.shortened == []
    untrained = model.build(family, family.members[member].shape).state_dict()
    first, second = one.state_dict(), two.state_dict()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
        assert not torch.equal(weight, untrained[name]), name
    model.save(one, family, tmp_path)
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
    monkeypatch.setattr(tokenizer, "train", lambda family: f"trained {family.name}")
    monkeypatch.setattr(tokenizer, "save", lambda trained, _, folder: calls.append((trained, folder)))
    monkeypatch.setattr(making, "make_member", lambda *places, **options: calls.append((*places, options)))
    return calls


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    commands.main()


@pytest.mark.parametrize("chosen", [(), ("--family", "moss")])
def test_family_makes_the_tokenizer_first(
    made: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: tuple[str, ...]
) -> None:
    _run(monkeypatch, "family", *chosen, "--device", "cpu", "--out", str(tmp_path), "--max-minutes", "1.5")
    family = settings("moss" if chosen else "kin")
    folder = tmp_path / f"{family.name}-tokenizer"
    options = {
        "workers": 14,
        "tokens": None,
        "max_minutes": 1.5,
        "questions": 1500,
        "compile_model": True,
        "tokenizer": folder,
        "beside": 0,
    }
    expected = [(member.name, tmp_path, CPU, options) for member in family.shipped]
    assert made == [(f"trained {family.name}", folder), *expected]


def test_family_rebuilds_the_shipped_folders_unless_told_otherwise(
    made: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(monkeypatch, "family", "--device", "cpu")
    assert made[0] == ("trained kin", KIN.tokenizer)
    assert {call[1] for call in made[1:]} == {MODELS}


def test_a_member_uses_the_tokenizer_of_its_family(
    made: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(
        monkeypatch, "member", "moss-test", "--device", "cpu", "--eager", "--tokens", "5", "--questions", "0"
    )
    ((name, folder, device, options),) = made
    assert (name, folder, device) == ("moss-test", MODELS, CPU)
    assert (options["tokens"], options["compile_model"], options["tokenizer"]) == (5, False, None)
    assert options["questions"] == 0


def test_workers_are_shared_out_as_the_family_says() -> None:
    moss, kin = settings("moss").shipped, KIN.shipped
    assert together.shares(moss, 14) == [2, 4, 8]
    assert together.shares(moss, 7) == [1, 2, 4]
    assert together.shares(moss, 2) == [1, 1, 1]
    assert together.shares(kin, 14) == [5, 5, 4]
    for workers in range(3, 40):
        assert sum(together.shares(moss, workers)) == workers


def test_all_at_once_each_member_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--at-once` starts is what one would type, and is understood."""
    started: list[Sequence[str]] = []

    class Ended:
        def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
            started.append(command)
            self.code = 3 if "moss-2m" in command else 0

        def wait(self) -> int:
            return self.code

        def terminate(self) -> None: ...

    monkeypatch.setattr(together.subprocess, "Popen", Ended)
    arguments = "family --family moss --at-once --max-minutes 3.4 --workers 14 --questions 0 --out o"
    with pytest.raises(SystemExit) as stopped:
        _run(monkeypatch, *arguments.split())
    assert stopped.value.code == 1, "one failed"
    parsed = [commands._parser().parse_args(command[3:]) for command in started]
    assert [(p.command, p.name, p.workers) for p in parsed] == [
        ("member", "moss-1m", 2),
        ("member", "moss-2m", 4),
        ("member", "moss-3m", 8),
    ]
    for one in parsed:
        assert (one.max_minutes, one.questions, one.out, one.device) == (3.4, 0, Path("o"), "cuda:0")
        assert (one.tokens, one.eager, one.beside) == (None, False, 2)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("family --device nowhere", "nowhere is no device"),
        ("family --device cuda:99", "there is no cuda:99 here"),
        ("family --device cpu --tokens 0", "0 is not at least 1"),
        ("family --device cpu --workers 0", "0 is not at least 1"),
        ("family --device cpu --questions -3", "-3 is not at least 0"),
        ("family --family kith --device cpu", "invalid choice"),
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
