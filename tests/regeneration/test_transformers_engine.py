"""The transformers engine, on random weights: figures agree with a plain forward pass."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.inference import decoding
from faq_pipeline.inference.engine import Completion, Request
from faq_pipeline.inference.factory import EngineSpec, make_engine
from faq_pipeline.models.loading import load_model, load_tokenizer
from faq_pipeline.models.weights import Weights, find_weights

PROMPTS = [
    "<|im_start|>user\nHow many apples?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nMira has 12 apples and gives 5 away.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nRead the passage.<|im_end|>\n<|im_start|>assistant\n",
]
# Batches of five mix the three lengths, so that padding counts.
REQUESTS = [Request(f"r{i}", PROMPTS[i % 3], seed=100 + i) for i in range(12)]
# More steps than two legs of a batch.
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=60)


@pytest.fixture(scope="module")
def many_ends(tiny_cell: Cell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    """The small member with ten end marks more, so that random weights do stop, and with sampling
    defaults that must not count."""
    folder = tmp_path_factory.mktemp("ends") / "m"
    shutil.copytree(tiny_cell.target.folder, folder)
    defaults = {
        "eos_token_id": list(range(40, 50)),
        "top_k": 1,
        "repetition_penalty": 9.0,
        "do_sample": True,
    }
    (folder / "generation_config.json").write_text(json.dumps(defaults))
    member = tiny_cell.target.member.model_copy(update={"path": folder})
    yield find_weights(member, tmp_path_factory.mktemp("digests"))


def sample(
    weights: Weights, requests: list[Request], sampling: Sampling, batch_size: int = 5
) -> dict[str, Completion]:
    with make_engine("transformers", EngineSpec(weights, "cpu", batch_size)) as engine:
        found = list(engine.generate(engine.units(requests), sampling))
    assert len(found) == len(requests)
    return {completion.request_id: completion for completion in found}


@pytest.fixture(scope="module")
def sampled(many_ends: Weights) -> dict[str, Completion]:
    return sample(many_ends, REQUESTS, SAMPLING)


def test_samples_stop_at_end_marks_or_at_the_limit(sampled: dict[str, Completion]) -> None:
    assert {c.finish for c in sampled.values()} == {"stop", "length"}
    assert all(c.tokens == 60 or c.finish == "stop" for c in sampled.values())
    assert all(1 <= c.tokens <= 60 for c in sampled.values())


def test_logprobs_are_those_of_the_untempered_model(
    many_ends: Weights, sampled: dict[str, Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampled ids are taken from inside, since text does not always lead back to them."""
    model, tokenizer = load_model(many_ends, "cpu"), load_tokenizer(many_ends)
    kept: list[tuple[list[int], decoding.Continuation]] = []
    plain = decoding.continue_batch

    def spy(model: Any, ids: torch.Tensor, mask: torch.Tensor, sampling: Sampling) -> Any:
        rows = plain(model, ids, mask, sampling)
        kept.extend((i[m == 1].tolist(), row) for i, m, row in zip(ids, mask, rows, strict=True))
        return rows

    monkeypatch.setattr(decoding, "continue_batch", spy)
    found = sample(many_ends, REQUESTS, SAMPLING)
    assert found == sampled
    for completion, (prompt, row) in zip(found.values(), kept, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + row.ids])).logits[0, len(prompt) - 1 : -1].float()
        each = logits.log_softmax(-1).gather(1, torch.tensor(row.ids)[:, None])
        # bf16 rounds differently with padding and cache, by some thousandths a token.
        assert completion.logprob == pytest.approx(float(each.sum()), abs=0.05 + 0.003 * len(row.ids))
        ended = completion.finish == "stop"
        assert [40 <= i < 50 for i in row.ids] == [False] * (len(row.ids) - 1) + [ended]
        assert completion.tokens == len(row.ids)
        written = row.ids[: len(row.ids) - ended]
        assert completion.text == tokenizer.decode(written, skip_special_tokens=False)


def test_end_mark_is_stripped_and_other_marks_are_kept(
    tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(tiny_cell.target)
    written = "<think>\nso 7\n</think>\n\nAnswer: 7"
    ids = tokenizer(written + "<|im_end|>", add_special_tokens=False)["input_ids"]
    row = decoding.Continuation(ids, -3.0, ended=True)
    monkeypatch.setattr(decoding, "continue_batch", lambda *_: [row])
    (found,) = sample(tiny_cell.target, REQUESTS[:1], SAMPLING).values()
    assert found == Completion("r0", written, len(ids), -3.0, "stop")


def test_same_requests_give_same_samples_in_any_order(
    many_ends: Weights, sampled: dict[str, Completion]
) -> None:
    torch.manual_seed(12345)
    before = torch.random.get_rng_state()
    again = sample(many_ends, REQUESTS[::-1], SAMPLING)
    assert again == sampled
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeds_and_not_the_members_own_defaults_decide(
    many_ends: Weights, sampled: dict[str, Completion]
) -> None:
    same_prompt = [sampled[f"r{i}"].text for i in (0, 3, 6, 9)]
    assert len(set(same_prompt)) > 1, "top_k 1 of the generation config has leaked in"
    other = sample(many_ends, [replace(r, seed=r.seed + 50) for r in REQUESTS], SAMPLING)
    assert [c.text for c in other.values()] != [c.text for c in sampled.values()]


def test_temperature_zero_is_greedy(tiny_cell: Cell) -> None:
    sampling = Sampling(temperature=0, max_new_tokens=8)
    first = sample(tiny_cell.target, REQUESTS, sampling)
    other = sample(tiny_cell.target, [replace(r, seed=r.seed + 50) for r in REQUESTS], sampling)
    assert first == other
    assert first["r0"].text == first["r3"].text


def test_outside_its_with_block_an_engine_refuses(tiny_cell: Cell) -> None:
    engine = make_engine("transformers", EngineSpec(tiny_cell.target, "cpu", 4))
    with pytest.raises(RuntimeError, match="with"):
        list(engine.generate(engine.units(REQUESTS), SAMPLING))
    with engine:
        assert list(engine.generate([], SAMPLING)) == []


def test_an_unknown_engine_names_the_known(tiny_cell: Cell) -> None:
    with pytest.raises(FaqError, match=r"unknown engine 'transformer' \(did you mean 'transformers'\?"):
        make_engine("transformer", EngineSpec(tiny_cell.target, "cpu", 4))
    with pytest.raises(FaqError, match="known: transformers, vllm, endpoint"):
        make_engine("zzz", EngineSpec(tiny_cell.target, "cpu", 4))


def test_stages_and_identities_load_no_model_library(tiny_data: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.regeneration.seed_stage import SEED_DATA
from faq_pipeline.regeneration.stage import REGENERATED_CORPUS
from faq_pipeline.regeneration.traces_stage import INFERENCE_TRACES
catalog = Catalog((Path({str(tiny_data)!r}),))
cell = resolve_cell(catalog, "tiny-s", catalog.recipe("tiny-faq"), "cpu", Path({str(tmp_path)!r}))
for stage in (SEED_DATA, REGENERATED_CORPUS, INFERENCE_TRACES):
    assert stage.identity(cell)
loaded = {{"torch", "transformers", "datasets", "pandas", "dagster"}} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)
