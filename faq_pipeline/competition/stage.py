"""Stage `competition_scores`: experts judge the candidates of every group, and one of each wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from faq_pipeline.activations.trace_moments import activations_identity
from faq_pipeline.competition.answers import answer_rules
from faq_pipeline.competition.checks import COMPETITION_CHECKS
from faq_pipeline.competition.cost import competition_work
from faq_pipeline.competition.expert import Context, Expert, Group, Need, groups_of
from faq_pipeline.competition.experts import EXPERTS, experts_named
from faq_pipeline.competition.experts.judge import judge_identity
from faq_pipeline.competition.group import GroupResult, compete
from faq_pipeline.competition.moments_expert import MomentsExpert, score_by_moments
from faq_pipeline.competition.summary import summarise
from faq_pipeline.config.registry import plugin_identity
from faq_pipeline.core import labels, stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import target_gpus, target_identity, target_traits
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import compute_identity
from faq_pipeline.models.device_memory import check_fits
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.store.fingerprint import tool_version
from faq_pipeline.store.records import Candidate, Score, Seed, Standing, Trace
from faq_pipeline.store.tables import read_rows, write_rows


def identity(cell: Cell) -> dict[str, Any]:
    """Experts with their weights, what those experts read besides the corpus, and the rules for answers.

    Raises:
        FaqError: the recipe names an unknown expert.
    """
    competition = cell.recipe.competition
    experts = experts_named(competition.experts)
    declared: dict[str, Any] = {
        "experts": {e.name: competition.experts[e.name] for e in experts},
        "selection": competition.selection,
    }
    if competition.selection == "random":
        declared["draw"] = cell.recipe.draw
    needs = {need for expert in experts for need in expert.needs}
    plugins = plugin_identity(
        EXPERTS.plugins(competition.experts),
        SCHEMES.plugins([cell.recipe.quantization.scheme]) if "scheme" in needs else {},
    )
    read = {need: declare(cell) for need, declare in _NEEDS.items() if need in needs}
    return declared | read | answer_rules(cell.recipe) | plugins


def select(cell: Cell, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """The target's traces only where an expert looks at them."""
    experts = experts_named(cell.recipe.competition.experts)
    if any("traces" in expert.needs for expert in experts):
        return inputs
    return tuple(name for name in inputs if name != stage_names.INFERENCE_TRACES)


def _preflight(cell: Cell) -> None:
    """The experts need no more models on the device than it holds."""
    scheme = cell.recipe.quantization.scheme
    for expert in experts_named(cell.recipe.competition.experts):
        if "scheme" in expert.needs:
            if SCHEMES.find(scheme).float_weights:
                raise FaqError(
                    f"expert {expert.name!r} rounds to integers, and the weights of {scheme!r} are none",
                    hint="leave out the expert",
                    key=f"competition.experts.{expert.name}",
                )
            try:
                check_fits(cell.target.member, cell.device, copies=2)
            except FaqError as error:
                key = f"competition.experts.{expert.name}"
                raise FaqError(error.problem, hint=f"leave out expert {expert.name!r}", key=key) from None


def _target(cell: Cell) -> dict[str, Any]:
    return {
        "weights": cell.target.digest,
        "tokenizer": cell.target.tokenizer_digest,
        "prompts": cell.family.prompts.model_dump(),
        "thinking": cell.family.thinking.model_dump(),
        "tools": {name: tool_version(name) for name in ("torch", "transformers")},
        **_compute(cell),
    }


def _compute(cell: Cell) -> dict[str, Any]:
    """What of the evaluation's engine, which scores for the experts, shapes the target's figures."""
    if target_traits(cell).served:
        return {"engine": target_identity(cell)}
    return compute_identity(cell.target.member, cell.device)


def _scheme(cell: Cell) -> dict[str, Any]:
    return cell.recipe.quantization.model_dump(include={"scheme", "group_size", "ignore"})


_NEEDS: dict[Need, Callable[[Cell], dict[str, Any]]] = {
    "target": _target,
    "activations": activations_identity,
    "scheme": _scheme,
    "judge": lambda cell: judge_identity(cell.recipe.competition.judge),
}
"""What each need adds to the identity, where it is more than an input artifact."""


def gpus(cell: Cell) -> int:
    """Those of the engine where it is asked what the target makes of a model's text; one for activations."""
    needs = {need for expert in experts_named(cell.recipe.competition.experts) for need in expert.needs}
    asked = target_gpus(cell) if "target" in needs and cell.teacher is not None else 0
    return max(asked, int("activations" in needs))


def build(task: Build) -> dict[str, Any]:
    """Score, compete, write `scores.parquet` and `standings.parquet`."""
    recipe = task.cell.recipe
    seeds = read_rows(task.inputs[stage_names.SEED_DATA].file("seeds.parquet"), Seed)
    corpus = task.inputs[stage_names.REGENERATED_CORPUS].file("candidates.parquet")
    groups = groups_of(seeds, read_rows(corpus, Candidate))
    context = Context(task.cell, task.progress, _traces(task))
    raw = _opinions(groups, experts_named(recipe.competition.experts), context)
    draw = recipe.draw if recipe.competition.selection == "random" else None
    verdicts: list[GroupResult] = []
    for index, group in enumerate(groups):
        own = {name: scores[index] for name, scores in raw.items()}
        verdicts.append(compete(group, own, recipe.competition.experts, draw))
    write_rows(task.directory / "scores.parquet", [s for v in verdicts for s in v.scores], Score)
    standings = [s for v in verdicts for s in v.standings]
    write_rows(task.directory / "standings.parquet", standings, Standing)
    metadata = summarise(groups, verdicts)
    for note in metadata["notes"]:
        task.progress.note(note)
    return {**metadata, "notes": [*context.notes, *metadata["notes"]]}


def _opinions(
    groups: Sequence[Group], experts: Sequence[Expert], context: Context
) -> dict[str, list[list[float | None]]]:
    """Every expert's scores, by expert, then group, then candidate."""
    by_moments = [expert for expert in experts if isinstance(expert, MomentsExpert)]
    try:
        flat = score_by_moments(by_moments, groups, context) if by_moments else {}
        flat |= {expert.name: expert.score(groups, context) for expert in experts if expert.name not in flat}
    finally:
        context.close()
    return {name: _by_group(scores, groups) for name, scores in flat.items()}


def _traces(task: Build) -> list[Trace]:
    if stage_names.INFERENCE_TRACES not in task.inputs:
        return []
    return read_rows(task.inputs[stage_names.INFERENCE_TRACES].file("traces.parquet"), Trace)


def _by_group(scores: Sequence[float | None], groups: Sequence[Group]) -> list[list[float | None]]:
    remaining = iter(scores)
    return [[next(remaining) for _ in group.candidates] for group in groups]


COMPETITION_SCORES = Stage(
    name=stage_names.COMPETITION_SCORES,
    version=2,
    inputs=(stage_names.SEED_DATA, stage_names.REGENERATED_CORPUS, stage_names.INFERENCE_TRACES),
    identity=identity,
    build=build,
    gpus=gpus,
    select=select,
    work=competition_work,
    labels={
        **labels.TARGET,
        "experts": "competition.experts",
        "selection": "competition.selection",
        "judge": "competition.judge",
        "answers": "rules for known answers, version",
        **labels.nested(labels.TARGET, "target"),
        **labels.engine_labels("evaluation", "target.engine"),
        "target.weights": "weights of the target",
    },
    checks=COMPETITION_CHECKS,
    preflight=_preflight,
)
