"""What a study file comes to, and what of it is refused."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.quantization import Compensation
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.study.design.cells import Design
from faq_pipeline.study.design.declared_identity import declared_recipe
from tests.identity.make import as_at_first
from tests.study.tiny_study import Change, designed, line_of, write_study


def test_cells_are_arms_by_quantizers_by_draws_and_pilots_of_the_originals(design: Design) -> None:
    cells = [cell for cell in design.cells if not cell.pilot]
    # Round to nearest has no draws.
    assert len(cells) == 7 * 2 * 2 + 2
    assert len({cell.id for cell in design.cells}) == len(design.cells)
    pilots = [cell for cell in design.cells if cell.pilot]
    assert {(c.arm, c.quantizer, c.draw, c.split, c.judged) for c in pilots} == {
        (arm, "gptq-w3", draw, "development", True)
        for arm in ("original-raw", "original-chat")
        for draw in (10, 11)
    }


def test_an_arm_may_have_the_first_draws_alone(data: Path, tmp_path: Path) -> None:
    write_study(
        data,
        ("\ndraws: 2\n", "\ndraws: [3, 7, 5]\n"),
        ("draws: [10, 11]", "draws: [10]"),
        ("self: {title: self,", "self: {title: self, draws: 2,"),
    )
    cells = designed(data, tmp_path / "digests").cells
    draws = {
        arm: [c.draw for c in cells if (c.arm, c.quantizer, c.pilot) == (arm, "gptq-w3", False)]
        for arm in ("self", "faq")
    }
    assert draws == {"self": [3, 7], "faq": [3, 7, 5]}
    assert {c.draw for c in cells if c.pilot} == {10}


def test_an_arm_is_laid_upon_the_quantizer_the_split_and_the_base(design: Design) -> None:
    def recipe(arm: str, quantizer: str):
        return next(
            c for c in design.cells if (c.arm, c.quantizer) == (arm, quantizer) and not c.pilot
        ).cell.recipe

    raw = recipe("original-raw", "gptq-w3")
    assert (raw.regeneration.source, raw.regeneration.sampling, raw.competition.experts) == (
        "original",
        None,
        {},
    )
    assert (raw.calibration.template, raw.quantization.scheme) == ("raw", "W3A16")
    assert recipe("faq", "gptq-w4").quantization.scheme == "W4A16"
    rtn = recipe("rtn", "gptq-w3").quantization
    assert (rtn.method, rtn.scheme) == ("rtn", "W3A16")
    assert raw.evaluation.batch_size == 8 and raw.evaluation.limit is None
    pilot = next(c for c in design.cells if c.pilot).cell.recipe
    assert pilot.evaluation.limit == 4


def test_the_accuracy_is_asked_of_what_was_listed_beforehand(design: Design) -> None:
    judged = {(c.arm, c.quantizer) for c in design.cells if c.judged and not c.pilot}
    assert judged == {(arm, "gptq-w3") for arm in ("faq", "original-raw", "original-chat", "rtn")}
    assert all(c.last == ("eval_report" if c.judged else "divergence") for c in design.cells)


@pytest.mark.parametrize(
    ("change", "problem", "where"),
    [
        (("  faq: {title: FAQ}", "  faq: {titel: FAQ}"), "unknown key 'arms.faq.titel'", "titel"),
        (("headline: faq", "headline: fak"), "unknown arm 'fak' (did you mean 'faq'?)", "headline"),
        (("{arm: faq, than: self,", "{arm: faq, than: selv,"), "unknown arm 'selv'", "selv"),
        (("quantizers: [gptq-w3]}", "quantizers: [gptq-w5]}"), "unknown quantizer 'gptq-w5'", "gptq-w5"),
        (("split: test", "split: tset"), "unknown split 'tset'", "splits"),
        (("members: [tiny-s]", "members: [tiny-x]"), "unknown member 'tiny-x'", ""),
        (("recipe: tiny-faq", "recipe: tiny-fak"), "unknown recipe 'tiny-fak'", "tiny-fak"),
        (("scheme: W4A16", "scheme: W4B16"), "unknown scheme 'W4B16'", "W4B16"),
        (("{source: self,", "{sauce: self,"), "unknown key 'regeneration.sauce'", "sauce"),
        (("draws: [10, 11]", "draws: [1, 11]"), "draw 1 is among 'draws' and 'primary.draws'", ""),
        (("name: trial", "name: other"), "the study's name is 'other'", "name: other"),
        (("raw: original-raw", "raw: self"), "arm 'self' is not original-raw", "originals"),
        (
            ("{title: self,", "{title: self, draws: 3,"),
            "arm 'self' has 3 draws, and the study has 2",
            "draws: 3",
        ),
        (("{title: FAQ}", "{title: FAQ, draws: 1}"), "arm 'faq' is the headline arm, and must", "draws: 1}"),
        (
            ("title: original, raw", "title: o\n    draws: 2"),
            "'original-raw' is an original,",
            "    draws: 2",
        ),
    ],
    ids=lambda value: value[1][:24] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_told_with_its_line(
    change: Change, problem: str, where: str, data: Path, tmp_path: Path
) -> None:
    path = write_study(data, change)
    with pytest.raises(FaqError) as caught:
        designed(data, tmp_path / "digests")
    assert problem in str(caught.value)
    if where:
        assert str(caught.value).startswith(f"{path}:{line_of(path, where)}: ")


@pytest.mark.parametrize("control", ["self", "teacher-one", "random-tokens", "rtn"])
def test_a_study_without_a_control_is_refused_unless_it_says_why(
    control: str, data: Path, tmp_path: Path
) -> None:
    path = write_study(data, ("  - {arm: faq, than: self, isolates: family}\n", ""), (", rtn], q", "], q"))
    text = path.read_text()
    start = text.index(f"  {control}:")
    end = min(i for i in (text.find("\n  ", start + 3), text.find("\nquant", start)) if i > 0)
    while text[end + 1 : end + 5] == "    ":
        end = text.index("\n", end + 1)
    path.write_text(text[:start] + text[end + 1 :])
    with pytest.raises(FaqError, match=f"is the control '{control}'"):
        designed(data, tmp_path / "digests")
    path.write_text(path.read_text() + f"without: {{{control}: it was measured elsewhere}}\n")
    assert designed(data, tmp_path / "digests").cells


BUDGET = ("  self: {title: self,", "  self: {title: self, calibration: {tokens: 256},")


def test_unequal_budgets_are_refused_unless_the_arm_says_why(data: Path, tmp_path: Path) -> None:
    path = write_study(data, BUDGET)
    path.write_text(path.read_text() + "without: {self: has another budget}\n")
    with pytest.raises(
        FaqError, match=r"arm 'self' and the headline arm 'faq' differ in calibration\.tokens"
    ) as caught:
        designed(data, tmp_path / "digests")
    assert str(caught.value).startswith(f"{path}:{line_of(path, 'self: {title: self')}: ")
    text = path.read_text().replace("title: self,", "title: self, why: to see,")
    path.write_text(text)
    with pytest.raises(FaqError, match=r"'faq' and 'self' differ in calibration\.tokens"):
        designed(data, tmp_path / "digests")
    path.write_text(text.replace("  - {arm: faq, than: self, isolates: family}\n", ""))
    assert designed(data, tmp_path / "digests").cells


def test_other_seeds_are_unequal_too(data: Path, tmp_path: Path) -> None:
    path = write_study(data, ("  self: {title: self,", "  self: {title: self, seeds: {count: 4},"))
    path.write_text(path.read_text() + "without: {self: has other seeds}\n")
    with pytest.raises(FaqError, match=r"arm 'self' and the headline arm 'faq' differ in seeds\.count"):
        designed(data, tmp_path / "digests")


def test_a_study_extends_another(data: Path, tmp_path: Path) -> None:
    write_study(data)
    (data / "studies/more.yaml").write_text("name: more\nextends: trial\ndraws: [4, 5, 6]\n")
    design = designed(data, tmp_path / "digests", "more")
    assert {cell.draw for cell in design.cells if not cell.pilot} == {4, 5, 6}


def test_families_may_differ_in_an_arm(data: Path, tmp_path: Path) -> None:
    change = (
        "  faq: {title: FAQ}",
        "  faq: {title: FAQ}\n  only: {title: o, families: {tiny: {regeneration: {candidates: 3}}}}",
    )
    write_study(data, change)
    cells = designed(data, tmp_path / "digests").cells
    assert {c.cell.recipe.regeneration.candidates for c in cells if c.arm == "only"} == {3}


def test_what_a_cell_declares_does_not_depend_on_where_it_lies(
    design: Design, data: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(data, tmp_path / "moved", symlinks=True))
    there = designed(moved, tmp_path / "digests").cells
    assert [c.declared for c in there] == [c.declared for c in design.cells]
    (moved / "eval/prose.jsonl").write_text('{"id": "p", "text": "Another passage altogether."}\n')
    assert {c.declared for c in designed(moved, tmp_path / "digests").cells}.isdisjoint(
        c.declared for c in design.cells
    )


@settings(max_examples=30)
@given(count=st.integers(1, 9))
def test_shards_part_the_cells_and_keep_draws_together(design: Design, count: int) -> None:
    shards = [design.shard(index, count).cells for index in range(1, count + 1)]
    assert Counter(cell.id for shard in shards for cell in shard) == Counter(c.id for c in design.cells)
    for draw in {cell.draw for cell in design.cells}:  # of one target, which is never split
        assert sum(any(cell.draw == draw for cell in shard) for shard in shards) == 1


def test_shards_of_the_main_study_take_about_as_long(tmp_path: Path) -> None:
    design = designed(REPOSITORY / "data", tmp_path, "main")
    for count in (2, 4, 8, 16):
        sizes = [len(design.shard(index, count).cells) for index in range(1, count + 1)]
        assert sum(sizes) == len(design.cells) and max(sizes) <= 1.35 * min(sizes), sizes


@pytest.mark.parametrize("name", ["main", "choose", "confirm", "conditions", "smoke"])
def test_the_shipped_studies_hold_together(name: str, tmp_path: Path) -> None:
    design = designed(REPOSITORY / "data", tmp_path, name)
    study = design.study
    assert len(design.cells) > 30
    if name == "main":
        assert len(study.draw_numbers) >= 8 and len(study.arms) >= 10 and len(study.quantizers) >= 5
        assert study.primary.split != study.split and not study.without


def test_a_catalog_without_studies_suggests_none(data: Path) -> None:
    with pytest.raises(FaqError, match="unknown study 'nope'"):
        Catalog((data,)).study("nope")


def test_what_a_recipe_declares_of_its_results_is_kept() -> None:
    recipe = as_at_first(Catalog((REPOSITORY / "data",)).recipe("faq-gptq-w3a16"))
    kept = "c01f28b5363494ef68ff"  # by the code of commit bd61d0c, and so in results that are kept
    assert fingerprint("recipe", 1, declared_recipe(recipe), {}) == kept, "see declared_identity.ADDED"
    ranks = recipe.model_copy(update={"quantization": recipe.quantization.model_copy(update={"ranks": 2})})
    assert declared_recipe(ranks)["quantization"]["ranks"] == 2
    for own in ({"rank": 4, "space": "hessian"}, {"kind": "outlier_columns", "rank": 4, "space": "hessian"}):
        more = {"compensation": Compensation.model_validate(own)}
        adapted = recipe.model_copy(update={"quantization": recipe.quantization.model_copy(update=more)})
        assert declared_recipe(adapted)["quantization"]["compensation"] == own
