"""A real vLLM on the CPU beside transformers, on the embedded family: answers, likelihoods, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import OpenAI
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.answering import answer_and_load
from faq_pipeline.evaluation.divergence import Passage, predicted_logits
from faq_pipeline.evaluation.harness import Answered, answer_questions, run_tasks
from faq_pipeline.inference.vllm_engine import VllmEngine
from faq_pipeline.models.likelihood import Scored, mean_logprobs
from faq_pipeline.models.loading import load_model, load_tokenizer
from faq_pipeline.quantization.dense import write_dense
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.quantization.serving_format import served_as
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.util.progress import SilentProgress

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.usefixtures("vllm_environment")]

QUESTIONS, FORCED = 32, 16


@dataclass(frozen=True)
class Compared:
    """One model under both engines.

    Attributes:
        forced: where the engines' likeliest tokens differ in given text: by how much transformers
            prefers its own (in logits).
        positions: looked at for that.
        likelihoods: mean log-probabilities of the texts by (transformers, vLLM).
    """

    in_memory: list[Answered]
    served: list[Answered]
    forced: list[float]
    positions: int
    likelihoods: list[tuple[float, float | None]]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Logs of servers that fail go there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAQ_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    catalog = Catalog((REPOSITORY / "data",))
    recipe = catalog.recipe("faq-gptq-w4a16")
    evaluation = recipe.evaluation.model_copy(update={"limit": QUESTIONS, "engine": "vllm"})
    recipe = recipe.model_copy(update={"evaluation": evaluation})
    return resolve_cell(catalog, "kin-4m", recipe, "cpu", tmp_path_factory.mktemp("digests"))


@pytest.fixture(scope="module")
def tokenizer(cell: Cell) -> PreTrainedTokenizerBase:
    return load_tokenizer(cell.target)


def _rounded(cell: Cell, scheme: str, folder: Path) -> Path:
    """A checkpoint of the target in groups of 128, rounded to nearest."""
    spec = Quantization(method="rtn", scheme=scheme, group_size=128)
    quantize(spec, cell.target, [], folder, "cpu", SilentProgress())
    return folder


@pytest.fixture(scope="module")
def control(cell: Cell, tokenizer: PreTrainedTokenizerBase) -> Compared:
    """The target itself."""
    engine = VllmEngine(cell.target, "cpu", cell.serving(cell.target))
    return _compare(cell, tokenizer, engine, load_model(cell.target, "cpu"))


@pytest.fixture(scope="module")
def quantized(
    cell: Cell, tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> Compared:
    """Its W4A16 checkpoint: packed where vLLM's CPU build has the kernel, else dense, as evaluation does."""
    folder = _rounded(cell, "W4A16", tmp_path_factory.mktemp("w4") / "checkpoint")
    served = folder
    if served_as(Quantization(method="rtn", scheme="W4A16", group_size=128), "cpu") == "dense":
        served = write_dense(folder, cell.target.member, folder.with_name("dense"), "cpu")
    member = cell.target.member.model_copy(update={"path": served})
    engine = VllmEngine(replace(cell.target, member=member), "cpu", cell.serving(cell.target))
    return _compare(cell, tokenizer, engine, load_quantized(folder, cell.target.member, "cpu"))


def _compare(
    cell: Cell, tokenizer: PreTrainedTokenizerBase, engine: VllmEngine, model: PreTrainedModel
) -> Compared:
    from faq_pipeline.evaluation.served_lm import ServedLM

    spec, thinking = cell.recipe.evaluation, cell.family.thinking
    in_memory = answer_questions(model, tokenizer, spec, thinking, SilentProgress())
    passages = [a.passage for a in in_memory if a.passage is not None][:FORCED]
    pairs = [(p.ids[: p.start], p.ids[p.start :]) for p in passages]
    ours = mean_logprobs(model, [Scored(*pair) for pair in pairs], lambda done: None)
    with engine:
        served = run_tasks(lambda: nullcontext(ServedLM(engine, tokenizer, thinking, SilentProgress())), spec)
        theirs = engine.likelihoods(pairs, lambda done: None)
        likeliest = [_likeliest(engine, passage) for passage in passages]
    # In the weights' own precision one step between two logits of a likely token is 0.125 already.
    forced = list(_margins(model.float(), passages, likeliest))
    positions = sum(len(tokens) for tokens in likeliest)
    return Compared(in_memory, served, forced, positions, list(zip(ours, theirs, strict=True)))


def _likeliest(engine: VllmEngine, passage: Passage) -> list[int]:
    """vLLM's likeliest token at every predicted position."""
    with OpenAI(base_url=engine.server.base_url, api_key=engine.server.key) as client:
        answer: Any = client.completions.create(
            model=engine.server.name, prompt=passage.ids, max_tokens=1, extra_body={"prompt_logprobs": 1}
        )
    return [
        next(int(token) for token, its in position.items() if its["rank"] == 1)
        for position in answer.choices[0].prompt_logprobs[passage.start :]
    ]


def _margins(
    model: PreTrainedModel, passages: Sequence[Passage], likeliest: Sequence[list[int]]
) -> Iterator[float]:
    for logits, theirs in zip(predicted_logits(model, passages, lambda done: None), likeliest, strict=True):
        chosen = logits.float().gather(-1, torch.tensor(theirs)[:, None])[:, 0]
        margins = logits.float().max(-1).values - chosen
        yield from (
            m for m, a, b in zip(margins.tolist(), logits.argmax(-1).tolist(), theirs, strict=True) if a != b
        )


@pytest.fixture(params=["control", "quantized"])
def compared(request: pytest.FixtureRequest) -> Compared:
    found: Compared = request.getfixturevalue(request.param)
    return found


def _share(found: Sequence[Answered], of: Callable[[Answered], float]) -> float:
    return sum(map(of, found)) / len(found)


def test_both_engines_answer_alike(compared: Compared) -> None:
    for one, other in zip(compared.in_memory, compared.served, strict=True):
        assert one.passage is not None and other.passage is not None
        assert one.answer.prompt_hash == other.answer.prompt_hash
        assert one.passage.ids[: one.passage.start] == other.passage.ids[: other.passage.start]
        if one.answer.response == other.answer.response:
            assert one == other
    equal = [
        a.answer.response == b.answer.response
        for a, b in zip(compared.in_memory, compared.served, strict=True)
    ]
    assert sum(equal) >= 0.75 * QUESTIONS
    scores = [_share(found, lambda a: a.answer.correct) for found in (compared.in_memory, compared.served)]
    assert abs(scores[0] - scores[1]) <= 0.1


def test_engines_differ_in_near_ties_alone(compared: Compared, control: Compared) -> None:
    """No token is the same by promise: what counts is that the checkpoint fares as the target does."""
    assert compared.positions > 500
    assert len(compared.forced) <= 0.02 * compared.positions
    assert max(compared.forced, default=0) < 0.1
    assert len(compared.forced) <= 3 * len(control.forced) + 0.005 * compared.positions


def test_engines_find_texts_equally_likely(compared: Compared) -> None:
    for ours, theirs in compared.likelihoods:
        assert theirs == pytest.approx(ours, abs=0.02)


def test_three_bits_are_served_dense(cell: Cell, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """vLLM has no kernel for them: it serves the same weights in bf16, and gives the same answers."""
    folder = _rounded(cell, "W3A16", tmp_path / "checkpoint")
    cell = _of_scheme(cell, "W3A16")

    def load() -> PreTrainedModel:
        return load_quantized(folder, cell.target.member, "cpu")

    served, model = answer_and_load(cell, tokenizer, load, SilentProgress(), checkpoint=folder)
    in_memory = answer_questions(
        model, tokenizer, cell.recipe.evaluation, cell.family.thinking, SilentProgress()
    )
    equal = [a.answer.response == b.answer.response for a, b in zip(in_memory, served, strict=True)]
    assert sum(equal) >= 0.75 * QUESTIONS


def test_a_scheme_that_vllm_cannot_load_is_one_line_with_a_way_out(
    cell: Cell, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = _rounded(cell, "W4A4", tmp_path / "checkpoint")
    with pytest.raises(FaqError, match=r"set evaluation\.engine: transformers") as error:
        answer_and_load(
            _of_scheme(cell, "W4A4"),
            tokenizer,
            lambda: pytest.fail("loaded"),
            SilentProgress(),
            checkpoint=folder,
        )
    assert "\n" not in str(error.value) and "engine 'vllm' cannot serve the quantized 'kin-4m'" in str(
        error.value
    )


def _of_scheme(cell: Cell, scheme: str) -> Cell:
    spec = cell.recipe.quantization.model_copy(update={"scheme": scheme})
    return cell.with_recipe(cell.recipe.model_copy(update={"quantization": spec}))
