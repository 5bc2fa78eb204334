"""Bad input: one clear line on stderr, exit code 2, never a traceback."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from faq_pipeline.store.records import Candidate
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows
from tests.orchestration.conftest import DEVICE, Done, Run

MEMBER = ("run", "--member", "tiny-s")
HUGE = 10**15


class World:
    """A copy of the data folder, to be spoilt, and `faq` on it."""

    def __init__(self, data: Path, root: Path, run: Run) -> None:
        self.root = Path(shutil.copytree(data, root / "data"))
        self._run = run

    def __call__(self, *arguments: str) -> Done:
        return self._run(self.root, *arguments)

    def at(self, recipe: str, line: int) -> str:
        """How a mistake in a recipe's line begins."""
        return f"{self.root / 'recipes' / recipe}.yaml:{line}: "

    def run(self, recipe: str = "tiny-faq", member: str = "tiny-s") -> Done:
        return self("run", "--member", member, "--recipe", recipe)

    def edit(self, name: str, old: str, new: str) -> int:
        """Replace once; returns the line."""
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return text[: text.index(old)].count("\n") + 1

    def recipe(self, name: str, **sections: Any) -> None:
        """A recipe like tiny-faq with other sections."""
        content = {"name": name, "extends": "tiny-faq", **sections}
        lines = [f"{key}: {json.dumps(value)}\n" for key, value in content.items()]
        (self.root / f"recipes/{name}.yaml").write_text("".join(lines))

    def seeds(self, *lines: str | dict[str, Any]) -> Path:
        """A seed file, and a recipe `own` that wants two of them and passes them through."""
        path = self.root / "seeds/own.jsonl"
        path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
        self.recipe(
            "own",
            seeds={"path": "../seeds/own.jsonl", "count": 2},
            regeneration={"source": "original", "candidates": 1, "sampling": None},
        )
        return path

    def member(self, name: str, like: str, parameters: int, text: str = "") -> Path:
        """One more member of the family: a copy of another's files."""
        folder = Path(shutil.copytree(self.root / "models" / like, self.root / "models" / name))
        with (self.root / "families/tiny.yaml").open("a") as file:
            file.write(f"  - name: {name}\n    path: {folder}\n    parameters: {parameters}\n{text}")
        return folder


@pytest.fixture
def world(tiny_data: Path, tmp_path: Path, faq: Run) -> World:
    return World(tiny_data, tmp_path, faq)


def question(index: int, **more: Any) -> dict[str, Any]:
    return {"id": f"q{index}", "kind": "question", "text": f"How many harvests had town {index}?", **more}


# --- names and YAML ---


def test_an_unknown_recipe(world: World) -> None:
    """Of dozens, those of the shipped families too, the nearest are named, and what lists all."""
    near, far = world.run("tiny-fak").mistake, world.run("zzz").mistake
    assert near.startswith("unknown recipe 'tiny-fak' (did you mean 'tiny-faq'")
    assert "(faq recipes lists all " in far and "? faq recipes lists all " in near and near.count("'") <= 8


@pytest.mark.parametrize("arguments", [("compare",), ("run", "--recipe", "tiny-faq")], ids=str)
def test_an_unknown_member(world: World, arguments: tuple[str, ...]) -> None:
    mistake = world(*arguments, "--member", "tiny-x").mistake
    assert mistake.startswith("unknown member 'tiny-x' (did you mean 'tiny-")


def test_an_unknown_member_or_recipe_of_a_backfill(world: World) -> None:
    assert "unknown member 'nobody'" in world("backfill", "--members", "nobody", "--recipes", "x").mistake
    assert "unknown recipe 'x'" in world("backfill", "--members", "tiny-s", "--recipes", "x").mistake
    assert "empty list" in world("backfill", "--members", ",", "--recipes", "x").mistake


def test_an_unknown_key(world: World) -> None:
    line = world.edit("recipes/tiny-faq.yaml", "  candidates: 2", "  candidats: 2")
    path = world.root / "recipes/tiny-faq.yaml"
    assert world.run().mistake == (
        f"{path}:{line}: unknown key 'regeneration.candidats' (did you mean 'candidates'?)"
    )


def test_an_unknown_key_in_a_family(world: World) -> None:
    line = world.edit("families/tiny.yaml", "memory_budget_gib: 1", "memory_budget_gib: 1\nbudget: 2")
    told = f"{world.root / 'families/tiny.yaml'}:{line + 1}: unknown key 'budget'"
    assert told in world("members").err
    assert told in world.run().mistake


def test_a_wrong_type(world: World) -> None:
    line = world.edit("recipes/tiny-faq.yaml", "  tokens: 128", "  tokens: many")
    mistake = world.run().mistake
    assert mistake.startswith(f"{world.root / 'recipes/tiny-faq.yaml'}:{line}: calibration.tokens: ")
    assert "valid integer" in mistake and "'many'" in mistake


def test_yaml_that_is_none(world: World) -> None:
    world.edit("recipes/tiny-faq.yaml", "families: [tiny]", "families: [tiny")
    assert "tiny-faq.yaml:" in world.run().mistake


def test_a_recipe_for_another_family(world: World) -> None:
    mistake = world.run("faq-gptq-w3a16").mistake
    assert mistake.startswith("recipe 'faq-gptq-w3a16' is for kin, and 'tiny-s' is of family 'tiny'")


@pytest.mark.parametrize(
    ("section", "value", "says"),
    [
        ("competition", {"experts": {"charm": 1.0}}, "unknown expert 'charm'"),
        ("competition", {"experts": {"sensitive": 1.0}}, "expert 'sensitive' (did you mean 'sensitivity'?"),
        (
            "calibration",
            {"selection": "covrage"},
            "selection 'covrage' (did you mean 'coverage'? known: draw",
        ),
        (
            "quantization",
            {"method": "awq", "sample_weights": "equal_sequences"},
            "'awq' has no sample_weights",
        ),
        (
            "quantization",
            {"method": "awq", "scheme": "FP8", "group_size": None},
            "this search needs a scale for each row or group, and 'FP8' has one for each weight (duo_scal",
        ),
        ("regeneration", {"engine": "transformer"}, "unknown engine 'transformer' (did you mean"),
        ("evaluation", {"tasks": ["tiny_sum"]}, "unknown task 'tiny_sum' (did you mean 'tiny_sums'?)"),
        ("evaluation", {"prose": "gone.jsonl"}, "gone.jsonl: no such file"),
        ("quantization", {"scheme": "W4B16"}, "unknown scheme 'W4B16' (did you mean 'W4A16'?"),
        ("quantization", {"scheme": "w8a16x"}, "unknown scheme 'w8a16x' (did you mean 'W8A16'?"),
        ("regeneration", {"teacher": "tiny-x"}, "teacher: unknown member 'tiny-x' (did you mean 'tiny-"),
        ("seeds", {"path": "gone.jsonl"}, "gone.jsonl: no such seed file"),
        ("evaluation", {"max_new_tokens": 512}, "evaluation.max_new_tokens 512 leaves no room for a prompt"),
        (
            "regeneration",
            {"sampling": {"max_new_tokens": 600}},
            "regeneration.sampling.max_new_tokens 600 leaves no room for a prompt: the context of tiny-l",
        ),
    ],
    ids=str,
)
def test_a_value_that_nothing_is_called(world: World, section: str, value: Any, says: str) -> None:
    """It is told with the recipe's file and line, and in under a stage's time."""
    world.recipe("own", **{section: value})
    done = world.run("own")
    assert done.mistake.startswith(world.at("own", 3)) and says in done.mistake
    assert "made" not in done.err


def test_originals_beside_originals(world: World) -> None:
    world.recipe(
        "own",
        regeneration={"source": "original", "candidates": 1, "sampling": None},
        calibration={"originals": 0.25},
    )
    mistake = world.run("own").mistake
    assert mistake.startswith(world.at("own", 4) + "originals go beside regenerated samples")


def test_a_value_that_a_recipe_inherits_is_told_where_it_was_set(world: World) -> None:
    line = world.edit("recipes/tiny-faq.yaml", "  scheme: W4A16", "  scheme: W4B16")
    world.recipe("own", calibration={"tokens": 256})
    assert world.run("own").mistake.startswith(world.at("tiny-faq", line) + "unknown scheme 'W4B16'")


def test_baselines_that_are_none(world: World) -> None:
    world.recipe("own", baselines=["tiny-orignal"])
    assert world.run("own").mistake.startswith(world.at("own", 3) + "unknown recipe 'tiny-orignal'")
    world.recipe("own", baselines=["own"])
    assert world.run("own").mistake == (
        world.at("own", 3) + "recipe 'own' is its own baseline (write baselines: null in own.yaml)"
    )
    world.recipe("own", baselines=["heir"])
    (world.root / "recipes/heir.yaml").write_text("name: heir\nextends: own\ntitle: x\n")
    mistake = world.run("own").mistake
    assert mistake.startswith(
        world.at("own", 3) + "recipe 'heir' is its own baseline, since heir extends own"
    )
    assert mistake.endswith("(write baselines: null in heir.yaml)")


def test_a_broken_recipe_stops_no_other(world: World, tmp_path: Path) -> None:
    (world.root / "recipes/broken.yaml").write_text("name: broken\nfamilies: [tiny\n")
    listed = json.loads(world("recipes", "--json").out)["recipes"]
    assert "tiny-faq" in {row["name"] for row in listed}
    assert world("status").code == 0
    assert "broken.yaml:" in world.run("broken").mistake
    said = world("doctor")
    assert said.code == 1 and "broken.yaml:" in said.out.replace("\n", "")


# --- the environment ---


def test_a_data_folder_that_is_none(faq: Run, tmp_path: Path) -> None:
    assert faq(tmp_path / "gone", "recipes").mistake == f"{tmp_path / 'gone'} is no folder (check FAQ_DATA)"
    (tmp_path / "empty").mkdir()
    mistake = faq(tmp_path / "empty", *MEMBER).mistake
    assert mistake.startswith(f"{tmp_path / 'empty'} has no families/, recipes/ or studies/")


def test_a_home_that_cannot_be(faq: Run, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = tmp_path / "file/home"
    for arguments in (MEMBER, ("status",), ("cache", "ls"), ("doctor",)):
        mistake = faq(tiny_data, *arguments, home=home).mistake
        assert mistake.startswith(f"FAQ_HOME {home} cannot be a folder: {tmp_path / 'file'} is a file")


DEVICES = "auto, cpu, cuda, or some GPUs: cuda:1, cuda:0,1"


@pytest.mark.parametrize("arguments", [MEMBER, ("status",), ("compare", "--member", "tiny-s")], ids=str)
def test_a_device_that_is_none(
    world: World, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setitem(DEVICE, "FAQ_DEVICE", "cpux")
    assert world(*arguments).mistake == "FAQ_DEVICE: unknown device 'cpux' (" + DEVICES + ")"


def test_home_is_meant_by_a_tilde(
    tiny_data: Path, tmp_path: Path, faq: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(tiny_data, tmp_path / "mine")
    (tmp_path / "mine/recipes/own.yaml").write_text(
        "name: own\nextends: tiny-faq\nseeds: {path: ~/mine/seeds/mixed.jsonl}\n"
    )
    listed = json.loads(faq(Path("~/mine"), "recipes", "--json", home=Path("~/home")).out)["recipes"]
    (own,) = [row for row in listed if row["name"] == "own"]
    assert own["seeds"]["path"] == str(tmp_path / "mine/seeds/mixed.jsonl")
    planned = faq(Path("~/mine"), *MEMBER, "--recipe", "own", "--dry-run", home=Path("~/home"))
    assert planned.code == 0 and (tmp_path / "home/digests").is_dir()


def test_a_hub_that_does_not_answer(world: World) -> None:
    """Before anything is made: for the target, the teacher and the seeds."""
    with (world.root / "families/tiny.yaml").open("a") as file:
        for name, size in (("far-s", 10), ("far-l", 10**6)):
            file.write(
                f"  - name: {name}\n    hub: tiny/{name}\n    revision: {'a' * 40}\n    parameters: {size}\n"
            )
        file.write("owners: [tiny]\n")
    world.recipe("teacher", regeneration={"teacher": "far-l"})
    world.recipe("seeded", seeds={"path": None, "dataset": {"name": "tiny/text", "revision": "b" * 40}})
    for recipe, member, what in (
        ("tiny-faq", "far-s", "member 'far-s': tiny/far-s"),
        ("teacher", "tiny-s", "member 'far-l': tiny/far-l"),
        ("seeded", "tiny-s", world.at("seeded", 3) + "dataset 'tiny/text'"),
    ):
        done = world.run(recipe, member)
        assert done.mistake.startswith(f"{what} cannot be had from the hub: "), done
        assert "made" not in done.err


# --- seeds ---


def test_no_seed_file(world: World) -> None:
    world.seeds().unlink()
    assert f"{world.root}/seeds/own.jsonl: no such seed file" in world.run("own").mistake


def test_empty_seeds(world: World) -> None:
    path = world.seeds()
    assert world.run("own").mistake.startswith(f"{path}:1: the file is empty")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "q2", ', "not valid JSON"),
        ('["q2"]', "expected a JSON object"),
        (question(2, kind="riddle"), "kind: "),
        (question(2, text=" "), "text: must not be empty"),
        (question(2, text=7), "text: input should be a valid string"),
        (question(2, txt="x"), "unknown key 'txt' (did you mean 'text'?)"),
        ({"id": "q2", "kind": "text"}, "missing key 'text'"),
        (question(1), "id 'q1' is already on line 1"),
    ],
    ids=str,
)
def test_malformed_seeds(world: World, line: str | dict[str, Any], says: str) -> None:
    path = world.seeds(question(1), "", line, question(4))
    mistake = world.run("own").mistake
    assert mistake.startswith(f"{path}:3: ") and says in mistake


def test_fewer_seeds_than_wanted(world: World) -> None:
    path = world.seeds(question(1))
    assert world.run("own").mistake.startswith(f"{path}:1: 1 seeds, and the recipe wants 2")


def test_a_seed_longer_than_the_context(world: World) -> None:
    """Told before any stage takes its time."""
    path = world.seeds(question(1), question(2, text="the town of Mira " * 400))
    done = world.run("own")
    assert done.mistake.startswith(f"{path}:2: seed 'q2' takes ")
    assert "the context of tiny-s is 512 (shorten it)" in done.mistake
    assert "made" not in done.err


def test_seeds_that_cannot_fill_half_of_the_token_budget(world: World) -> None:
    """Told before anything is made, at the recipe's line."""
    line = world.edit("recipes/tiny-faq.yaml", "  tokens: 128", "  tokens: 4096")
    mistake = world.run().mistake
    assert mistake.startswith(world.at("tiny-faq", line) + "8 seeds of at most 128 tokens each fill less")
    assert mistake.endswith("(raise seeds.count or calibration.sequence_length, or lower calibration.tokens)")


def test_a_seed_too_long_for_the_teacher(world: World) -> None:
    path = world.seeds(question(1), question(2, text="the town of Mira " * 82))
    world.recipe(
        "own", seeds={"path": str(path), "count": 2}, regeneration={"sampling": {"max_new_tokens": 200}}
    )
    mistake = world.run("own").mistake
    assert mistake.startswith(f"{path}:2: seed 'q2' as a prompt takes ")
    assert "and max_new_tokens 200, and the context of tiny-l is 512" in mistake


# --- weights ---


def remove(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def garble_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def ask_for_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_tiny.Tiny"}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("member", ["tiny-s", "tiny-l"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (remove, "no *.safetensors in this folder"),
        (shutil.rmtree, "has no weights here"),
        (cut, "corrupt safetensors file"),
        (pickle, "weights are not safetensors (pytorch_model.bin)"),
        (garble_config, "config.json: cannot be read as JSON"),
        (ask_for_code, "asks for remote code (only a hub member with a pinned revision"),
    ],
)
def test_unusable_weights(world: World, spoil: Callable[[Path], None], says: str, member: str) -> None:
    """Of the target, and of the teacher."""
    folder = world.root / "models" / member
    spoil(folder)
    mistake = world.run().mistake
    assert says in mistake and str(folder) in mistake


def test_weights_that_lack_a_tensor(world: World) -> None:
    """Found when they are loaded, inside a Dagster step; transformers' own table of them is not printed."""
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(handler)
    path = world.root / "models/tiny-s/model.safetensors"
    tensors = load_file(path)
    tensors.pop("model.norm.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    mistake = world.run().mistake
    logging.getLogger("transformers").removeHandler(handler)
    assert mistake.startswith(f"{path.parent}: weights are incomplete: model.norm.weight is missing")
    assert not said


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("    path: ../models/tiny-s\n    trust_remote_code: true\n", "'trust_remote_code' is allowed only"),
        ("    hub: tiny/s\n    trust_remote_code: true\n", "'revision' must be a 40-digit commit hash"),
        ("    hub: tiny/s\n    revision: main\n    trust_remote_code: true\n", "not a branch or tag"),
        (
            f"    hub: tiny/s\n    revision: {'a' * 40}\n",
            "owner of 'tiny/s' is not in this family's 'owners'",
        ),
        ("", "needs either 'path' or 'hub'"),
    ],
)
def test_remote_code_and_hub_members_need_a_pin(world: World, lines: str, says: str) -> None:
    line = world.edit("families/tiny.yaml", "    path: ../models/tiny-s\n", lines)
    mistake = world.run().mistake
    assert mistake.startswith(f"{world.root / 'families/tiny.yaml'}:") and says in mistake
    assert f":{line - 1}: " in mistake or "owner" in says  # that is said of the family as a whole


def test_a_group_size_that_does_not_divide(world: World) -> None:
    world.recipe("own", quantization={"group_size": 96})
    mistake = world.run("own").mistake
    assert mistake.startswith(world.at("own", 3) + "group_size 96 does not divide the ")
    assert " columns of model.layers.0." in mistake
    assert "group sizes that work: 128, 64, 32, 16, channel" in mistake


# --- teachers ---


def test_a_teacher_smaller_than_its_target(world: World) -> None:
    world.recipe("own", regeneration={"teacher": "tiny-s"})
    mistake = world.run("own", member="tiny-l").mistake
    assert (
        mistake.startswith(world.at("own", 3) + "teacher 'tiny-s' (")
        and "is smaller than 'tiny-l'" in mistake
    )


def test_no_teacher_is_larger(world: World) -> None:
    assert world.run(member="tiny-l").mistake.startswith("no teacher for 'tiny-l' in family 'tiny'")


def test_a_teacher_too_big_for_the_device(world: World) -> None:
    world.edit("families/tiny.yaml", "memory_budget_gib: 1", "memory_budget_gib: 1.0e+9")
    world.member("tiny-xl", "tiny-l", HUGE)
    mistake = world.run().mistake
    assert mistake.startswith("'tiny-xl' needs about ") and mistake.endswith("(these fit: tiny-l)")


def other_vocabulary(folder: Path) -> None:
    """Leave out the last merge: the same words, cut otherwise."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"].pop()
    path.write_text(json.dumps(content))


@pytest.mark.slow
def test_a_teacher_with_another_base_tokenizer(world: World, tmp_path: Path) -> None:
    other_vocabulary(world.member("odd", "tiny-l", 10**7))
    world.recipe("own", regeneration={"teacher": "odd"})
    assert world.run("own").mistake == (
        world.at("own", 3)
        + "teacher 'odd' has another base tokenizer than 'tiny-s' (choose a teacher of the family,"
        " or set regeneration.allow_cross_family: true)"
    )
    world.recipe("own", regeneration={"teacher": "odd", "allow_cross_family": True})
    done = world.run("own")
    assert done.code == 0, done.err
    assert "odd and tiny-s have other base tokenizers" in done.err
    (corpus,) = (
        a for a in Store(tmp_path / "home/store").artifacts() if a.manifest.stage == "regenerated_corpus"
    )
    rows = read_rows(corpus.file("candidates.parquet"), Candidate)
    assert all(row.model is not None and row.model.startswith("odd@") for row in rows)


def test_a_teacher_of_another_family(world: World) -> None:
    text = (world.root / "families/tiny.yaml").read_text()
    far = text.replace("name: tiny\n", "name: far\n").replace("- name: tiny-", "- name: far-")
    (world.root / "families/far.yaml").write_text(far)
    world.recipe("own", regeneration={"teacher": "far-l"})
    says = "teacher 'far-l' is of family 'far', and 'tiny-s' of 'tiny'"
    assert world.run("own").mistake.startswith(world.at("own", 3) + says)


# --- the other commands ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("lineage", "trace", "abc"), "no lineage index here"),
        (("export", "abc", "out"), "no checkpoint or calibration set has a fingerprint"),
        (("compare", "--member", "tiny-s"), "no recipe of 'tiny-s' is evaluated yet"),
        (("run", "--device", "tpu"), "unknown device 'tpu'"),
        (("run", "--device", "cuda"), "no CUDA device answers here"),
        (("run", "--device", "cuda:"), f"unknown device 'cuda:' ({DEVICES})"),
        (("run", "--device", "cuda:1"), "no CUDA device answers here"),
        (("run", "--member", "tiny-s@00000000", "--recipe", "tiny-faq"), "is not here any more"),
    ],
    ids=str,
)
def test_commands_on_what_is_not_there(
    world: World, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: ())
    assert says in world(*arguments).mistake
