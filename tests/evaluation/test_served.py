from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from faq_pipeline.config.family import Serving, Thinking
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.answering import answer_and_load
from faq_pipeline.evaluation.harness import Answered, answer_questions
from faq_pipeline.evaluation.stage import EVAL_REPORT, REFERENCE_EVAL
from faq_pipeline.execution.runner import materialize
from faq_pipeline.models.loading import load_folder
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.store.records import Answer, ReplyTokens
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows
from faq_pipeline.util.progress import Progress, SilentProgress
from tests.evaluation.choices import CHOICES
from tests.evaluation.speaking import END, Speaking, question
from tests.evaluation.test_stages import _build_checkpoint
from tests.inference.fake_server import Asked, Fault
from tests.inference.managed import Managed

Ask = Callable[..., list[Answered]]


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever CPU this is, vLLM has its kernels for packed weights."""
    monkeypatch.setattr("faq_pipeline.quantization.serving_format.cpu_reads_packed", lambda: True)


@pytest.fixture
def server(model: PreTrainedModel) -> Iterator[Speaking]:
    with Speaking(lambda prompt: f"Answer: {2 * question(prompt)}{END}", model) as running:
        yield running


@pytest.fixture
def managed(server: Speaking, monkeypatch: pytest.MonkeyPatch) -> Managed:
    return Managed(server, monkeypatch)


@pytest.fixture
def ask(tiny_cell: Cell, tokenizer: PreTrainedTokenizerBase, managed: Managed) -> Ask:
    """Evaluate the target on the server."""

    def run(spec: Evaluation, progress: Progress | None = None, **changes: Any) -> list[Answered]:
        cell = _served(replace(tiny_cell, **changes), spec)
        return answer_and_load(cell, tokenizer, _nothing, progress or SilentProgress())[0]

    return run


def _served(cell: Cell, spec: Evaluation | None = None) -> Cell:
    """The cell, evaluated on vLLM."""
    spec = (spec or cell.recipe.evaluation).model_copy(update={"engine": "vllm"})
    return cell.with_recipe(cell.recipe.model_copy(update={"evaluation": spec}))


def _nothing() -> Any:
    return None


def _stopping_at(spec: Evaluation, folder: Path, until: list[str], **more: Any) -> Evaluation:
    """The spec with a task of other stop strings."""
    assert spec.include is not None
    folder.mkdir()
    text = (spec.include / "tiny_sums.yaml").read_text().replace('["<|im_end|>"]', json.dumps(until))
    for name, value in more.items():
        text = text.replace("  do_sample: false\n", f"  do_sample: false\n  {name}: {value}\n")
    (folder / "tiny_sums.yaml").write_text(text)
    (folder / "test.jsonl").write_text((spec.include / "test.jsonl").read_text())
    return spec.model_copy(update={"include": folder})


REPLIES = {
    "with and without reasoning": (
        "<think>\nAnswer: 5\n</think>\n\nAnswer: 0<|im_end|>",
        "<think>\nAnswer: 2\n</think>\n\nAnswer: 9<|im_end|>",
        "Answer: 4<|im_end|>",
        "Answer: 6",
        "<think>\nAnswer: 8<|im_end|>",
        "<think>\nround and round",
    ),
    "stop strings": (
        "<think>\na\n\nb\n</think>\n\nAnswer: 0\n\nand on",
        "<think>\na\n\nb",
        "Answer: 4\n\nand on<|im_end|>",
        "Answer: 6",
    ),
    "an end mark of the task": ("Answer: 0<|endoftext|>", "Answer: 2<|im_end|>", "<think>\n<|endoftext|>"),
}


@pytest.mark.parametrize("kind", REPLIES)
def test_the_same_replies_are_recorded_and_scored_as_in_memory(
    say: Callable, ask: Ask, server: Speaking, spec: Evaluation, tmp_path: Path, kind: str
) -> None:
    replies: Sequence[str] = REPLIES[kind]
    spec = spec.model_copy(update={"limit": len(replies)})
    if kind != "with and without reasoning":
        spec = _stopping_at(spec, tmp_path / "task", ["\n\n", "<|im_end|>", "<|endoftext|>"])
    in_memory = say(spec, replies)
    server.says = lambda prompt: replies[question(prompt)]
    assert ask(spec) == in_memory
    assert {a.answer.truncated for a in in_memory} == {True, False}


def test_what_follows_an_end_mark_of_the_task_does_not_count(
    say: Callable, ask: Ask, server: Speaking, spec: Evaluation, tmp_path: Path
) -> None:
    spec = _stopping_at(spec.model_copy(update={"limit": 1}), tmp_path / "task", ["<|endoftext|>"])
    in_memory = say(spec, ["Answer: 0<|endoftext|>"])
    server.says = lambda prompt: "Answer: 0<|endoftext|> and Answer: 1"
    assert ask(spec) == in_memory


@pytest.mark.parametrize("opened", [True, False])
def test_the_template_is_the_familys(
    say: Callable,
    ask: Ask,
    server: Speaking,
    spec: Evaluation,
    tiny_cell: Cell,
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
    opened: bool,
) -> None:
    template = f"{tokenizer.chat_template}{{% if open %}}<think>\n{{% endif %}}"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    replies = ["so\n</think>\n\nAnswer: 0<|im_end|>", "and so on<|im_end|>"]
    spec = spec.model_copy(update={"limit": 2})
    thinking = Thinking(template_kwargs={"open": opened})
    server.says = lambda prompt: replies[question(prompt)]
    family = tiny_cell.family.model_copy(update={"thinking": thinking})
    found = ask(spec, family=family)
    assert found == say(spec, replies, thinking)
    assert [a.answer.truncated for a in found] == [False, opened]
    assert all(asked.prompt.endswith("<think>\n") == opened for asked in server.asked)


def test_a_member_without_a_template_is_asked_as_in_memory(
    say: Callable,
    ask: Ask,
    server: Speaking,
    spec: Evaluation,
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", None)
    spec = spec.model_copy(update={"limit": 1})
    assert ask(spec) == say(spec, ["Answer: 0<|im_end|>"])
    assert server.asked[0].prompt == "What is 0 + 0?"


def test_greedy_is_greedy_and_the_limit_is_the_recipes(ask: Ask, server: Speaking, spec: Evaluation) -> None:
    ask(spec.model_copy(update={"max_new_tokens": 17}))
    assert {(a.body["temperature"], a.body["max_tokens"]) for a in server.asked} == {(0, 17)}
    assert len(server.asked) == 8 and all(a.body.get("stop") is None for a in server.asked)


def test_every_question_is_told_of_once_it_is_answered(ask: Ask, spec: Evaluation) -> None:
    class Listener(SilentProgress):
        heard: list[Any] = []

        def start(self, what: str, total: int) -> None:
            self.heard.append((what, total))

        def advance(self, done: int = 1) -> None:
            self.heard.append(done)

    ask(spec, Listener())
    assert Listener.heard == [("questions", 8), *[1] * 8]


def test_options_are_scored_as_in_memory(
    ask: Ask,
    server: Speaking,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    spec: Evaluation,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spec = _choices(spec, tmp_path)
    assert ask(spec) == answer_questions(model, tokenizer, spec, Thinking(), SilentProgress())
    assert len(server.asked) == 12
    assert capfd.readouterr() == ("", "")


def test_a_server_lost_amid_options_is_waited_for(
    ask: Ask, server: Speaking, managed: Managed, spec: Evaluation, tmp_path: Path
) -> None:
    def lost(asked: Asked) -> Fault | None:
        return Fault("reset") if managed.waits < 3 else None

    server.fault = lost
    assert len(ask(_choices(spec, tmp_path))) == 6
    assert managed.waits >= 3


def test_a_server_given_up_amid_options_is_said(
    ask: Ask, server: Speaking, managed: Managed, spec: Evaluation, tmp_path: Path
) -> None:
    def lost(asked: Asked) -> Fault:
        managed.broken = "died too often"
        return Fault("reset")

    server.fault = lost
    with pytest.raises(FaqError, match="died too often"):
        ask(_choices(spec, tmp_path))
    assert managed.events[-1] == "down"


def _choices(spec: Evaluation, folder: Path) -> Evaluation:
    rows = [{"question": f"Is it {i}?", "label": i % 2} for i in range(6)]
    (folder / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "choices.yaml").write_text(CHOICES)
    return spec.model_copy(update={"include": folder, "tasks": ["choices"]})


def test_keys_of_other_services_are_not_sent(
    ask: Ask, server: Speaking, spec: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    seen: list[str] = []
    true = server._denied
    monkeypatch.setattr(
        server, "_denied", lambda r: seen.append(r.headers.get("authorization", "")) or true(r)
    )
    ask(_choices(spec, tmp_path))
    ask(spec)
    assert seen and not any("secret" in header for header in seen)


def test_a_question_that_is_refused_is_named(ask: Ask, server: Speaking, spec: Evaluation) -> None:
    server.fault = lambda asked: Fault("too long") if question(asked.prompt) == 3 else None
    with pytest.raises(FaqError, match=r"question 3 of tiny_sums has no answer: .*maximum context length"):
        ask(spec)


def test_the_servers_context_bounds_the_questions(
    ask: Ask, spec: Evaluation, tiny_cell: Cell, server: Speaking
) -> None:
    family = tiny_cell.family.model_copy(update={"serving": Serving(context=40)})
    with pytest.raises(FaqError, match=r"question 0 of tiny_sums has .* exceeds the context of 40"):
        ask(spec, family=family)
    assert not server.asked


def test_an_option_that_the_engine_lacks_is_named(ask: Ask, spec: Evaluation, tmp_path: Path) -> None:
    spec = _stopping_at(spec, tmp_path / "task", ["<|im_end|>"], repetition_penalty=1.2)
    with pytest.raises(FaqError, match=r"'repetition_penalty'.*evaluation.engine: transformers"):
        ask(spec)


def test_an_unknown_task_is_told_before_a_server_is_started(
    ask: Ask, managed: Managed, spec: Evaluation
) -> None:
    with pytest.raises(FaqError, match="unknown task 'tiny_sum'"):
        ask(spec.model_copy(update={"tasks": ["tiny_sum"]}))
    assert not managed.events


def test_a_checkpoint_that_vllm_cannot_load_is_one_line_with_a_way_out(
    tiny_cell: Cell, tokenizer: PreTrainedTokenizerBase, managed: Managed, tmp_path: Path
) -> None:
    managed.broken = "vLLM's server ended before it was ready: ValueError: no kernel for 3 bits"
    with pytest.raises(FaqError) as error:
        answer_and_load(_served(tiny_cell), tokenizer, _nothing, SilentProgress(), checkpoint=tmp_path)
    said = str(error.value)
    assert "the quantized 'tiny-s'" in said and "no kernel for 3 bits" in said
    assert "set evaluation.engine: transformers" in said and "\n" not in said
    assert managed.events == [f"up {tmp_path}", "down"]


def test_a_checkpoint_without_a_kernel_is_served_dense_for_as_long(
    tiny_cell: Cell,
    tokenizer: PreTrainedTokenizerBase,
    managed: Managed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = Quantization(method="rtn", scheme="W3A16", group_size=32)
    quantize(spec, tiny_cell.target, [], tmp_path, "cpu", SilentProgress())
    cell = _served(tiny_cell)
    cell = cell.with_recipe(cell.recipe.model_copy(update={"quantization": spec}))
    configs = []

    def start(*asked: Any, **_: Any) -> Managed:
        configs.append(json.loads((asked[1] / "config.json").read_text()))
        return managed._server(*asked)

    monkeypatch.setattr("faq_pipeline.inference.vllm_engine.Server", start)
    answer_and_load(cell, tokenizer, _nothing, SilentProgress(), checkpoint=tmp_path)
    folder = managed.asked[1]
    assert folder != tmp_path and not folder.exists()
    assert [config["model_type"] for config in configs] == ["qwen3"]
    assert "quantization_config" not in configs[0]


@pytest.fixture
def stages(managed: Managed, monkeypatch: pytest.MonkeyPatch) -> dict[str, Stage]:
    """The evaluation's stages; what they load goes to the server's events."""

    def load(folder: Path, device: str) -> PreTrainedModel:
        managed.events.append("load")
        return load_folder(folder, device)

    monkeypatch.setattr("faq_pipeline.models.loading.release", lambda: managed.events.append("free"))
    monkeypatch.setattr("faq_pipeline.models.loading.load_model", lambda w, device: load(w.folder, device))
    monkeypatch.setattr(
        "faq_pipeline.quantization.load.load_quantized", lambda folder, member, device: load(folder, device)
    )
    checkpoint = Stage("quantized_checkpoint", 1, (), lambda cell: {}, _build_checkpoint)
    return {stage.name: stage for stage in (checkpoint, REFERENCE_EVAL, EVAL_REPORT)}


def test_stages_serve_the_target_and_its_checkpoint_and_load_them_afterwards(
    tiny_cell: Cell, managed: Managed, stages: dict[str, Stage], server: Speaking, tmp_path: Path
) -> None:
    made = {name: materialize(name, _served(tiny_cell), stages, Store(tmp_path)).artifact for name in stages}
    folder = made["quantized_checkpoint"].file("checkpoint")
    served, again = f"up {tiny_cell.target.folder}", f"up {folder}"
    assert managed.events == ["free", served, "down", "load", "free", again, "down", "load"]
    figures = made["eval_report"].metadata
    assert figures["reference"]["value"] == figures["quantized"]["value"] == 1
    assert figures["kl"]["value"] > 0 and figures["kl_prose"]["value"] > 0
    replies = read_rows(made["reference_eval"].file("replies.parquet"), ReplyTokens)
    answers = read_rows(made["reference_eval"].file("answers.parquet"), Answer)
    assert [len(reply.ids) for reply in replies] == [answer.tokens for answer in answers]
    assert len(server.asked) == 16  # and no drafts


def test_the_checkpoint_is_served_as_the_target_is(
    tiny_cell: Cell, managed: Managed, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    serving = Serving(tensor_parallel=2, arguments={"max_num_seqs": 7})
    family = tiny_cell.family.model_copy(update={"serving": serving})
    cell = _served(replace(tiny_cell, family=family))
    (tmp_path / "config.json").write_text((cell.target.folder / "config.json").read_text())
    answer_and_load(cell, tokenizer, _nothing, SilentProgress(), checkpoint=tmp_path)
    assert managed.asked[1:5] == (tmp_path, "tiny-s", serving, "cpu")
