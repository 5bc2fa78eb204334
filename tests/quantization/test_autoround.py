"""Method `autoround` on real layers of kin-2m: its own inequality, what it leaves as it was, its refusals."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from transformers import PreTrainedModel

from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import BitPlan
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device_memory import assumed_memory
from faq_pipeline.models.loading import load_model
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.quantization.cost import checkpoint_work
from faq_pipeline.quantization.learning_check import check_learning_device
from faq_pipeline.quantization.methods.autoround import BATCH
from faq_pipeline.quantization.methods.autoround_modifier import AutoRoundModifier
from faq_pipeline.quantization.oneshot import Quantized, run
from faq_pipeline.quantization.spec_check import check_spec
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import Make, make_rows, make_spec
from tests.quantization.layer_problems import seeds
from tests.quantization.test_check import line_to_add, weights_of
from tests.quantization.test_stage import with_quantization

Passed = list[tuple[tuple[Any, ...], dict[str, Any], torch.Tensor]]
"""Arguments and output of one layer, row by row."""


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    found = Member(name="kin-2m", path=REPOSITORY / "data/models/kin-2m", parameters=1_836_800)
    return find_weights(found, tmp_path_factory.mktemp("digests"))


@pytest.fixture(scope="module")
def rows(member: Weights) -> list[list[int]]:
    """As many as a step learns from, so that the step that is kept is the best on all of them; of 15 to 59
    tokens, so that most are padded."""
    return seeds(member, BATCH)


def quantized(member: Weights, rows: list[list[int]], method: str, scheme: str, **more: Any) -> Quantized:
    spec = make_spec(method, scheme, **more)
    check_spec(spec, member)
    return run(spec, member, rows, "cpu", SilentProgress())


def passed(model: PreTrainedModel, rows: list[list[int]]) -> list[Passed]:
    """What each decoder layer is given and returns."""
    layers: Any = model.model.layers
    seen: list[Passed] = [[] for _ in layers]
    hooks = [
        layer.register_forward_hook(
            lambda module, args, kwargs, output, own=own: own.append((args, kwargs, output)), with_kwargs=True
        )
        for layer, own in zip(layers, seen, strict=True)
    ]
    with torch.no_grad():
        for row in rows:
            model(torch.tensor([row]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(("scheme", "group"), [("W3A16", "channel"), ("W4A16_ASYM", 64)])
def test_every_decoder_layer_has_less_error_than_rounded_to_nearest(
    scheme: str, group: Any, member: Weights, rows: list[list[int]]
) -> None:
    """Of its outputs on the calibration rows, its inputs being those of the model quantized so far, against
    its outputs in the unquantized model."""
    learned = quantized(member, rows, "autoround", scheme, group_size=group, iterations=10).model
    nearest: Any = quantized(member, rows, "rtn", scheme, group_size=group).model
    wanted, given = passed(load_model(member, "cpu"), rows), passed(learned, rows)
    for layer, own, there in zip(nearest.model.layers, given, wanted, strict=True):
        errors = torch.zeros(2)
        for (args, kwargs, output), (_, _, aim) in zip(own, there, strict=True):
            with torch.no_grad():
                rounded = layer(*args, **kwargs)
            for index, made in enumerate((output, rounded)):
                errors[index] += (made.float() - aim.float()).square().sum()
        assert errors[0] < errors[1]


def test_padding_does_not_count(
    member: Weights, rows: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is that of the tokens of the rows, and not of those that bring rows to one length."""
    from auto_round.algorithms.quantization.sign_round.quantizer import SignRoundQuantizer

    seen: list[int] = []
    masked = SignRoundQuantizer._get_loss

    def and_look(self: Any, *args: Any, **kwargs: Any) -> Any:
        indices, masks = args[2], args[5]
        seen.append(sum(int(masks[index].sum()) for index in indices))
        return masked(self, *args, **kwargs)

    monkeypatch.setattr(SignRoundQuantizer, "_get_loss", and_look)
    few = rows[:5]
    quantized(member, few, "autoround", "W3A16", iterations=1)
    assert seen == [sum(map(len, few))] * 3


def test_the_same_recipe_gives_the_same_bytes_and_leaves_the_process_as_it_was(
    make_checkpoint: Make, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was drawn before, and with nothing printed; later stages compute as they would without it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    learn, learned = AutoRoundModifier.apply_autoround, []

    def and_compare(self: Any, *args: Any) -> None:
        before = process_state()
        learn(self, *args)
        assert process_state() == before
        learned.append(args)

    monkeypatch.setattr(AutoRoundModifier, "apply_autoround", and_compare)
    made = []
    for _ in range(2):
        random.random()
        torch.rand(1)
        made.append(make_checkpoint("autoround", "W4A16", 32, iterations=2, rows=make_rows(10, 16)))
    assert learned
    for path in made[0].iterdir():
        assert path.read_bytes() == (made[1] / path.name).read_bytes(), path.name
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == ""
    assert not list(tmp_path.iterdir())


def process_state() -> dict[str, Any]:
    """What auto-round sets: seeds, a variable, how tensors print, which operations are used."""
    return {
        "random": random.getstate(),
        "numpy": str(numpy.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "environment": dict(os.environ),
        "printing": str(torch.tensor([1.23456789, 1e-8])),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@pytest.mark.parametrize(("wide", "scheme", "group"), [(False, "W4A16_ASYM", 32), (True, "FP8", None)])
def test_on_a_cpu_without_bf16_a_model_has_the_form_that_other_methods_give_it(
    wide: bool, scheme: str, group: Any, tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large members stay in bf16 there, and auto-round computes in float32 (see `precision_for`)."""
    from auto_round.utils.device_manager import CpuARDevice

    monkeypatch.setattr(CpuARDevice, "supports_bf16", lambda self: False)
    monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda: not wide)

    def form(method: str) -> dict[str, Any]:
        spec = make_spec(method, scheme, group, iterations=1)
        made: Any = run(spec, tiny_cell.target, make_rows(3), "cpu", SilentProgress()).model
        return {name: (p.dtype, p.shape) for name, p in made.named_parameters()}

    assert form("autoround") == form("rtn")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"observer": "imatrix"}, "learns its scales, and observer 'imatrix' has no effect"),
        ({"scheme": "NVFP4A16", "group_size": None}, "cannot learn 'NVFP4A16'"),
        ({"scheme": "FP8_BLOCK", "group_size": None}, "cannot learn 'FP8_BLOCK'"),
        ({"kv_cache": "fp8"}, "has no kv_cache"),
        ({"compensation": {"rank": 4}}, "has no compensation"),
        ({"ranks": 2}, "has no ranks"),
        ({"token_weights": "attention"}, "has no token_weights"),
        ({"sample_weights": "equal_sequences"}, "has no sample_weights"),
        ({"method": "gptq", "iterations": 50}, "method 'gptq' has no iterations"),
    ],
)
def test_what_it_cannot_do_is_refused_before_work(
    changes: dict[str, Any], problem: str, tiny_cell: Cell
) -> None:
    with pytest.raises(FaqError, match=problem):
        check_spec(make_spec(**{"method": "autoround", **changes}), tiny_cell.target)


def test_a_head_is_refused_with_the_line_to_add(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, tie_word_embeddings=False)
    with pytest.raises(FaqError, match="lm_head is in none") as caught:
        check_spec(make_spec("autoround", ignore=[]), weights)
    check_spec(make_spec("autoround", ignore=line_to_add(caught.value)), weights)


def test_a_large_member_is_not_learned_on_a_cpu() -> None:
    def large(billions: float) -> Member:
        return Member(name="m", path=REPOSITORY, parameters=int(billions * 1e9))

    spec = make_spec("autoround")
    with pytest.raises(FaqError, match=r"hours to days on a CPU: 'm' has 1\.5 billion"):
        check_learning_device(spec, large(1.5), "cpu")
    check_learning_device(spec, large(0.5), "cpu")
    check_learning_device(spec, large(8), "cuda")
    check_learning_device(make_spec("gptq"), large(8), "cpu")
    with assumed_memory(80):
        check_learning_device(spec, large(8), "cpu")


def test_a_plan_counts_the_passes(tiny_cell: Cell) -> None:
    """Forward and backward, of a batch in each step; a large member is refused before any work."""
    calibration = tiny_cell.recipe.calibration

    def tokens(**fields: Any) -> int:
        return checkpoint_work(with_quantization(tiny_cell, **fields)).tokens

    batch = min(calibration.tokens, 8 * calibration.sequence_length)
    assert tokens(method="gptq") == calibration.tokens
    assert tokens(method="autoround") == calibration.tokens + 600 * batch
    assert tokens(method="autoround", iterations=5) == calibration.tokens + 15 * batch
    plan = BitPlan(average_bits=4, bits=[3, 4, 6])
    planned = checkpoint_work(with_quantization(tiny_cell, method="autoround", plan=plan)).worth
    alone = checkpoint_work(with_quantization(tiny_cell, method="autoround")).worth
    assert planned is not None and alone is not None and planned[0] == alone[0] == "gptq on cpu"
    assert alone[1] < planned[1] < 2 * alone[1]  # its widths are GPTQ's
    assert QUANTIZED_CHECKPOINT.preflight is not None
    member = tiny_cell.target.member.model_copy(update={"parameters": 2 * 10**9})
    target = replace(tiny_cell.target, member=member)
    cell = with_quantization(replace(tiny_cell, target=target), method="autoround")
    with pytest.raises(FaqError, match="hours to days"):
        QUANTIZED_CHECKPOINT.preflight(replace(cell, device="cpu"))
