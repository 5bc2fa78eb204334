"""What a tick asks for: the most valuable first, within the budget, and nothing dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.planning.staleness import State
from faq_pipeline.planning.tick_plan import TickPlan, Value, plan_tick
from tests.site import OTHER_SCHEME, Site, make_site

FULL = 5 * 36 / 3600
"""GPU-hours of tiny-faq for another member as small as tiny-s, where each stage took 36 s: the corpus is
there, since its teacher is the same, and seeds and scores load no model."""


@pytest.fixture
def site(tmp_path: Path, tiny_data: Path) -> Site:
    """tiny-s has everything; `tiny-w8` shares all but the last two stages with `tiny-faq`."""
    site = make_site(tmp_path, tiny_data)
    site.recipe(OTHER_SCHEME)
    site.requantize(["tiny-faq", "tiny-w8"])
    site.make("tiny-s", "tiny-faq")
    site.make("tiny-s", "tiny-w8")
    return site


def tick(site: Site, asked: Mapping[str, str] | None = None) -> TickPlan:
    settings = site.settings
    return plan_tick(settings, settings.catalog.families["tiny"], lambda cells: asked or {})


def named(partition: str) -> str:
    """Without the revision."""
    member, _, recipe = partition.partition("|")
    return f"{member.partition('@')[0]}|{recipe}"


def chosen(plan: TickPlan) -> list[str]:
    return [named(choice.judged.partition) for choice in plan.chosen]


def waiting(plan: TickPlan) -> dict[str, str]:
    return {named(partition): reason for partition, reason in plan.waiting}


def test_nothing_is_asked_where_all_is_fresh_and_the_impossible_is_told(site: Site) -> None:
    plan = tick(site)
    assert plan.fresh == 2 and not plan.choices
    assert {name: "it is the largest" in reason for name, reason in waiting(plan).items()} == {
        "tiny-l|tiny-faq": True,
        "tiny-l|tiny-w8": True,
    }


def test_a_member_that_nobody_can_use_comes_before_what_is_missing_and_that_before_what_is_stale(
    site: Site,
) -> None:
    site.recipe("name: tiny-new\nextends: tiny-faq\ntitle: New\nquantization: {scheme: W4A16_ASYM}\n")
    site.requantize(["tiny-new", "tiny-faq", "tiny-w8"])
    site.edit("recipes/tiny-w8.yaml", "W8A16", "W8A8")
    site.add_member("tiny-a")
    site.add_member("tiny-b", parameters=site.settings.catalog.member("tiny-s")[1].parameters + 1)
    plan = tick(site)
    assert [(named(c.judged.partition), c.value) for c in plan.choices] == [
        ("tiny-b|tiny-new", Value.RELEASE),  # of each new member one recipe, the larger first
        ("tiny-a|tiny-new", Value.RELEASE),
        ("tiny-b|tiny-faq", Value.MISSING),
        ("tiny-b|tiny-w8", Value.MISSING),
        ("tiny-s|tiny-new", Value.MISSING),
        ("tiny-a|tiny-faq", Value.MISSING),
        ("tiny-a|tiny-w8", Value.MISSING),
        ("tiny-s|tiny-w8", Value.STALE),
    ]
    assert chosen(plan) == [named(c.judged.partition) for c in plan.choices]


def test_stages_that_cells_share_are_counted_once(site: Site) -> None:
    site.add_member("tiny-a")
    plan = tick(site)
    assert chosen(plan) == ["tiny-a|tiny-faq", "tiny-a|tiny-w8"]
    hours = [choice.gpu_hours for choice in plan.chosen]
    assert hours == pytest.approx([FULL, FULL * 2 / 5], rel=0.01)
    assert plan.gpu_hours == pytest.approx(FULL * 7 / 5, rel=0.01)


def test_what_does_not_fit_waits_and_what_comes_after_it_is_taken_if_it_fits(site: Site) -> None:
    site.add_member("tiny-a")
    site.edit("recipes/tiny-w8.yaml", "W8A16", "W8A8")
    site.requantize(["tiny-faq", "tiny-w8"], hours=FULL * 1.1)
    plan = tick(site)
    assert chosen(plan) == ["tiny-a|tiny-faq"]
    assert waiting(plan)["tiny-a|tiny-w8"].endswith("left")
    site.requantize(["tiny-faq", "tiny-w8"], hours=FULL * 0.9)
    plan = tick(site)
    assert chosen(plan) == ["tiny-s|tiny-w8"]  # two stages of it are stale
    assert "raise requantize.max_gpu_hours of family tiny" in waiting(plan)["tiny-a|tiny-faq"]


def test_of_cells_whose_cost_is_not_known_one_is_tried(tmp_path: Path, tiny_data: Path) -> None:
    site = make_site(tmp_path, tiny_data)
    plan = tick(site)
    (only,) = plan.chosen
    assert named(only.judged.partition) == "tiny-l|tiny-self" and not only.known
    left = {name: reason for name, reason in waiting(plan).items() if "largest" not in reason}
    assert set(left) == {"tiny-s|tiny-faq", "tiny-s|tiny-self"}
    assert all(reason.endswith(f"now {only.judged.partition}") for reason in left.values())
    site.make("tiny-l", "tiny-self")
    assert chosen(tick(site)) == ["tiny-s|tiny-faq", "tiny-s|tiny-self"]  # and its run told the cost


def test_an_unknown_cost_is_no_reason_to_exceed_the_budget(site: Site) -> None:
    """The stages whose cost is known already take more than a tick may ask for."""
    site.add_member("tiny-a")
    site.edit("recipes/tiny-faq.yaml", "method: gptq", "method: rtn")
    site.requantize(["tiny-faq"], hours=FULL / 2)
    plan = tick(site)
    assert waiting(plan)["tiny-a|tiny-faq"].startswith("needs more than")
    assert chosen(plan) == ["tiny-s|tiny-faq"]


def test_what_was_asked_for_takes_nothing_of_the_budget(site: Site) -> None:
    site.add_member("tiny-a")
    site.requantize(["tiny-faq", "tiny-w8"], hours=FULL * 1.1)
    partition = site.cell("tiny-a", "tiny-faq").partition
    plan = tick(site, {partition: "its run 1a2b3c4d is queued"})
    assert chosen(plan) == ["tiny-a|tiny-w8"]
    assert waiting(plan)["tiny-a|tiny-faq"] == "its run 1a2b3c4d is queued"


def test_a_broken_recipe_and_a_broken_member_hinder_nobody_else(site: Site) -> None:
    site.add_member("tiny-a")
    site.add_member("tiny-b")
    (site.data / "models/tiny-b/config.json").write_text("{")
    (site.data / "recipes/tiny-w8.yaml").write_text("name: tiny-w8\nextends: nothing\n")
    site.requantize(["tiny-faq", "tiny-w8", "tiny-unknown"])
    plan = tick(site)
    assert chosen(plan) == ["tiny-a|tiny-faq"] and plan.fresh == 1
    told = waiting(plan)
    assert "names no file" in told["tiny-s|tiny-w8"]
    assert told["tiny-s|tiny-unknown"].startswith("unknown recipe 'tiny-unknown'")
    assert "cannot be read as JSON" in told["tiny-b|tiny-faq"]


@settings(max_examples=12)
@given(
    hours=st.floats(0.001, 0.5),
    made=st.sets(st.tuples(st.sampled_from(["tiny-s", "tiny-a", "tiny-b"]), st.booleans())),
)
def test_a_plan_keeps_the_budget_and_accounts_for_every_cell(
    hours: float,
    made: set[tuple[str, bool]],
    tiny_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    site = make_site(tmp_path_factory.mktemp("plans"), tiny_data)
    site.recipe(OTHER_SCHEME)
    for name in ("tiny-a", "tiny-b"):
        site.add_member(name)
    for name, other in sorted(made):
        site.make(name, "tiny-w8" if other else "tiny-faq")
    site.requantize(["tiny-faq", "tiny-w8"], hours=hours)
    plan = tick(site)
    assert plan.gpu_hours <= hours and sum(not c.known for c in plan.chosen) <= 1
    assert len(plan.choices) + len(plan.impossible) + plan.fresh == 8
    assert all(reason for _, reason in plan.waiting)
    assert [c.value for c in plan.choices] == sorted(c.value for c in plan.choices)
    usable = {c.judged.member for c in plan.choices if c.value is Value.RELEASE}
    assert len(usable) == 3 - len({name for name, _ in made})
    left = hours - plan.gpu_hours
    for choice in plan.choices:  # nobody waits for room that is there
        if choice.waits and choice.known:
            assert choice.gpu_hours > left
        assert choice.judged.state in (State.MISSING, State.PARTIAL, State.UNEVALUATED, State.STALE)
