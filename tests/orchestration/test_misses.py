"""What is a hit and what is a miss: every ingredient of every stage's identity, one by one.

No model runs: identities are compared, and where downstream stages matter, stages write what they
declare instead of working.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.endpoint import Endpoint
from faq_pipeline.config.family import Serving
from faq_pipeline.config.quantization import BitPlan, Compensation
from faq_pipeline.config.recipe import Dataset, Gate, Judge, Recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import materialize
from faq_pipeline.inference.factory import ENGINES, EngineKind
from faq_pipeline.planning.identity_diff import identity_changes
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store import fingerprint
from faq_pipeline.store.artifact import Manifest
from faq_pipeline.store.store import Store
from tests.site import declared

LETTERS = {
    "S": "seed_data",
    "T": "inference_traces",
    "R": "regenerated_corpus",
    "C": "competition_scores",
    "K": "calibration_set",
    "Q": "quantized_checkpoint",
    "E": "reference_eval",
    "P": "eval_report",
}


@dataclass(frozen=True)
class Bench:
    """Where an ingredient is changed: the cell, patches that are undone, a folder for other files."""

    cell: Cell
    patch: pytest.MonkeyPatch
    folder: Path


Change = Callable[[Bench], Cell]


# --- ways to change an ingredient ---


def field(name: str, value: Any) -> Change:
    """Another value of a recipe's field, by its dotted name."""

    def change(bench: Bench) -> Cell:
        return bench.cell.with_recipe(updated(bench.cell.recipe, name.split("."), value))

    return change


def updated(model: Any, names: list[str], value: Any) -> Any:
    head, *rest = names
    return model.model_copy(update={head: updated(getattr(model, head), rest, value) if rest else value})


def family(name: str, value: Any) -> Change:
    return lambda bench: replace(bench.cell, family=updated(bench.cell.family, name.split("."), value))


def target(**changes: Any) -> Change:
    return lambda bench: replace(bench.cell, target=replace(bench.cell.target, **changes))


def teacher(**changes: Any) -> Change:
    def change(bench: Bench) -> Cell:
        assert bench.cell.teacher is not None
        return replace(bench.cell, teacher=replace(bench.cell.teacher, **changes))

    return change


def big(role: str) -> Change:
    """A target or teacher that is computed with more threads."""

    def change(bench: Bench) -> Cell:
        bench.patch.setattr("psutil.cpu_count", lambda logical: 7)
        weights = getattr(bench.cell, role)
        member = weights.member.model_copy(update={"parameters": 10**9})
        return replace(bench.cell, **{role: replace(weights, member=member)})

    return change


def tool(name: str) -> Change:
    """Another version of an installed package."""

    def change(bench: Bench) -> Cell:
        true = fingerprint.version
        bench.patch.setattr(fingerprint, "version", lambda n: "99.0" if n == name else true(n))
        fingerprint.tool_version.cache_clear()
        return replace(bench.cell)  # a cell keeps what its stages declared: the change needs a new one

    return change


def constant(name: str, value: Any) -> Change:
    def change(bench: Bench) -> Cell:
        bench.patch.setattr(f"faq_pipeline.{name}", value)
        return bench.cell

    return change


def processor(*, bf16: bool) -> Change:
    """A processor with or without bf16 arithmetic; that of these tests has it."""
    return constant("models.precision.has_bf16_arithmetic", lambda: bf16)


def other_engine(section: str) -> Change:
    """Another engine for the teacher (`regeneration`) or the target (`evaluation`)."""

    class Other:
        def identity(self) -> dict[str, Any]:
            return {"name": "other"}

    def change(bench: Bench) -> Cell:
        traits = ENGINES["vllm"].traits
        bench.patch.setitem(ENGINES.built_in, "vllm", EngineKind(lambda spec: Other(), traits))
        return field(f"{section}.engine", "vllm")(bench)

    return change


def other_bytes(name: str, of: Callable[[Cell], Path | None], inner: str = "") -> Change:
    """A copy of a file or folder that the cell reads, with one more line in `inner`.

    Args:
        name: of the field that holds the path; `family.` first where it is the family's.
    """

    def change(bench: Bench) -> Cell:
        source = of(bench.cell)
        assert source is not None
        copy = bench.folder / source.name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
        changed = copy / inner if inner else copy
        with changed.open("a") as file:
            file.write('\n{"id": "more", "question": "One more?", "answer": "7", "text": "One more."}')
        if name.startswith("family."):
            return family(name.removeprefix("family."), copy)(bench)
        return field(name, copy)(bench)

    return change


def dataset(bench: Bench) -> Cell:
    seeds = bench.cell.recipe.seeds.model_copy(
        update={"path": None, "dataset": Dataset(name="allenai/c4", revision="a" * 40)}
    )
    return field("seeds", seeds)(bench)


ENDPOINT = Endpoint(base_urls=["http://127.0.0.1:9/v1"])

# --- the table: ingredient, how it is changed, stages whose identity moves ---

TABLE: dict[str, tuple[Change, str]] = {
    "name": (field("name", "other"), ""),
    "title": (field("title", "Other"), ""),
    "families": (field("families", ["tiny", "qwen3"]), ""),
    "baselines": (field("baselines", []), ""),
    "draw": (field("draw", 1), "SR"),
    "seeds.path": (other_bytes("seeds.path", lambda c: c.recipe.seeds.path), "S"),
    "seeds.dataset": (dataset, "SC"),  # its seeds have no answers, so that none is compared
    "seeds.count": (field("seeds.count", 11), "S"),
    "regeneration.source": (
        field("regeneration.source", "original"),
        "RC",
    ),  # answers of seeds are not compared
    # Its name is resolved before: what counts is which weights it stands for.
    "regeneration.teacher": (field("regeneration.teacher", "tiny-l"), ""),
    "regeneration.allow_cross_family": (field("regeneration.allow_cross_family", True), ""),
    "regeneration.candidates": (field("regeneration.candidates", 3), "R"),
    "regeneration.sampling.temperature": (field("regeneration.sampling.temperature", 0.9), "R"),
    "regeneration.sampling.top_p": (field("regeneration.sampling.top_p", 0.9), "R"),
    "regeneration.sampling.max_new_tokens": (field("regeneration.sampling.max_new_tokens", 25), "R"),
    "regeneration.engine": (other_engine("regeneration"), "R"),
    # Servers of one model are as good as each other: its name counts, and only for their engine.
    "regeneration.endpoint": (field("regeneration.endpoint", ENDPOINT), ""),
    "regeneration.batch_size": (field("regeneration.batch_size", 8), "R"),
    "competition.selection": (field("competition.selection", "random"), "C"),
    "competition.judge": (field("competition.judge", Judge(endpoint=ENDPOINT)), ""),
    "competition.experts": (
        field("competition.experts", {"target_likelihood": 2.0, "length": 0.25}),
        "C",
    ),
    "calibration.template": (field("calibration.template", "raw"), "K"),
    "calibration.reasoning": (field("calibration.reasoning", "drop"), "K"),
    "calibration.tokens": (field("calibration.tokens", 256), "K"),
    "calibration.sequence_length": (field("calibration.sequence_length", 64), "K"),
    "calibration.selection": (field("calibration.selection", "diversity"), "K"),
    "calibration.originals": (field("calibration.originals", 0.25), "K"),
    "quantization.method": (field("quantization.method", "awq"), "Q"),
    "quantization.scheme": (field("quantization.scheme", "W4A16"), "Q"),
    "quantization.group_size": (field("quantization.group_size", 64), "Q"),
    "quantization.ignore": (field("quantization.ignore", ["lm_head", "re:.*down.*"]), "Q"),
    "quantization.observer": (field("quantization.observer", "mse"), "Q"),
    "quantization.compensation": (field("quantization.compensation", Compensation(rank=8)), "Q"),
    "quantization.kv_cache": (field("quantization.kv_cache", "fp8"), "Q"),
    "quantization.layer_bits": (field("quantization.layer_bits", {"re:.*down_proj": 5}), "Q"),
    "quantization.plan": (field("quantization.plan", BitPlan(average_bits=4, bits=[4])), "Q"),
    "quantization.actorder": (field("quantization.actorder", "weight"), "Q"),
    "quantization.dampening": (field("quantization.dampening", 0.02), "Q"),
    "quantization.duo_scaling": (field("quantization.duo_scaling", "both"), ""),  # GPTQ has none
    "quantization.iterations": (field("quantization.iterations", 50), ""),  # nor this
    "quantization.smoothing": (field("quantization.smoothing", 0.7), ""),  # nor this
    "quantization.smoothing_form": (field("quantization.smoothing_form", "log"), ""),  # nor this
    "quantization.rotate": (field("quantization.rotate", True), "Q"),
    "quantization.sample_weights": (field("quantization.sample_weights", "equal_sequences"), "Q"),
    "quantization.token_weights": (field("quantization.token_weights", "attention"), "Q"),
    "quantization.ranks": (field("quantization.ranks", 2), "Q"),
    "evaluation.tasks": (field("evaluation.tasks", ["tiny_sums"]), "EP"),
    "evaluation.include": (
        other_bytes("evaluation.include", lambda c: c.recipe.evaluation.include, "test.jsonl"),
        "EP",
    ),
    # The target's own generations are made as the evaluation makes its answers.
    "evaluation.max_new_tokens": (field("evaluation.max_new_tokens", 25), "TEP"),
    "evaluation.batch_size": (field("evaluation.batch_size", 8), "TEP"),
    "evaluation.engine": (other_engine("evaluation"), "TCEP"),
    "evaluation.limit": (field("evaluation.limit", 4), "EP"),
    "evaluation.prose": (other_bytes("evaluation.prose", lambda c: c.recipe.evaluation.prose), "EP"),
    "evaluation.traces": (field("evaluation.traces", 3), "EP"),
    "evaluation.gate": (field("evaluation.gate", Gate(recovery=0.5)), "P"),
    "target weights": (target(digest="0" * 20), "TCKQEP"),
    "target tokenizer": (target(tokenizer_digest="0" * 20), "TCKQEP"),
    "teacher weights": (teacher(digest="0" * 20), "R"),
    "teacher tokenizer": (teacher(tokenizer_digest="0" * 20), "R"),
    "teacher threads": (big("teacher"), "R"),
    "target threads": (big("target"), "TCKQEP"),
    "family name": (family("name", "other"), ""),
    "family licence": (family("licence", "MIT"), ""),
    "family serving": (family("serving", Serving(tensor_parallel=2)), ""),  # transformers has none
    "family owners": (family("owners", ["Qwen"]), ""),
    "family budget": (family("memory_budget_gib", 2), ""),
    "family prompts.question": (family("prompts.question", "Say: {{ text }}"), "RCK"),
    "family prompts.text": (family("prompts.text", "Read: {{ text }}"), "RCK"),
    "family thinking.open": (family("thinking.open", "<t>"), "RCKEP"),
    "family thinking.close": (family("thinking.close", "</t>"), "RCKEP"),
    "family thinking.template_kwargs": (family("thinking.template_kwargs", {"think": True}), "TRCKEP"),
    "family development": (other_bytes("family.development", lambda c: c.family.development), "T"),
    "processor": (processor(bf16=False), "TRCKQEP"),
    "device": (lambda bench: replace(bench.cell, device="cuda"), "TRCKQEP"),
    "torch": (tool("torch"), "TRCKQEP"),
    "transformers": (tool("transformers"), "TRCKQEP"),
    "llmcompressor": (tool("llmcompressor"), "Q"),
    "compressed-tensors": (tool("compressed-tensors"), "Q"),
    "auto-round": (tool("auto-round"), ""),  # method autoround alone uses it
    "lm-eval": (tool("lm_eval"), "EP"),
    "dagster": (tool("dagster"), ""),
    "duckdb": (tool("duckdb"), ""),
    "pyarrow": (tool("pyarrow"), ""),
    "number of traces": (constant("regeneration.traces_stage.COUNT", 8), "T"),
}


@pytest.fixture(scope="module")
def cell(pipeline_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Cell:
    """tiny-beside with an expert that reads the target."""
    catalog = Catalog((pipeline_data,))
    recipe = updated(
        catalog.recipe("tiny-beside"),
        ["competition", "experts"],
        {"target_likelihood": 1.0, "length": 0.5},
    )
    return resolve_cell(catalog, "tiny-s", recipe, "cpu", tmp_path_factory.mktemp("digests"))


@pytest.fixture(autouse=True)
def same_processor_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda: True)


@pytest.fixture
def bench(cell: Cell, tmp_path: Path) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        yield Bench(cell, patch, tmp_path)
    fingerprint.tool_version.cache_clear()


def identities(cell: Cell) -> dict[str, dict[str, Any]]:
    return {name: stage.identity(cell) for name, stage in STAGES.items()}


def leaves(node: Any, path: str = "") -> dict[str, Any]:
    """The identity's values by dotted path."""
    if isinstance(node, dict) and node:
        return {p: v for key, value in node.items() for p, v in leaves(value, f"{path}.{key}").items()}
    return {path: node}


@pytest.mark.parametrize("ingredient", TABLE)
def test_an_ingredient_moves_exactly_its_stages(bench: Bench, ingredient: str) -> None:
    change, moved = TABLE[ingredient]
    before = identities(bench.cell)
    after = identities(change(bench))
    json.dumps(after)
    assert {name for name in STAGES if before[name] != after[name]} == {LETTERS[one] for one in moved}


MACHINE = {"device", "processor", "teacher threads", "target threads"}


@pytest.mark.parametrize("ingredient", TABLE)
def test_an_ingredient_that_moves_a_stage_is_told_in_words(bench: Bench, ingredient: str) -> None:
    """But for the machine, which supersedes nothing."""
    change, moved = TABLE[ingredient]
    before = identities(bench.cell)
    after = identities(change(bench))
    for name in (LETTERS[one] for one in moved):
        told = identity_changes(STAGES[name], after[name], manifest_of(STAGES[name], before[name]))
        assert bool(told) == (ingredient not in MACHINE)
        assert not any(re.search("[0-9a-f]{20}", text) for text in told), told
        assert len(told) == len(set(told))


def manifest_of(stage: Stage, identity: dict[str, Any]) -> Manifest:
    """As it is read from disk."""
    return Manifest(
        stage=stage.name,
        stage_version=stage.version,
        fingerprint="",
        digest="",
        identity=json.loads(json.dumps(identity)),
        inputs={},
        upstream={},
        files=[],
        metadata={},
        created="",
        seconds=0,
    )


def test_no_ingredient_of_an_identity_is_left_out_of_the_table(cell: Cell, tmp_path: Path) -> None:
    before = {name: leaves(identity) for name, identity in identities(cell).items()}
    still = {(name, path) for name, found in before.items() for path in found}
    for ingredient, (change, _) in TABLE.items():
        folder = tmp_path / ingredient
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            after = identities(change(Bench(cell, patch, folder)))
        fingerprint.tool_version.cache_clear()
        still -= {
            (name, path)
            for name, path in still
            if leaves(after[name]).get(path, "gone") != before[name][path]
        }
    assert not still


def test_no_field_of_a_recipe_is_left_out_of_the_table() -> None:
    def fields(model: type[BaseModel], path: str = "") -> Iterator[str]:
        for name, info in model.model_fields.items():
            kinds = [info.annotation, *getattr(info.annotation, "__args__", ())]
            inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
            if inner and inner[0] not in (BitPlan, Compensation, Dataset, Endpoint, Gate, Judge):
                yield from fields(inner[0], f"{path}{name}.")
            else:
                yield f"{path}{name}"

    assert set(fields(Recipe)) <= set(TABLE)


@pytest.mark.parametrize(
    ("recipe", "ingredient", "moved"),
    [
        # Controls do not move with the teacher nor with how it would be sampled.
        ({"regeneration.source": "original"}, "teacher weights", ""),
        ({"regeneration.source": "original"}, "regeneration.sampling.temperature", ""),
        ({"regeneration.source": "original"}, "target tokenizer", "TRCKQEP"),
        ({"regeneration.source": "original"}, "draw", "S"),
        ({"regeneration.source": "random"}, "calibration.sequence_length", "RK"),
        ({"regeneration.source": "random"}, "regeneration.candidates", "R"),
        ({"regeneration.source": "random"}, "draw", "SR"),
        ({"competition.selection": "random"}, "draw", "SRC"),
        ({"competition.experts": {"length": 1.0}}, "target weights", "TKQEP"),
        ({"competition.experts": {"length": 1.0}}, "family prompts.text", "RK"),
        # A server makes its own batches; how it spreads a model counts wherever it speaks for it.
        ({"evaluation.engine": "vllm"}, "evaluation.batch_size", ""),
        ({"evaluation.engine": "vllm"}, "family serving", "TCEP"),
        ({"evaluation.engine": "vllm", "competition.experts": {"length": 1.0}}, "family serving", "TEP"),
        # Experts that look at activations read them from this process, whatever evaluates.
        ({"competition.experts": {"activation_fidelity": 1.0}}, "evaluation.engine", "TEP"),
        ({"competition.experts": {"activation_fidelity": 1.0}}, "calibration.template", "CK"),
        ({"competition.experts": {"activation_fidelity": 1.0}}, "calibration.reasoning", "CK"),
        ({"competition.experts": {"activation_fidelity": 1.0}}, "quantization.scheme", "Q"),
        ({"competition.experts": {"outlier_coverage": 1.0}}, "target weights", "TCKQEP"),
        ({"competition.experts": {"outlier_coverage": 1.0}}, "processor", "TRCKQEP"),
        ({"competition.experts": {"adaptability": 1.0}}, "quantization.scheme", "CQ"),
        ({"competition.experts": {"sensitivity": 1.0}}, "quantization.scheme", "CQ"),
        ({"competition.experts": {"sensitivity": 1.0}}, "quantization.group_size", "CQ"),
        ({"competition.experts": {"sensitivity": 1.0}}, "quantization.ignore", "CQ"),
        ({"competition.experts": {"sensitivity": 1.0}}, "quantization.dampening", "Q"),
        ({"competition.experts": {"sensitivity": 1.0}}, "family prompts.text", "RCK"),
        ({"competition.experts": {"length": 1.0}}, "processor", "TRKQEP"),
        # vLLM serves in bf16 on every processor; the divergence is measured in this process.
        ({"regeneration.engine": "vllm"}, "processor", "TCKQEP"),
        ({"evaluation.engine": "vllm"}, "processor", "RKQEP"),
        ({"quantization.method": "smoothquant"}, "quantization.smoothing", "Q"),
        ({"quantization.method": "smoothquant"}, "quantization.smoothing_form", "Q"),
        ({"quantization.method": "smoothquant"}, "quantization.sample_weights", "Q"),
        ({"quantization.method": "rtn"}, "quantization.sample_weights", ""),
        ({"quantization.method": "awq"}, "quantization.token_weights", ""),
        ({"quantization.method": "smoothquant"}, "quantization.dampening", "Q"),
        ({"quantization.method": "rtn"}, "quantization.dampening", ""),
        ({"quantization.method": "awq"}, "quantization.actorder", ""),
        ({"quantization.method": "awq"}, "quantization.duo_scaling", "Q"),
        ({"quantization.method": "autoround"}, "quantization.iterations", "Q"),
        ({"quantization.method": "autoround"}, "auto-round", "Q"),
        ({"quantization.method": "autoround"}, "quantization.dampening", ""),
    ],
)
def test_what_a_recipe_does_not_use_does_not_count(
    bench: Bench, recipe: dict[str, Any], ingredient: str, moved: str
) -> None:
    base = bench.cell
    for name, value in recipe.items():
        base = field(name, value)(replace(bench, cell=base))
    before = identities(base)
    after = identities(TABLE[ingredient][0](replace(bench, cell=base)))
    assert {name for name in STAGES if before[name] != after[name]} == {LETTERS[one] for one in moved}


# --- and downstream: stages that write what they declare ---


@dataclass(frozen=True)
class Pipeline:
    store: Store

    def missed(self, cell: Cell, **versions: int) -> set[str]:
        """Run all stages of a cell; the letters of those that were not there."""
        stages = {name: declared(stage) for name, stage in STAGES.items()}
        stages |= {name: replace(stages[name], version=number) for name, number in versions.items()}
        caches = {name: materialize(name, cell, stages, self.store).cache for name in stages}
        return {letter for letter, name in LETTERS.items() if caches[name] == "miss"}


@pytest.fixture
def pipeline(tmp_path: Path, cell: Cell) -> Pipeline:
    made = Pipeline(Store(tmp_path / "store"))
    assert made.missed(cell) == set(LETTERS)
    assert made.missed(cell) == set()
    return made


@pytest.mark.parametrize(
    ("ingredient", "missed"),
    [
        ("calibration.selection", "KQP"),
        ("calibration.originals", "KQP"),
        ("quantization.sample_weights", "QP"),
        ("seeds.count", "SRCKQP"),
        ("regeneration.sampling.temperature", "RCKQP"),
        ("teacher weights", "RCKQP"),
        ("competition.experts", "CKQP"),
        ("calibration.tokens", "KQP"),
        ("quantization.scheme", "QP"),
        ("evaluation.tasks", "EP"),
        ("evaluation.limit", "EP"),
        ("evaluation.prose", "EP"),
        ("evaluation.gate", "P"),
        ("lm-eval", "EP"),
        ("llmcompressor", "QP"),
        ("title", ""),
        ("dagster", ""),
    ],
)
def test_a_change_misses_its_stage_and_all_after_it(
    pipeline: Pipeline, bench: Bench, ingredient: str, missed: str
) -> None:
    changed = replace(TABLE[ingredient][0](bench))  # as another process resolves it
    assert pipeline.missed(changed) == set(missed)
    assert pipeline.missed(changed) == set()


@pytest.mark.parametrize(
    ("stage", "missed"), [("seed_data", "S"), ("quantized_checkpoint", "Q"), ("eval_report", "P")]
)
def test_new_code_that_writes_the_same_bytes_misses_its_own_stage_only(
    pipeline: Pipeline, cell: Cell, stage: str, missed: str
) -> None:
    assert pipeline.missed(cell, **{stage: STAGES[stage].version + 1}) == set(missed)


def test_traces_are_an_input_of_a_competition_only_where_an_expert_looks_at_them(
    pipeline: Pipeline, bench: Bench
) -> None:
    development = TABLE["family development"][0]
    # Stages that write what they declare write other traces; the calibration set is measured on them.
    assert pipeline.missed(development(bench)) == set("TKQP")
    looking = field("competition.experts", {"activation_fidelity": 1.0})(bench)
    assert pipeline.missed(looking) == set("CKQP")
    (bench.folder / "more").mkdir()
    changed = development(replace(bench, cell=looking, folder=bench.folder / "more"))
    assert pipeline.missed(changed) == set("CKQP")


def test_round_to_nearest_needs_no_calibration_set(pipeline: Pipeline, bench: Bench) -> None:
    rtn = field("quantization.method", "rtn")(bench)
    assert pipeline.missed(rtn) == set("QP")
    warmer = field("regeneration.sampling.temperature", 0.5)(replace(bench, cell=rtn))
    assert pipeline.missed(warmer) == set("RCK")


def test_words_about_a_recipe_and_its_place_change_nothing(pipeline_data: Path, tmp_path: Path) -> None:
    """What a documentation commit, or a clone somewhere else, does."""

    def made(data: Path) -> Cell:
        catalog = Catalog((data,))
        return resolve_cell(catalog, "tiny-s", catalog.recipe("tiny-beside"), "cpu", tmp_path / "digests")

    moved = Path(shutil.copytree(pipeline_data, tmp_path / "elsewhere"))
    (moved / "README.md").write_text("About these recipes.\n")
    (moved / "eval/README.md").write_text("About these questions.\n")
    for name, text in {"recipes/tiny-faq": "# The tiny recipe.\n", "families/tiny": "# Tiny.\n"}.items():
        path = moved / f"{name}.yaml"
        path.write_text(text + path.read_text())
    pipeline = Pipeline(Store(tmp_path / "store"))
    assert pipeline.missed(made(pipeline_data)) == set(LETTERS)
    assert pipeline.missed(made(moved)) == set()


@pytest.mark.parametrize(
    ("recipe", "missed"),
    [
        ("faq-gptq-w4a16", "QP"),
        ("faq-gptq-w3a16-g128", "QP"),
        ("random-of-k-gptq-w3a16", "CKQP"),
        ("rtn-w3a16", "RCKQP"),
        ("self-gptq-w3a16", "RCKQP"),
        ("original-raw-gptq-w3a16", "RCKQP"),
    ],
)
def test_the_shipped_recipes_share_what_they_have_in_common(tmp_path: Path, recipe: str, missed: str) -> None:
    catalog = Catalog((REPOSITORY / "data",))
    pipeline = Pipeline(Store(tmp_path / "store"))
    cells = [
        resolve_cell(catalog, "kin-4m", catalog.recipe(name), "cpu", tmp_path / "digests")
        for name in ("faq-gptq-w3a16", recipe)
    ]
    assert pipeline.missed(cells[0]) == set(LETTERS)
    assert pipeline.missed(cells[1]) == set(missed)
