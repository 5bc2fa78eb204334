"""An architecture goes from regeneration to a checkpoint that loads, or is refused before any work.

Where the refusal names a line to add, the same is done with that line. `make architectures` runs all of
them and writes the table of docs/MODELS.md; without FAQ_ARCHITECTURES four run, besides those that
`tests/cases` sends through the whole pipeline.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from faq_pipeline.activations.moments import input_moments
from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.recipe import Sampling
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.engine import Request
from faq_pipeline.inference.transformers_engine import TransformersEngine
from faq_pipeline.models.loading import load_model, load_tokenizer
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.quantization.inspection import bits_per_weight, inspect_checkpoint
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import run
from faq_pipeline.quantization.saving import save
from faq_pipeline.quantization.spec_check import check_spec
from faq_pipeline.store.fingerprint import tool_version
from faq_pipeline.util.progress import SilentProgress
from tests.cases.architectures import FAMILIES, save_random
from tests.markdown import replace_table
from tests.quantization.conftest import make_spec

TABLE = os.environ.get("FAQ_ARCHITECTURES")
NAMES = list(FAMILIES) if TABLE else ["Phi-3", "gpt-oss", "Falcon-H1", "Mamba"]
TOOLS = ("transformers", "torch", "llmcompressor", "compressed-tensors")
PROMPTS = [
    "Mira has 12 apples and gives 5 away.",
    "The river town",
    "Question: 3 + 4 = ?",
    "Read the passage",
]
ULPS = 2**-6
"""Of the largest logit, bf16 has steps of 1/128 to 1/256: sums in another order may differ by a few."""


@dataclass(frozen=True)
class Outcome:
    """What became of an architecture: `refusal` is empty where it ran at once."""

    family: str
    architecture: str
    refusal: str
    line: str
    bits: float | None
    logits: str

    @property
    def row(self) -> str:
        ran = f"{self.bits:.2f}" if self.bits is not None else "-"
        result = "runs" if not self.refusal else f"refused: {self.refusal}"
        line = f"runs with `{self.line}`" if self.line else "-"
        return f"| {self.family} | `{self.architecture}` | {result} | {line} | {ran} | {self.logits or '-'} |"


@pytest.fixture(scope="module")
def outcomes() -> Iterator[list[Outcome]]:
    """What the tests of this file have found; written to the file that `make architectures` names."""
    found: list[Outcome] = []
    yield found
    if TABLE and len(found) == len(FAMILIES):
        head = "| family | class | result | with a line added | bits a weight | logits after reloading |"
        versions = ", ".join(f"{name} {tool_version(name)}" for name in TOOLS)
        rows = [head, "|---|---|---|---|---|---|", *(one.row for one in found)]
        replace_table(Path(TABLE), [*rows, "", f"Run with {versions}, on a CPU."])


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_or_is_refused_with_the_line_to_add(
    name: str, tmp_path: Path, outcomes: list[Outcome]
) -> None:
    save_random(FAMILIES[name].build, tmp_path / "model")
    member = Member(name="m", path=tmp_path / "model", parameters=1)
    weights = find_weights(member, tmp_path / "digests")
    spec, refusal, line = make_spec("gptq"), "", ""
    architecture = weights.config["architectures"][0]
    try:
        check_spec(spec, weights)
    except FaqError as error:
        refusal = error.problem.removeprefix(f"{architecture} ").removeprefix(f"{architecture}: ")
        _, found, entries = error.hint.partition("ignore: ")
        if not found:
            assert error.hint, "a refusal says what to do"
            outcomes.append(Outcome(name, architecture, refusal, "", None, ""))
            return
        line = f"ignore: {entries}"
        spec = make_spec("gptq", ignore=yaml.safe_load(entries))
        check_spec(spec, weights)
    bits, difference = quantized(spec, weights, regenerated(weights), tmp_path / "checkpoint")
    told = f"within {difference:.1e} of the largest" if difference else "equal"
    outcomes.append(Outcome(name, architecture, refusal, line, bits, told))


def regenerated(weights: Weights) -> list[list[int]]:
    """Calibration rows from samples of the model itself."""
    requests = [Request(str(number), prompt, number) for number, prompt in enumerate(PROMPTS)]
    sampling = Sampling(temperature=1.0, max_new_tokens=60)
    with TransformersEngine(weights, "cpu", 4) as engine:
        samples = list(engine.generate(engine.units(requests), sampling))
    assert {sample.request_id for sample in samples} == {request.id for request in requests}
    assert all(sample.tokens and sample.logprob < 0 for sample in samples)
    tokenizer = load_tokenizer(weights)
    text = {sample.request_id: sample.text for sample in samples}
    rows = [tokenizer.encode(request.prompt + text[request.id])[:64] for request in requests]
    moments = input_moments(load_model(weights, "cpu"), rows, lambda done: None)
    assert any(own.tokens for own in moments.values())
    return rows


def quantized(
    spec: Quantization, weights: Weights, rows: list[list[int]], folder: Path
) -> tuple[float, float]:
    """Bits a weight, and how far the loaded checkpoint's logits are, as a share of the largest one."""
    made = run(spec, weights, rows, "cpu", SilentProgress())
    assert not made.log.fallback
    before = logits(made.model)
    save(made.model, weights, folder)
    loaded = logits(load_quantized(folder, weights.member, "cpu"))
    original = logits(load_model(weights, "cpu"))
    difference = float((loaded - before).abs().max() / before.abs().max())
    assert difference < ULPS and not torch.equal(loaded, original)
    found = inspect_checkpoint(folder, weights)
    assert found.loads and not found.nan_tensors
    assert not found.missing_tensors and not found.wrong_shapes
    assert found.bytes < found.original_bytes
    return bits_per_weight(folder, weights), difference


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        ids = torch.arange(3, 83).reshape(2, 40)
        found: torch.Tensor = model(ids, use_cache=False).logits.float()
    return found
