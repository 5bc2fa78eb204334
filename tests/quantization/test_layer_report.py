"""The layer report: figures against those computed by hand, of real runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from faq_pipeline.cli.main import app
from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.runner import materialize
from faq_pipeline.models.loading import load_model
from faq_pipeline.quantization.layer_log import LayerLog
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.quantization.stage import LAYERS, QUANTIZED_CHECKPOINT
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.manifest import digest_of
from faq_pipeline.store.records import QuantizedLayer
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_rows, make_spec
from tests.quantization.test_stage import STAGES, with_quantization

FIRST = "model.layers.0.self_attn.q_proj"
"""Its input does not depend on what was rounded before it."""


def made(cell: Cell, root: Path, **fields: Any) -> Artifact:
    cell, store = with_quantization(cell, **fields), Store(root / "store")
    for name in QUANTIZED_CHECKPOINT.inputs_for(cell):
        materialize(name, cell, STAGES, store)
    return materialize("quantized_checkpoint", cell, STAGES, store).artifact


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def artifact(home: Path, tiny_cell: Cell) -> Artifact:
    bits = {"re:.*down_proj": 6}
    return made(tiny_cell, home, method="gptq", scheme="W3A16", group_size=64, layer_bits=bits)


def first_error(original: torch.nn.Module, quantized: torch.nn.Module) -> float:
    """By hand: the power of the error of `FIRST`'s outputs as a share of that of its outputs."""
    inputs: list[torch.Tensor] = []
    module = original.get_submodule(FIRST)
    hook = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0].double().flatten(0, -2)))
    with torch.no_grad():
        for row in make_rows():
            original(torch.tensor([row]))
    hook.remove()
    weights = [model.get_submodule(FIRST).weight.detach().double() for model in (original, quantized)]
    before, after = (torch.cat(inputs) @ weight.T for weight in weights)
    return float((before - after).square().sum() / before.square().sum())


def test_each_layer_has_its_bits_tokens_and_error(artifact: Artifact, tiny_cell: Cell) -> None:
    rows = {row.module: row for row in read_rows(artifact.file(LAYERS), QuantizedLayer)}
    assert len(rows) == 14
    assert {row.bits for name, row in rows.items() if "down_proj" in name} == {6}
    assert {row.bits for name, row in rows.items() if "down_proj" not in name} == {3}
    assert {row.tokens for row in rows.values()} == {sum(map(len, make_rows()))}
    assert not any(row.fallback for row in rows.values())
    quantized = load_quantized(artifact.file("checkpoint"), tiny_cell.target.member, "cpu")
    expected = first_error(load_model(tiny_cell.target, "cpu"), quantized)
    assert rows[FIRST].error == pytest.approx(expected, rel=0.02)
    errors = [row.error for row in rows.values() if row.error is not None]
    assert len(errors) == 14 and min(errors) > 0
    assert artifact.metadata["layer_error_max"] == max(errors)
    assert artifact.metadata["layer_error_mean"] == pytest.approx(sum(errors) / 14)


def test_it_is_no_part_of_the_digest(artifact: Artifact) -> None:
    files = artifact.manifest.files
    assert LAYERS in {file.path for file in files}
    assert artifact.digest == digest_of([file for file in files if file.path != LAYERS])


def test_a_method_without_a_hessian_says_that_nothing_was_measured(tiny_cell: Cell, tmp_path: Path) -> None:
    artifact = made(tiny_cell, tmp_path, method="rtn")
    rows = read_rows(artifact.file(LAYERS), QuantizedLayer)
    assert len(rows) == 14 and {(row.tokens, row.error, row.fallback) for row in rows} == {
        (None, None, False)
    }
    assert "layer_error_mean" not in artifact.metadata


def test_a_layer_that_was_rounded_to_nearest_is_marked(tiny_cell: Cell, tmp_path: Path) -> None:
    spec = make_spec("gptq", dampening=1e-12)
    log = quantize(spec, tiny_cell.target, [[5]], tmp_path / "checkpoint", "cpu", SilentProgress())
    assert FIRST in log.fallback and log.tokens[FIRST] == 1 and log.errors[FIRST] > 0


def test_logs_of_several_processes_are_one() -> None:
    log, other = LayerLog(), LayerLog()
    log.tokens.update(a=3, b=3)
    other.tokens.update(a=4, b=4)
    log.errors["a"], other.errors["b"], other.fallback = 0.1, 0.2, ["b"]
    log.add(other)
    assert (log.tokens, log.errors, log.fallback) == ({"a": 7, "b": 7}, {"a": 0.1, "b": 0.2}, ["b"])


def test_the_command_shows_it(artifact: Artifact, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAQ_HOME", str(home))
    shown = CliRunner().invoke(app, ["layers", artifact.fingerprint[:8]])
    assert shown.exit_code == 0 and FIRST.removeprefix("model.") in shown.output and "384" in shown.output
    printed = CliRunner().invoke(app, ["layers", artifact.fingerprint, "--json"])
    told = json.loads(printed.output)
    rows = told["layers"]
    weights, errors = sum(row["weights"] for row in rows), [row["error"] for row in rows]
    bits, stored = (sum(row[k] * row["weights"] for row in rows) / weights for k in ("bits", "stored_bits"))
    total = " ".join(shown.output[shown.output.index("total: ") :].split())
    assert 3 < bits < 6
    assert total == (
        f"total: 14 layers, {weights:,} weights, {bits:.2f} bits a weight on average ({stored:.2f} stored),"
        f" mean error of a layer {sum(errors) / 14:.3g}, largest {max(errors):.3g}"
    )
    assert [row["bits"] for row in told["layers"]].count(6) == 2
    assert told["fingerprint"] == artifact.fingerprint
    artifact.file(LAYERS).unlink()
    missing = CliRunner().invoke(app, ["layers", artifact.fingerprint])
    assert missing.exit_code != 0 and "no layer report" in str(missing.exception or missing.output)
