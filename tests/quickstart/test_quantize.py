"""`faq quantize` from a model folder to a checkpoint, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from faq_pipeline.models.weights import count_parameters
from faq_pipeline.quickstart.teacher import LARGER
from faq_pipeline.util.files import files_below
from tests.orchestration.conftest import Run
from tests.tiny import make_llama

SHORT = ("--set", "regeneration.sampling.max_new_tokens=48", "--set", "evaluation.max_new_tokens=8")
"""Limits under which the whole takes seconds."""


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; no folder but the home's own and the shipped one holds data."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose artifacts several tests reuse."""
    return tmp_path_factory.mktemp("home")


def asked(faq: Run, *arguments: str, **where: Path) -> Any:
    """What the command tells with `--json`."""
    done = faq("", *arguments, "--json", **where)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_from_a_folder_to_a_checkpoint_and_back_again(
    faq: Run, nowhere: Path, llama: Path, chats: Path, home: Path
) -> None:
    command = ("quantize", str(llama), "--seeds", str(chats), "--scheme", "W4A16", *SHORT)
    done = faq("", *command, home=home)
    assert done.code == 0, done.err
    folder = nowhere / "acme-1m-W4A16"
    lines = done.out.splitlines()
    assert max(len(line) for line in lines if "/" not in line) <= 80  # paths are not broken
    told = " ".join(done.out.split())
    assert "seeds: chat.jsonl (chat messages): 14 prompts of 1 domain" in told
    assert f"{chats}:3: refused: no user's turn" in told and f"{chats}:16: refused: not valid JSON" in told
    assert "licence mit" in told and "reasoning in <think>" in told
    assert "accuracy is not measured" in told
    assert "next-token probabilities" in told and "lower is better" in told
    assert f"checkpoint: {folder}" in told
    # One divergence has one name wherever it is read.
    assert "KL on tasks" in told and "KL on prose" in told and "1e-3 nats a token" in told
    assert "own replies to development prompts, as no task is asked" in told
    assert not any(name in told for name in ("on replies", "on own replies", "on answers"))

    # transformers loads it, its card says what was measured, and the second time nothing is made.
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = AutoModelForCausalLM.from_pretrained(folder).config
    assert config.model_type == "llama" and config.quantization_config is not None
    assert AutoTokenizer.from_pretrained(folder).chat_template
    card = (folder / "README.md").read_text()
    assert "| KL on tasks (on the unquantized model's own replies to development prompts), 1e-3 nats" in card
    assert "| KL on prose, 1e-3 nats a token |" in card
    assert "accuracy was not measured" in card and "license: mit" in card
    again = asked(faq, *command, home=home)
    assert {row["cache"] for row in again["stages"]} == {"hit"} and len(again["stages"]) == 25
    assert again["folder"] == str(folder) and again["result"]["kl"]["value"] > 0
    assert again["result"]["recovery"] is None
    assert again["fingerprint"] in card
    assert any(word in again["outcome"] for word in ("lower", "higher", "cannot be told"))
    page = Path(again["report"]).read_text()
    assert "KL on tasks" in page and "KL on prose" in page and "on replies" not in page

    # The same cell is there for the other commands; and another checkpoint does not replace this one.
    listed = asked(faq, "compare", "--member", "acme-1m", home=home)["recipes"]
    assert {row["recipe"] for row in listed} == {"acme-1m-w4a16", "acme-1m-w4a16-raw", "acme-1m-w4a16-chat"}
    other = faq("", *command, "--set", "quantization.dampening=0.2", home=home)
    assert other.code == 2 and "this folder holds another checkpoint" in other.err

    # Nor does a copy that has changed since pass for the checkpoint.
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed = faq("", *command, home=home)
    assert changed.code == 2 and "acme-1m-W4A16/model.safetensors: bytes differ" in changed.err
    weights.unlink()
    assert (
        "model.safetensors: missing: this folder was made as checkpoint" in faq("", *command, home=home).err
    )


def test_without_evaluation_only_the_checkpoint_is_made(
    faq: Run, nowhere: Path, llama: Path, chats: Path, home: Path
) -> None:
    command = ("quantize", str(llama), "--seeds", str(chats), "--no-eval", "--out", str(nowhere / "mine"))
    found = asked(faq, *command, *SHORT, "--set", "calibration.tokens=400", home=home)
    assert {row["asset"] for row in found["stages"]} == {
        "seed_data",
        "inference_traces",
        "regenerated_corpus",
        "competition_scores",
        "calibration_set",
        "quantized_checkpoint",
    }
    assert "cannot be told" in found["outcome"] and found["report"] is None
    assert (nowhere / "mine/model.safetensors").is_file() and not (nowhere / "mine/README.md").exists()
    checkpoint = home / "store/quantized_checkpoint" / found["fingerprint"] / "checkpoint"
    layers = [asked(faq, "layers", str(folder), home=home) for folder in (nowhere / "mine", checkpoint)]
    assert layers[0] == layers[1] and layers[0]["fingerprint"] == found["fingerprint"]
    traced = [
        asked(faq, "lineage", "trace", name, home=home)
        for name in (str(nowhere / "mine"), found["fingerprint"])
    ]
    assert traced[0] == traced[1]
    evaluated = [one for one in command if one != "--no-eval"]
    found = asked(faq, *evaluated, "--no-baselines", *SHORT, "--set", "calibration.tokens=400", home=home)
    assert Path(found["card"]).read_text(encoding="utf-8").startswith("---")
    exported = faq("", "export", str(nowhere / "mine"), str(nowhere / "copy"), home=home)
    assert exported.code == 0, exported.err
    assert (nowhere / "copy/model.safetensors").read_bytes() == (
        nowhere / "mine/model.safetensors"
    ).read_bytes()


def test_folders_without_a_layer_report_are_refused_in_a_line(faq: Run, nowhere: Path, llama: Path) -> None:
    assert f"{llama}: `faq quantize` did not make this folder" in faq("", "layers", str(llama)).mistake
    (nowhere / "faq.json").write_text('{"fingerprint": "0123456789abcdef0123"}')
    assert "the checkpoint 01234567 that this folder is a copy of is not in" in faq("", "layers", ".").mistake
    assert "no folder and no artifact" in faq("", "layers", "./nowhere").mistake


def test_a_plan_makes_nothing_and_fits_a_machine_that_is_not_here(
    faq: Run, nowhere: Path, llama: Path, chats: Path, tmp_path: Path
) -> None:
    command = ("quantize", str(llama), "--seeds", str(chats), "--dry-run")
    plan = asked(faq, *command, "--assume-memory", "80")["plan"]
    assert {row["cache"] for row in plan if not row["shared"]} == {"miss"}
    assert not any((tmp_path / "home/store").glob("*/*/manifest.json")) and not any(nowhere.iterdir())
    small = faq("", *command, "--assume-memory", "0.0001")
    assert small.code == 2 and "needs about" in small.err
    assert "--assume-memory is for plans" in faq("", *command[:-1], "--assume-memory", "80").err
    assert not list(tmp_path.glob("home/data/**/*.yaml"))
    files = [Path(path) for path in asked(faq, "init", *command[1:-1])["files"]]
    before = [path.read_bytes() for path in files]
    said = faq("", *command, "--set", "calibration.tokens=300").out
    assert f"would be written: {files[1]}" in said.replace("\n", "")
    assert [path.read_bytes() for path in files] == before


def test_the_files_of_init_are_left_alone_once_they_are_edited(
    faq: Run, nowhere: Path, llama: Path, chats: Path, tmp_path: Path
) -> None:
    command = ("init", str(llama), "--seeds", str(chats))
    family, recipe, *_ = map(Path, asked(faq, *command)["files"])
    assert family == tmp_path / "home/data/families/acme-1m.yaml"
    assert asked(faq, "run", "--member", "acme-1m", "--recipe", "acme-1m-w4a16", "--dry-run")["plan"]
    asked(faq, *command, "--set", "calibration.tokens=300")
    assert "tokens: 300\n" in recipe.read_text()
    recipe.write_text(recipe.read_text().replace("tokens: 300", "tokens: 280"))
    done = faq("", *command)
    assert done.code == 2 and f"{recipe}: this file was edited" in done.err
    assert "faq run --member acme-1m --recipe acme-1m-w4a16" in done.err
    assert "tokens: 280" in recipe.read_text()


def test_a_refused_init_leaves_no_file(
    faq: Run, nowhere: Path, llama: Path, chats: Path, tmp_path: Path
) -> None:
    command, data = ("init", str(llama), "--seeds", str(chats)), tmp_path / "home/data"
    assert "unknown key 'bogus'" in faq("", *command, "--set", "bogus=1").mistake
    assert not files_below(data)
    # Nor where a file that was edited is met last.
    recipe = Path(asked(faq, *command)["files"][1])
    recipe.write_text(recipe.read_text() + "# mine\n")
    for path in {*files_below(data)} - {recipe}:
        path.unlink()
    assert "this file was edited" in faq("", *command).mistake
    assert files_below(data) == [recipe]


def test_nobody_s_seeds_are_the_shipped_ones(faq: Run, nowhere: Path, llama: Path) -> None:
    notes = " ".join(asked(faq, "init", str(llama))["choices"])
    assert "seeds: preset 'general': " in notes and "--seeds FILE" in notes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("no-such-folder",), "no model 'no-such-folder'"),
        (("./no-such-folder",), "no model './no-such-folder'"),
        (("{llama}/config.json",), "this is a file"),
        (("{llama}", "--scheme", "W4A61"), "did you mean 'W4A16'?"),
        (("{llama}", "--method", "gtpq"), "did you mean 'gptq'?"),
        (("{llama}", "--seeds", "none.jsonl"), "none.jsonl: no such seed file"),
        (("{llama}", "--seeds", "genral"), "or a preset: general"),
        (("{llama}", "--set", "quantization.dampning=1"), "--set: unknown key 'quantization.dampning'"),
        (("{llama}", "--set", "dampening"), "write it as --set"),
        (("{llama}", "--set", "seeds.count=2024-13-45"), "the value is no YAML"),
        (("{llama}", "--set", "quantization.scheme=W3A16"), "use --scheme"),
        (("{llama}", "--size", "5GB", "--set", "quantization=5"), "contradict each other"),
        (("{llama}", "--teacher", "no-such"), "no model 'no-such'"),
        (("{llama}", "--teacher", "auto"), "no larger model of the family"),
        (("{llama}", "--tasks", "none.yaml"), "none.yaml: no such file"),
        (("{llama}", "--out", "{llama}"), "this folder is not empty"),
        (("{llama}", "--out", "{llama}/config.json/new"), "/config.json is a file"),
        (("{llama}", "--out", "{llama}", "--dry-run"), "this folder is not empty"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    faq: Run, nowhere: Path, llama: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = faq("", "quantize", *(one.format(llama=llama) for one in arguments))
    assert done.code == 2 and told in done.err and len(done.err.splitlines()) == 1, done.err


def test_an_unwritable_folder_is_told_before_any_work(
    faq: Run, nowhere: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nowhere / "locked").mkdir()
    # Not by its mode, which root is above.
    monkeypatch.setattr(os, "access", lambda at, mode: at.exists() and (at.name != "locked" or not mode))
    done = faq("", "quantize", str(llama), "--out", "locked/new/mine")
    assert f"locked/new/mine: cannot be made: {nowhere / 'locked'} cannot be written" in done.mistake


def test_where_replies_are_too_few_the_seeds_as_they_are_calibrate(
    faq: Run, nowhere: Path, chats: Path, tmp_path: Path
) -> None:
    """Of a model that hardly ever ends a reply; the run says so, and its checkpoint is there."""
    model = make_llama(tmp_path / "endless-1M", end_weight=0)
    command = ("quantize", str(model), "--seeds", str(chats), *SHORT)
    found = asked(faq, *command)
    assert "calibrated on the seeds as they are" in found["outcome"]
    assert "answer" not in found["outcome"], "these seeds have none"
    assert found["result"]["recipe"] == "endless-1m-w4a16-chat"
    assert any("less than half of the calibration budget" in note["note"] for note in found["notes"])
    folder = nowhere / "endless-1m-W4A16"
    card = (folder / "README.md").read_text()
    assert (folder / "model.safetensors").is_file() and found["fingerprint"] in card
    assert "no model rewrote them" in card
    assert "the recipe calibrates on the seeds as they are" in Path(found["report"]).read_text()
    again = asked(faq, *command)
    assert again["fingerprint"] == found["fingerprint"]
    # Without baselines there is nothing to fall back on.
    alone = faq("", *command, "--no-eval", "--out", str(nowhere / "other"))
    assert alone.code == 2 and "less than half of the calibration budget" in alone.err


def test_seeds_with_wrong_answers_that_calibrate_after_all_are_counted(
    faq: Run, nowhere: Path, llama: Path, home: Path
) -> None:
    """Most answers are wrong, so that regeneration leaves them out, and the seeds as they are hold them."""
    rows = [
        {"question": f"Mira has {i + 12} apples and gives 5 away. How many remain?", "answer": str(9000 + i)}
        for i in range(14)
    ]
    del rows[0]["answer"]
    (nowhere / "wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("quantize", str(llama), "--seeds", "wrong.jsonl", *SHORT)
    found = asked(faq, *command, home=home)
    row = next(row for row in reversed(found["stages"]) if row["asset"] == "calibration_set")
    (samples,) = (home / "store/calibration_set").glob(f"{row['fingerprint'][:8]}*/samples.parquet")
    texts = parquet.read_table(samples)["text"].to_pylist()
    wrong = sum("assistant\n90" in text for text in texts)
    assert 1 < wrong < 13  # of 13 that were left out: not all enter this set, either
    assert f"The set holds {wrong} seeds with their own answers, though" in found["outcome"]

    # Nor is there a set where all are left out.
    (nowhere / "wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    without = asked(faq, *command, "--out", "without", home=home)
    assert "calibrated on the seeds as they are" in without["outcome"]
    (nowhere / "wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    # The table has both baselines, as that of a run whose regeneration was of use.
    assert found["result"]["recipe"] == "acme-1m-w4a16-chat"
    assert [one["recipe"] for one in found["baselines"]] == ["acme-1m-w4a16-raw"]
    shown = faq("", *command, home=home).out
    for name in ("raw", "chat"):
        assert re.search(rf"acme-1m-w4a16-{name} .*\[", shown)


@pytest.fixture
def base(llama: Path, tmp_path: Path) -> Path:
    """A model without a chat template, as base models are."""
    folder = Path(shutil.copytree(llama, tmp_path / "base-1M"))
    (folder / "chat_template.jinja").unlink()
    return folder


def test_a_model_without_a_chat_template_is_refused_or_given_one(
    faq: Run, nowhere: Path, base: Path, llama: Path, chats: Path, tmp_path: Path, home: Path
) -> None:
    options = ("--no-eval", *SHORT, "--set", "calibration.tokens=400")
    command = ("quantize", str(base), "--seeds", str(chats), *options)
    done = faq("", *command)
    assert done.code == 2 and f"{base}: this model has no chat template" in done.err
    assert "--chat-template FILE" in done.err and len(done.err.splitlines()) == 1

    # Ours is written into the calibration samples, into the checkpoint, and into the family file.
    made = asked(faq, *command, "--chat-template", "plain", home=home)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made["folder"])
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert text == f"User: Why?\n\nAssistant: So.{tokenizer.eos_token}\n\n"
    asking = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert asking == "User: Why?\n\nAssistant:"
    row = next(row for row in made["stages"] if row["asset"] == "calibration_set")
    (samples,) = (home / "store/calibration_set").glob(f"{row['fingerprint'][:8]}*/samples.parquet")
    texts = parquet.read_table(samples)["text"].to_pylist()
    assert texts and all(one.startswith("User: ") and "\n\nAssistant:" in one for one in texts)
    assert not (base / "chat_template.jinja").exists()
    again = asked(faq, *command, home=home)
    assert {row["cache"] for row in again["stages"]} == {"hit"}


@pytest.mark.parametrize(
    ("model", "template", "told"),
    [
        ("base", "none.jinja", "none.jinja: no such chat template"),
        ("base", "bad.jinja", "bad.jinja: the chat template cannot be rendered"),
        ("base", "empty.jinja", "empty.jinja: the chat template leaves out the user's text"),
        ("llama", "plain", "has one of its own"),
    ],
)
def test_a_chat_template_that_does_not_serve_is_refused(
    faq: Run, nowhere: Path, base: Path, llama: Path, model: str, template: str, told: str
) -> None:
    (nowhere / "bad.jinja").write_text("{% for message in messages %}")
    (nowhere / "empty.jinja").write_text("Hello.")
    folder = base if model == "base" else llama
    done = faq("", "init", str(folder), "--chat-template", template)
    assert done.code == 2 and told in done.err and len(done.err.splitlines()) == 1, done.err


def test_a_larger_sibling_teaches_where_it_is_asked_for(
    faq: Run, nowhere: Path, llamas: Path, chats: Path, tmp_path: Path
) -> None:
    command = ("init", str(llamas / "acme-1M"), "--seeds", str(chats))
    written = tmp_path / "home/data/recipes/acme-1m-w4a16.yaml"
    alone = asked(faq, *command)
    assert any(note.startswith("teacher: the model itself; in our studies") for note in alone["choices"])
    assert any(f"--teacher {llamas / 'acme-2M'} " in note for note in alone["choices"])
    assert "source: self\n" in written.read_text()
    written.unlink()
    found = asked(faq, *command, "--teacher", "auto")
    assert any(note.startswith("teacher: acme-2m") for note in found["choices"])
    assert "source: teacher\n  teacher: acme-2m\n" in written.read_text()
    # A family that is known serves the sibling, too.
    assert asked(faq, "init", str(llamas / "acme-2M"), "--seeds", str(chats))["member"] == "acme-2m"
    assert "teacher: the model itself" in asked(faq, *command, "--teacher", "self")["choices"]
    smaller = faq("", "init", str(llamas / "acme-2M"), "--teacher", str(llamas / "acme-1M"))
    assert smaller.code == 2 and "is smaller than" in smaller.err


def test_a_model_that_is_hardly_larger_is_no_teacher_to_offer(
    faq: Run, nowhere: Path, llama: Path, chats: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    shutil.copytree(llama, folder / "acme-1M")
    make_llama(folder / "acme-1.3M", layers=3, seed=1)
    small, hardly = (count_parameters(folder / name) for name in ("acme-1M", "acme-1.3M"))
    assert small < hardly < LARGER * small
    command = ("init", str(folder / "acme-1M"), "--seeds", str(chats))
    assert not any("--teacher" in note for note in asked(faq, *command)["choices"])
    assert "at least 1.5 times its parameters" in faq("", *command, "--teacher", "auto").mistake
    # By name it may teach, and a model that is large enough is offered beside it.
    named = asked(faq, *command, "--teacher", str(folder / "acme-1.3M"))
    assert any(note.startswith("teacher: acme-1.3m") for note in named["choices"])
    make_llama(folder / "acme-2M", layers=4, seed=2)
    assert any(f"--teacher {folder / 'acme-2M'} " in note for note in asked(faq, *command)["choices"])


def test_a_refused_call_leaves_the_files_of_an_earlier_one(
    faq: Run, nowhere: Path, llama: Path, chats: Path, tmp_path: Path
) -> None:
    command = ("quantize", str(llama), "--seeds", str(chats), "--no-eval")
    plan = asked(faq, *command, "--dry-run")
    assert plan
    recipes = tmp_path / "home/data/recipes"
    before = {path.name: path.read_text() for path in recipes.iterdir()}
    for more in (
        ("--set", "quantization.iterations=10"),
        ("--method", "rtn", "--set", "quantization.ranks=2"),
    ):
        refused = faq("", *command, *more)
        assert refused.code == 2 and len(refused.err.splitlines()) == 1 and not refused.out
        assert ".yaml" not in refused.err, "it names no file that is as it was"
        assert {path.name: path.read_text() for path in recipes.iterdir()} == before
