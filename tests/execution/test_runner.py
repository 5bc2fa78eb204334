"""The chain of stages: what is a hit, what is a miss, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.family import Family, Member
from faq_pipeline.config.files import load_recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import MissingUpstreamError
from faq_pipeline.execution.runner import Outcome, materialize, plan
from faq_pipeline.models.weights import Weights
from faq_pipeline.store.store import Store
from tests.noting import Noting
from tests.tiny import RECIPE


@dataclass
class Toys:
    """Stages seeds -> corpus -> checkpoint, with `traces` beside; counts their builds.

    `seeds` reads the recipe's count and writes whether it is large; `corpus` reads the
    temperature; `checkpoint` reads the scheme, and needs no corpus for round-to-nearest.
    """

    store: Store
    built: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        stages = [
            self.stage("seeds", (), lambda c: {"count": c.recipe.seeds.count}, _large),
            self.stage("traces", (), lambda c: {"target": c.target.digest}, lambda b: b.cell.target.digest),
            self.stage("corpus", ("seeds",), _temperature, _joined),
            self.stage(
                "checkpoint",
                ("corpus", "traces"),
                lambda c: {"scheme": c.recipe.quantization.scheme},
                _joined,
                lambda c, names: () if c.recipe.quantization.method == "rtn" else names,
            ),
        ]
        self.stages = {stage.name: stage for stage in stages}

    def stage(
        self,
        name: str,
        inputs: tuple[str, ...],
        identity: Callable[[Cell], dict[str, Any]],
        content: Callable[[Build], str],
        select: Callable[[Cell, tuple[str, ...]], tuple[str, ...]] = lambda cell, names: names,
    ) -> Stage:
        def build(work: Build) -> dict[str, Any]:
            self.built[name] += 1
            (work.directory / "data.txt").write_text(content(work))
            work.progress.note(name)
            return {"inputs": sorted(work.inputs)}

        return Stage(name, 1, inputs, identity, build, select=select)

    def run(self, cell: Cell) -> dict[str, str]:
        """All stages in order; hit or miss of each."""
        return {name: materialize(name, cell, self.stages, self.store).cache for name in self.stages}

    def planned(self, cell: Cell) -> dict[str, str]:
        return {name: one.cache for name, one in plan(cell, self.stages, self.store).items()}


def _large(build: Build) -> str:
    return str(build.cell.recipe.seeds.count > 100)


def _temperature(cell: Cell) -> dict[str, Any]:
    assert cell.recipe.regeneration.sampling is not None
    return {"temperature": cell.recipe.regeneration.sampling.temperature}


def _joined(build: Build) -> str:
    stage = "corpus" if "seeds" in build.inputs else "checkpoint"
    own = _temperature(build.cell) if stage == "corpus" else build.cell.recipe.quantization.scheme
    return str((own, [one.file("data.txt").read_text() for one in build.inputs.values()]))


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    path = tmp_path / "tiny-faq.yaml"
    path.write_text(RECIPE)
    member = Member(name="tiny-s", path=tmp_path, parameters=1000)
    family = Family.model_validate(
        {"name": "tiny", "memory_budget_gib": 1, "development": "d.jsonl", "members": [member]}
    )
    return Cell(family, load_recipe(path), Weights(member, "a" * 20, "t" * 20), None, "cpu")


@pytest.fixture
def toys(tmp_path: Path) -> Toys:
    return Toys(Store(tmp_path / "store"))


def changed(cell: Cell, section: str, **fields: Any) -> Cell:
    """The cell with other fields in one section of its recipe."""
    part = getattr(cell.recipe, section).model_copy(update=fields)
    return cell.with_recipe(cell.recipe.model_copy(update={section: part}))


def warmer(cell: Cell) -> Cell:
    sampling = cell.recipe.regeneration.sampling
    assert sampling is not None
    return changed(cell, "regeneration", sampling=sampling.model_copy(update={"temperature": 0.3}))


def test_a_second_run_hits_everywhere(toys: Toys, cell: Cell) -> None:
    assert set(toys.run(cell).values()) == {"miss"}
    assert set(toys.run(cell).values()) == {"hit"} == set(toys.planned(cell).values())
    assert set(toys.built.values()) == {1}


def test_a_plan_before_the_first_run_knows_only_the_first_keys(toys: Toys, cell: Cell) -> None:
    planned = plan(cell, toys.stages, toys.store)
    assert list(planned) == ["seeds", "traces", "corpus", "checkpoint"]
    assert [name for name, one in planned.items() if one.key is not None] == ["seeds", "traces"]
    assert {one.cache for one in planned.values()} == {"miss"} and not toys.built
    first = materialize("seeds", cell, toys.stages, toys.store)
    key = planned["seeds"].key
    assert key is not None and key.fingerprint == first.artifact.fingerprint
    assert plan(cell, toys.stages, toys.store)["corpus"].key is not None


def test_a_stage_without_its_inputs_names_them(toys: Toys, cell: Cell) -> None:
    with pytest.raises(MissingUpstreamError, match=r"corpus of tiny-s@aaaaaaaa\|tiny-faq needs seeds"):
        materialize("corpus", cell, toys.stages, toys.store)
    materialize("seeds", cell, toys.stages, toys.store)
    with pytest.raises(MissingUpstreamError, match=r"checkpoint of .* needs corpus"):
        materialize("checkpoint", cell, toys.stages, toys.store)
    assert toys.built == {"seeds": 1}


def hits(toys: Toys, cell: Cell) -> set[str]:
    return {name for name, cache in toys.run(cell).items() if cache == "hit"}


def test_one_field_misses_its_stage_and_all_after_it(toys: Toys, cell: Cell) -> None:
    toys.run(cell)
    assert hits(toys, warmer(cell)) == {"seeds", "traces"}
    assert hits(toys, changed(cell, "quantization", scheme="W8A8")) == {"seeds", "traces", "corpus"}
    other = replace(cell, target=replace(cell.target, digest="b" * 20))
    assert hits(toys, other) == {"seeds", "corpus"}


def test_a_field_that_no_stage_declares_misses_nothing(toys: Toys, cell: Cell) -> None:
    toys.run(cell)
    assert hits(toys, changed(cell, "evaluation", max_new_tokens=9)) == set(toys.stages)
    renamed = cell.with_recipe(cell.recipe.model_copy(update={"name": "other", "title": "Other"}))
    assert hits(toys, renamed) == set(toys.stages)


@pytest.mark.parametrize(
    ("raised", "stay"),
    [
        ("seeds", {"seeds": False, "traces": True, "corpus": True, "checkpoint": True}),
        ("corpus", {"seeds": True, "traces": True, "corpus": False, "checkpoint": True}),
        ("checkpoint", {"seeds": True, "traces": True, "corpus": True, "checkpoint": False}),
    ],
)
def test_a_raised_version_misses_its_own_stage_and_equal_bytes_stop_there(
    toys: Toys, cell: Cell, raised: str, stay: dict[str, bool]
) -> None:
    toys.run(cell)
    toys.stages[raised] = replace(toys.stages[raised], version=2)
    assert {name: cache == "hit" for name, cache in toys.run(cell).items()} == stay


def test_equal_digests_give_a_hit_downstream_though_upstream_is_keyed_anew(toys: Toys, cell: Cell) -> None:
    toys.run(cell)
    assert hits(toys, changed(cell, "seeds", count=9)) == {"traces", "corpus", "checkpoint"}
    # Another digest upstream is a miss downstream, though nothing else changed there.
    assert hits(toys, changed(cell, "seeds", count=101)) == {"traces"}


def test_an_input_that_does_not_matter_is_neither_needed_nor_counted(toys: Toys, cell: Cell) -> None:
    rtn = changed(cell, "quantization", method="rtn")
    made = materialize("checkpoint", rtn, toys.stages, toys.store)
    assert made.cache == "miss" and made.artifact.manifest.inputs == {}
    assert toys.built == {"checkpoint": 1}
    toys.run(rtn)
    assert hits(toys, warmer(rtn)) == {"seeds", "traces", "checkpoint"}


def test_the_manifest_names_inputs_and_where_they_came_from(toys: Toys, cell: Cell) -> None:
    toys.run(cell)
    artifacts = {name: one.artifact for name, one in plan(cell, toys.stages, toys.store).items()}
    corpus, checkpoint, traces = (artifacts[name] for name in ("corpus", "checkpoint", "traces"))
    assert corpus is not None and checkpoint is not None and traces is not None
    manifest = checkpoint.manifest
    assert manifest.inputs == {"corpus": corpus.digest, "traces": traces.digest}
    assert manifest.upstream == {"corpus": corpus.fingerprint, "traces": traces.fingerprint}
    assert manifest.identity == {"scheme": "W4A16"}
    assert manifest.metadata["inputs"] == ["corpus", "traces"]


def test_the_listener_reaches_the_build(toys: Toys, cell: Cell) -> None:
    listener = Noting()
    outcome: Outcome = materialize("seeds", cell, toys.stages, toys.store, listener)
    assert listener.notes == ["seeds"] and outcome.seconds >= 0
    materialize("seeds", cell, toys.stages, toys.store, listener)
    assert listener.notes == ["seeds"]
