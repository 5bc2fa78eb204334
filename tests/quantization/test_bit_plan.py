"""Bits by layer: the exact choice, its limits, and a plan that is made and measured for real."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from faq_pipeline import api
from faq_pipeline.cli.main import app
from faq_pipeline.config.quantization import BitPlan, Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.runner import materialize
from faq_pipeline.lineage.uses import record_use
from faq_pipeline.models.architecture import LinearLayer, architecture_of
from faq_pipeline.quantization.bit_plan import make_plan
from faq_pipeline.quantization.carried_plan import carried_bits
from faq_pipeline.quantization.fused_layers import disagreeing, fused_layers, fused_name
from faq_pipeline.quantization.inspection import bits_per_weight
from faq_pipeline.quantization.knapsack import Option, cheapest, cheapest_bits
from faq_pipeline.quantization.layers import read_tensors
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.spec_check import check_spec
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT, identity
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.store.key import Key
from faq_pipeline.store.records import PlannedLayer, Trace
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows, write_rows
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import Make, make_rows, make_spec
from tests.quantization.test_methods import logits
from tests.quantization.test_stage import CALIBRATION, with_quantization

UNITS = st.lists(
    st.lists(st.builds(Option, st.integers(1, 30), st.integers(0, 100).map(float)), min_size=1, max_size=4),
    min_size=1,
    max_size=5,
)


@given(UNITS, st.integers(1, 120))
def test_the_choice_is_the_cheapest_of_all(units: list[list[Option]], budget: int) -> None:
    fitting = [
        chosen
        for chosen in product(*(range(len(unit)) for unit in units))
        if sum(unit[i].size for unit, i in zip(units, chosen, strict=True)) <= budget
    ]
    if not fitting:
        with pytest.raises(ValueError, match="fits the budget"):
            cheapest(units, budget)
        return

    def cost(chosen: Any) -> float:
        return sum(unit[i].cost for unit, i in zip(units, chosen, strict=True))

    found = cheapest(units, budget)
    assert tuple(found) in fitting
    assert cost(found) == min(map(cost, fitting))


def test_a_budget_of_many_steps_is_kept() -> None:
    units = [[Option(bits * weights, 1 / bits) for bits in (3, 4, 8)] for weights in (999_983, 500_009, 7)]
    budget = 4 * (999_983 + 500_009 + 7)
    assert sum(unit[i].size for unit, i in zip(units, cheapest(units, budget), strict=True)) <= budget


def test_layers_that_engines_fuse_are_one() -> None:
    names = ["a.q_proj", "a.k_proj", "a.v_proj", "a.o_proj", "m.experts.0.up_proj", "m.experts.7.down_proj"]
    found = fused_layers(names)
    assert list(found) == ["a.qkv_proj", "a.o_proj", "m.experts"]
    assert [name for parts in found.values() for name in parts] == names
    assert disagreeing({"a.q_proj": 4, "a.k_proj": 4, "a.o_proj": 3}) is None
    assert disagreeing({"a.q_proj": 4, "a.k_proj": 3}) == ["a.q_proj", "a.k_proj"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"layer_bits": {"re:.*q_proj": 5}}, "inference engines fuse them"),
        ({"layer_bits": {"re:.*qproj": 5}}, "matches no layer"),
        ({"layer_bits": {"lm_head": 5}}, "matches no layer"),
        ({"layer_bits": {"re:.*": 4, "re:.*down_proj": 8}}, "'re:.*down_proj' has no effect"),
        ({"scheme": "FP8", "group_size": None, "layer_bits": {"re:.*o_proj": 4}}, "fixed by its format"),
        ({"method": "awq", "plan": BitPlan(average_bits=4)}, "'awq' has no plan"),
    ],
)
def test_bits_that_cannot_work_are_refused_before_work(
    fields: dict[str, Any], problem: str, tiny_cell: Cell
) -> None:
    with pytest.raises(FaqError, match=problem):
        check_spec(make_spec(**{"method": "gptq", **fields}), tiny_cell.target)


def test_the_order_of_entries_is_part_of_the_identity(tiny_cell: Cell) -> None:
    """The first entry that matches a layer counts, so entries in another order are another checkpoint."""

    def identified(*patterns: str) -> str:
        spec = make_spec(method="gptq", layer_bits={pattern: len(pattern) % 4 + 3 for pattern in patterns})
        cell = tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"quantization": spec}))
        return fingerprint("quantized_checkpoint", 1, identity(cell), {})

    assert identified("re:.*up", "re:.*") != identified("re:.*", "re:.*up")
    assert identified("re:.*", "re:.*up") == identified("re:.*", "re:.*up")


@pytest.mark.parametrize("method", ["rtn", "gptq", "decoupleq"])
def test_layers_get_their_own_bits_and_load_back(method: str, make_checkpoint: Make, tiny_cell: Cell) -> None:
    bits = {"model.layers.0.mlp.down_proj": 8, "re:.*layers.0.mlp.*": 5, "re:.*_proj": 3}
    folder = make_checkpoint(method, "W4A16", 32, layer_bits=bits)
    packed = {name: tensor.shape for name, tensor in read_tensors(folder).items() if "weight_packed" in name}
    original = read_tensors(tiny_cell.target.folder)

    def stored(module: str) -> float:
        _, columns = original[f"{module}.weight"].shape
        return 32 * packed[f"{module}.weight_packed"][1] / columns

    assert stored("model.layers.0.mlp.down_proj") == 8
    assert stored("model.layers.0.mlp.up_proj") >= 5 > stored("model.layers.1.mlp.up_proj") >= 3
    uniform = {n: make_checkpoint(method, "W4A16", 32, layer_bits={"re:.*": n}) for n in (3, 8)}
    plain = make_checkpoint(method, "W3A16", 32)
    assert (uniform[3] / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    sizes = [bits_per_weight(path, tiny_cell.target) for path in (uniform[3], folder, uniform[8])]
    assert sizes == sorted(sizes)
    made = load_quantized(folder, tiny_cell.target.member, "cpu")
    assert torch.isfinite(logits(made)).all()


def test_what_only_packing_rounds_is_measured_rounded(tiny_cell: Cell) -> None:
    spec, plan, traces = make_spec("rtn", group_size=32), BitPlan(average_bits=4, bits=[3, 6]), make_rows(4)
    made = make_plan(spec, plan, tiny_cell.target, [], traces, "cpu", SilentProgress())
    costs = {(row.layer, row.bits): row.cost for row in made.costs}
    assert all(costs[row.layer, 3] > costs[row.layer, 6] > 0 for row in made.layers)
    assert made.uniform_kl > 0 and made.kl > 0


def test_a_method_that_learns_is_planned_with_gptq(tiny_cell: Cell) -> None:
    """Its own roundings would have to be learned once for each width."""
    plan, rows, traces = BitPlan(average_bits=4, bits=[3, 6]), make_rows(4), make_rows(4)
    made = [
        make_plan(spec, plan, tiny_cell.target, rows, traces, "cpu", SilentProgress())
        for spec in (
            make_spec("autoround", group_size=32, iterations=1_000_000),
            make_spec("gptq", group_size=32, observer="imatrix", actorder="static", dampening=0.1),
        )
    ]
    assert made[0] == made[1] and made[0].kl > 0


def test_what_a_plan_is_measured_with_is_a_fingerprint_input(tiny_cell: Cell) -> None:
    plan = BitPlan(average_bits=4)

    def declared(**fields: Any) -> dict[str, Any]:
        return identity(with_quantization(tiny_cell, **fields))["quantization"]

    assert declared(method="autoround", plan=plan)["planned_with"]["method"] == "gptq"
    assert "planned_with" not in declared(method="autoround")
    assert "planned_with" not in declared(method="gptq", plan=plan)


def write_traces(job: Build) -> dict[str, Any]:
    rows = [Trace(f"t{i}", "domain", ids, 8) for i, ids in enumerate(make_rows(12, 48))]
    write_rows(job.directory / "traces.parquet", rows, Trace)
    return {}


TRACES = Stage("inference_traces", 1, (), lambda cell: {}, write_traces)


def test_a_plan_keeps_its_budget_and_is_better_than_uniform_bits(tiny_cell: Cell, tmp_path: Path) -> None:
    stages = {stage.name: stage for stage in (CALIBRATION, TRACES, QUANTIZED_CHECKPOINT)}
    plan = BitPlan(average_bits=4, bits=[3, 4, 6])
    cell = with_quantization(tiny_cell, group_size=32, plan=plan)
    store = Store(tmp_path)
    for name in stages:
        made = materialize(name, cell, stages, store).artifact
    rows = read_rows(made.file("plan.parquet"), PlannedLayer)
    figures = made.metadata
    assert sum(row.bits * row.weights for row in rows) <= 4 * sum(row.weights for row in rows)
    assert figures["plan_kept"] == (figures["plan_kl"] < figures["plan_uniform_kl"])
    assert figures["plan_uniform_bits"] == 4
    # Codes, and a 16-bit scale for each 32 of them.
    assert figures["bits_per_weight"] <= 4 + 16 / 32 + 0.1
    assert {row.layer for row in rows} >= {
        "model.layers.0.self_attn.qkv_proj",
        "model.layers.0.mlp.gate_up_proj",
    }
    assert not QUANTIZED_CHECKPOINT.blocking_problem(cell, made)
    costs = api.read_rows(made, "plan_costs")
    assert [row.bits for row in costs] == [3, 4, 6] * len(rows) and set(rows) <= set(costs)
    quantized = [layer for layer in architecture_of(cell.target).quantizable if layer.part != "head"]
    again = carried_bits(costs, quantized, 4)
    chosen = {row.layer: row.bits for row in rows}
    assert {fused_name(module): bits for module, bits in again.items()} == chosen


@pytest.mark.parametrize("average", [4.0, 4.02, 4.1, 4.2, 7.9])
def test_a_large_model_has_a_choice_near_its_fewest_bits(average: float) -> None:
    """Layers of 80 blocks in the shape of a 70B model: far more steps of size than the solver divides."""
    block = {"qkv": 83_886_080, "o": 67_108_864, "gate_up": 469_762_048, "down": 234_881_024}
    sizes = {f"{n}.{part}": size for n in range(80) for part, size in block.items()}
    costs = {name: [1.0 + (n % 7), 0.1] for n, name in enumerate(sizes)}
    chosen = cheapest_bits([4, 8], costs, sizes, average)
    spent = sum(sizes[name] * (4, 8)[index] for name, index in chosen.items()) / sum(sizes.values())
    assert average - 0.05 < spent <= average


def test_a_plan_of_a_size_keeps_it(tiny_cell: Cell, tmp_path: Path) -> None:
    stages = {stage.name: stage for stage in (CALIBRATION, TRACES, QUANTIZED_CHECKPOINT)}
    cell = with_quantization(
        tiny_cell, group_size=32, method="rtn", plan=BitPlan(size="300kB", bits=[3, 4, 6])
    )
    store = Store(tmp_path)
    for name in stages:
        made = materialize(name, cell, stages, store).artifact
    assert made.metadata["bytes"] <= 300_000 and made.metadata["plan_uniform_bits"] == 3


def test_the_command_prints_a_carried_plan_for_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another member, in the form of `quantization.layer_bits`."""
    monkeypatch.setenv("FAQ_HOME", str(tmp_path))
    identity = {"quantization": {"ignore": ["lm_head"]}}

    def build(folder: Path) -> dict[str, Any]:
        costs = measured(3)
        gates = [
            replace(row, layer=row.layer.replace("down_proj", "gate_up_proj"))
            for row in costs
            if "down" in row.layer
        ]
        write_rows(folder / "plan_costs.parquet", costs + gates, PlannedLayer)
        return {}

    key = Key(
        "quantized_checkpoint", 1, fingerprint("quantized_checkpoint", 1, identity, {}), identity, {}, {}
    )
    made, _ = Store(tmp_path / "store").produce(key, build)
    args = ["layers", made.fingerprint, "--carry-to", "kin-4m"]
    shown = CliRunner().invoke(app, [*args, "--average-bits", "4"])
    bits = yaml.safe_load(shown.output)["layer_bits"]
    assert bits["model.layers.0.self_attn.q_proj"] == bits["model.layers.0.self_attn.v_proj"]
    assert len(bits) == 4 * 7
    Quantization(method="gptq", scheme="W4A16", group_size=128, layer_bits=bits)
    alone = CliRunner().invoke(app, args)
    assert "go together" in str(alone.exception)
    record_use(Store(tmp_path / "store"), "moss-1m@12345678|other", "quantized_checkpoint", made.fingerprint)
    foreign = CliRunner().invoke(app, [*args, "--average-bits", "4"])
    assert "the plan is of moss-1m, and kin-4m is of family 'kin'" in str(foreign.exception)


def model_of(blocks: int, width: int) -> list[LinearLayer]:
    """The linear layers of a small Llama-like model."""
    shapes = {"self_attn.q_proj": 1, "self_attn.k_proj": 1, "self_attn.o_proj": 1, "mlp.down_proj": 3}
    return [
        LinearLayer(name := f"model.layers.{i}.{kind}", name, "decoder", width, width * times, "")
        for i in range(blocks)
        for kind, times in shapes.items()
    ]


def measured(blocks: int, **costs: float) -> list[PlannedLayer]:
    """Costs that halve with each bit, of 1 where nothing else is said of a kind."""
    kinds = {"self_attn.qkv_proj": "qkv", "self_attn.o_proj": "o", "mlp.down_proj": "down"}
    return [
        PlannedLayer(f"model.layers.{i}.{kind}", 1, 100, bits, costs.get(short, 1.0) * (1 + i) / 2**bits)
        for i in range(blocks)
        for kind, short in kinds.items()
        for bits in (3, 4, 6)
    ]


@given(st.integers(1, 6), st.integers(1, 12), st.floats(3, 6), st.floats(0.01, 100))
def test_a_carried_plan_keeps_the_budget_of_the_other_member(
    small: int, large: int, average: float, down: float
) -> None:
    layers = model_of(large, 32)
    bits = carried_bits(measured(small, down=down), layers, average)
    sizes = {layer.module: layer.rows * layer.columns for layer in layers}
    assert bits.keys() == sizes.keys() and set(bits.values()) <= {3, 4, 6}
    assert sum(sizes[name] * own for name, own in bits.items()) <= average * sum(sizes.values())
    assert disagreeing(bits) is None


def test_a_carried_plan_gives_bits_to_the_depth_that_needs_them() -> None:
    bits = carried_bits(measured(2), model_of(4, 32), 4.5)
    of_block = [sum(own for name, own in bits.items() if f".{i}." in name) for i in range(4)]
    assert of_block[0] <= of_block[1] <= of_block[2] <= of_block[3] and of_block[0] < of_block[3]


@pytest.mark.parametrize(
    ("layers", "average", "told"),
    [
        (model_of(2, 32), 2.5, "fewer than the plan's smallest width, 3"),
        ([LinearLayer("model.layers.0.mamba.in", "", "decoder", 4, 4, "")], 4, "no layer like .*mamba"),
    ],
)
def test_a_plan_that_cannot_be_carried_is_refused(
    layers: list[LinearLayer], average: float, told: str
) -> None:
    with pytest.raises(FaqError, match=told):
        carried_bits(measured(2), layers, average)


def test_only_a_plan_looks_at_the_traces(tiny_cell: Cell) -> None:
    assert QUANTIZED_CHECKPOINT.inputs_for(tiny_cell) == ("calibration_set",)
    planned = with_quantization(tiny_cell, plan=BitPlan(average_bits=4))
    assert QUANTIZED_CHECKPOINT.inputs_for(planned) == ("calibration_set", "inference_traces")
