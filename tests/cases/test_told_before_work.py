"""Whatever is wrong with a user's file, the plan of a run already says it: one line that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import faq_pipeline
from tests.cases.conftest import Lab
from tests.tiny import TEMPLATE

HALF = "\ud83d"
DEEP = "[" * 100_000 + "]" * 100_000
Spoil = Callable[[Path], None]


def edited(name: str, **changes: Any) -> Spoil:
    """Change keys of a JSON file; None takes one away."""

    def spoil(root: Path) -> None:
        path = root / name
        content = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return spoil


def written(name: str, text: str) -> Spoil:
    def spoil(root: Path) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)

    return spoil


def line(name: str, number: int, **changes: Any) -> Spoil:
    """Change keys of a line of JSON."""

    def spoil(root: Path) -> None:
        lines = (root / name).read_text().splitlines()
        lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **changes})
        (root / name).write_text("\n".join(lines))

    return spoil


def appended(name: str, text: str) -> Spoil:
    def spoil(root: Path) -> None:
        with (root / name).open("a") as file:
            file.write(text)

    return spoil


def replaced(name: str, old: str, new: str) -> Spoil:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return spoil


def without(name: str, then: Spoil) -> Spoil:
    def spoil(root: Path) -> None:
        (root / name).unlink()
        then(root)

    return spoil


def weight(value: float, dtype: torch.dtype = torch.bfloat16) -> Spoil:
    """One element of the weights is that value."""

    def spoil(root: Path) -> None:
        path = root / WEIGHTS
        tensors = load_file(path)
        tensors["model.norm.weight"] = tensors["model.norm.weight"].to(dtype)
        tensors["model.norm.weight"][5] = value
        save_file(tensors, path, metadata={"format": "pt"})

    return spoil


def twice(root: Path) -> None:
    shutil.copy(root / WEIGHTS, root / SMALL / "consolidated.safetensors")


def without_index(root: Path) -> None:
    (root / WEIGHTS).rename(root / SMALL / "model-00001-of-00001.safetensors")


SMALL = "models/tiny-s"
WEIGHTS, CONFIG = f"{SMALL}/model.safetensors", f"{SMALL}/config.json"
TOKENIZER, CHAT = f"{SMALL}/tokenizer_config.json", f"{SMALL}/chat_template.jinja"
SETTINGS = f"{SMALL}/generation_config.json"
SEEDS, TASK = "seeds/mixed.jsonl", "eval/tiny_sums.yaml"
NAMED = [{"name": "rag", "template": TEMPLATE}, {"name": "tools", "template": TEMPLATE}]
NO_MARKS = {"eos_token": None, "pad_token": None}


def marks_gone(root: Path) -> None:
    edited(TOKENIZER, **NO_MARKS)(root)
    for name in (CONFIG, SETTINGS):
        edited(name, eos_token_id=None, pad_token_id=None)(root)


def vocabulary(size: int) -> Spoil:
    """A model with so many embeddings, in its weights as in its configuration."""

    def spoil(root: Path) -> None:
        known = json.loads((root / CONFIG).read_text())["vocab_size"]
        edited(CONFIG, vocab_size=size)(root)
        tensors = {
            name: tensor[:size].clone() if tensor.shape[0] == known else tensor
            for name, tensor in load_file(root / WEIGHTS).items()
        }
        save_file(tensors, root / WEIGHTS, metadata={"format": "pt"})

    return spoil


def padding_without_embedding(root: Path) -> None:
    """A padding token that was added to the tokenizer, and not to the model."""
    tokenizer = json.loads((root / SMALL / "tokenizer.json").read_text())
    known = [*tokenizer["model"]["vocab"].values(), *(added["id"] for added in tokenizer["added_tokens"])]
    vocabulary(max(known) + 1)(root)
    edited(TOKENIZER, pad_token="<|unheard of|>")(root)


BAD: dict[str, tuple[Spoil, str, str]] = {
    "half a character in an id": (line(SEEDS, 3, id=f"s{HALF}"), f"{SEEDS}:3", "half of a character"),
    "half a character in a text": (line(SEEDS, 2, text=f"a {HALF}"), f"{SEEDS}:2", "text: \\ud83d"),
    "half a character in a prompt": (
        line("eval/development.jsonl", 4, question=f"{HALF}?"),
        "eval/development.jsonl:4",
        "half of a character",
    ),
    "half a character in prose": (line("eval/prose.jsonl", 1, text=HALF), "eval/prose.jsonl:1", "half of"),
    "half a character in a question": (
        line("eval/test.jsonl", 8, question=HALF),
        "eval/test.jsonl:8",
        "half of a character",
    ),
    "brackets in seeds": (appended(SEEDS, f'{{"id": {DEEP}}}'), f"{SEEDS}:13", "nested too deep"),
    "brackets in prose": (
        appended("eval/prose.jsonl", f'{{"id": {DEEP}}}'),
        "eval/prose.jsonl:7",
        "nested too deep",
    ),
    "brackets in a configuration": (written(CONFIG, f'{{"a": {DEEP}}}'), CONFIG, "nested too deep"),
    "brackets in a tokenizer": (
        written(f"{SMALL}/tokenizer.json", f'{{"model": {DEEP}}}'),
        f"{SMALL}/tokenizer.json",
        "nested too deep",
    ),
    "a template that raises": (
        written(CHAT, "{{ raise_exception('tools only') }}" + TEMPLATE),
        CHAT,
        "tools only",
    ),
    "a template with a mistake": (written(CHAT, "\n{% for x in %}"), CHAT, "line 2"),
    "a template with an unknown variable": (written(CHAT, "{{ a.b }}"), CHAT, "'a' is undefined"),
    "a template with a wrong type": (written(CHAT, "{{ messages + 1 }}"), CHAT, "list"),
    "a template that calls itself": (
        written(CHAT, "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
        CHAT,
        "recursion",
    ),
    "a template that leaves the text out": (written(CHAT, "{{ bos_token }}"), CHAT, "leaves out the user's"),
    "a template that leaves replies out": (
        written(CHAT, "{{ messages[0].content }}"),
        CHAT,
        "leaves out the assistant's",
    ),
    "an empty template": (written(CHAT, ""), CHAT, "leaves out"),
    "templates, and none by default": (
        without(CHAT, edited(TOKENIZER, chat_template=NAMED)),
        TOKENIZER,
        "no chat template is called 'default': there are rag, tools",
    ),
    "further templates alone": (
        without(CHAT, written(f"{SMALL}/additional_chat_templates/rag.jinja", TEMPLATE)),
        f"{SMALL}/additional_chat_templates",
        "no chat template is called 'default': there are rag",
    ),
    "templates of another form": (
        without(CHAT, edited(TOKENIZER, chat_template=[{"title": "x"}])),
        SMALL,
        "tokenizer cannot be loaded: KeyError",
    ),
    "no template": (without(CHAT, lambda root: None), SMALL, "has no chat template"),
    "a tokenizer of another form": (
        written(f"{SMALL}/tokenizer.json", '{"model": {}}'),
        SMALL,
        "the tokenizer cannot be loaded",
    ),
    "no end and no padding": (marks_gone, TOKENIZER, 'add "eos_token"'),
    "tokens without an embedding": (vocabulary(8), CONFIG, "vocab_size is 8"),
    "padding without an embedding": (padding_without_embedding, CONFIG, "makes token"),
    "weights of another size": (edited(CONFIG, vocab_size=8), CONFIG, "expected 8 x"),
    "an unknown architecture": (edited(CONFIG, model_type="tyni"), CONFIG, "model type `tyni`"),
    "a value of another type": (edited(CONFIG, num_hidden_layers="two"), CONFIG, "num_hidden_layers"),
    "a context in words": (edited(CONFIG, max_position_embeddings="4k"), CONFIG, "'4k'"),
    "no room in the context": (edited(CONFIG, max_position_embeddings=0), CONFIG, "is 0"),
    "generation settings that are no JSON": (written(SETTINGS, "[1"), SETTINGS, "cannot be read as JSON"),
    "an end in words": (edited(SETTINGS, eos_token_id="two"), SETTINGS, "eos_token_id is 'two'"),
    "impossible generation settings": (
        edited(SETTINGS, num_return_sequences=5, do_sample=False),
        SETTINGS,
        "num_return_sequences",
    ),
    "a NaN": (weight(float("nan")), WEIGHTS, "model.norm.weight"),
    "an infinity": (weight(float("-inf"), torch.float16), WEIGHTS, "model.norm.weight"),
    "weights twice": (twice, f"{SMALL}/consolidated.safetensors", "twice"),
    "weights without an index": (without_index, SMALL, "model.safetensors.index.json"),
    "a task with a broken template": (
        replaced(TASK, "doc_to_text: question", 'doc_to_text: "{{ question"'),
        "eval",
        "tiny_sums",
    ),
    "a task with an unknown filter": (replaced(TASK, "function: regex", "function: reg"), "eval", "reg"),
    "a damaged question": (appended("eval/test.jsonl", "{"), "eval/test.jsonl:9", "not valid JSON"),
}


@pytest.mark.parametrize("what", BAD)
def test_it_is_told_before_work_begins(lab: Lab, what: str) -> None:
    spoil, file, words = BAD[what]
    spoil(lab.root)
    told = lab.plan()
    assert told.refusal, told.said
    assert f"{lab.root / file}: " in told.refusal and words in told.refusal, told.refusal
    assert len(told.refusal) < 800


@pytest.mark.parametrize(
    ("spoil", "file", "words"),
    [
        (written("models/tiny-l/chat_template.jinja", "{{ raise_exception('no') }}"), "tiny-l", "no"),
        (edited("models/tiny-l/config.json", model_type="tyni"), "tiny-l/config.json", "model type `tyni`"),
        (
            appended("families/tiny.yaml", 'prompts: {text: "{{ text", question: "{{ text }}"}\n'),
            "",
            "text of",
        ),
        (appended("families/tiny.yaml", 'prompts: {text: "{{ text + 1 }}"}\n'), "", "cannot be rendered"),
    ],
    ids=["template", "architecture", "prompt", "prompt's types"],
)
def test_so_it_is_for_what_the_teacher_is_asked_with(lab: Lab, spoil: Spoil, file: str, words: str) -> None:
    spoil(lab.root)
    told = lab.plan("tiny-faq")
    assert told.refusal and file in told.refusal and words in told.refusal, told.said


def test_templates_with_a_default_run(lab: Lab) -> None:
    """The one of that name applies."""
    (lab.member / "chat_template.jinja").unlink()
    default = {"name": "default", "template": TEMPLATE}
    edited(TOKENIZER, chat_template=[*NAMED, default])(lab.root)
    assert lab.plan().code == 0


def test_a_context_that_the_file_leaves_out_is_that_of_the_architecture(lab: Lab) -> None:
    """Qwen3's is 32768."""
    edited(CONFIG, max_position_embeddings=None)(lab.root)
    recipe = lab.root / "recipes/original.yaml"
    text = recipe.read_text()
    for tokens, code in ((30_000, 0), (40_000, 2)):
        recipe.write_text(text.replace("max_new_tokens: 8}", f"max_new_tokens: {tokens}}}"))
        assert lab.plan().code == code


def test_a_tokenizer_without_padding_gets_the_models_end(lab: Lab) -> None:
    """The token that the model's configuration names serves where the tokenizer's files name none."""
    edited(TOKENIZER, **NO_MARKS)(lab.root)
    assert lab.plan().code == 0


def test_settings_that_transformers_loads_and_does_not_save_run(lab: Lab) -> None:
    """Temperature without sampling, as many models are published: the checkpoint has the model's own file."""
    edited(SETTINGS, do_sample=False, temperature=0.6)(lab.root)
    appended("recipes/original.yaml", "quantization: {method: rtn}\n")(lab.root)
    assert lab.plan().code == 0
    made = faq_pipeline.materialize(faq_pipeline.resolve("tiny-s", "original"), "quantized_checkpoint")
    saved = made.file("checkpoint") / "generation_config.json"
    assert saved.read_text() == (lab.root / SETTINGS).read_text()
