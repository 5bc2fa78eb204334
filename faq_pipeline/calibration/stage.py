"""Stage `calibration_set`: winners rendered, chosen, packed; and how well they fit the target."""

from __future__ import annotations

from typing import Any

from faq_pipeline.activations.fitness import by_layer, fitness, mismatches
from faq_pipeline.activations.trace_moments import measuring
from faq_pipeline.calibration.assemble import Assembled, assemble, winners_of
from faq_pipeline.calibration.checks import CALIBRATION_CHECKS
from faq_pipeline.calibration.cost import calibration_work
from faq_pipeline.calibration.fill import Fill, check_can_fill, check_filled
from faq_pipeline.calibration.fitness_plot import draw_fitness_by_layer
from faq_pipeline.calibration.selection_order import order_of
from faq_pipeline.calibration.selectors import SELECTORS, find_selector
from faq_pipeline.competition.expert import groups_of
from faq_pipeline.config.recipe import DRAW, GENERATED
from faq_pipeline.config.registry import plugin_identity
from faq_pipeline.core import labels, stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.models import hub
from faq_pipeline.models.architecture import architecture_of
from faq_pipeline.models.chat import check_renders
from faq_pipeline.models.device import compute_identity
from faq_pipeline.models.precision import precision_for
from faq_pipeline.models.weights import has_vocabulary, other_vocabulary
from faq_pipeline.store.fingerprint import tool_version
from faq_pipeline.store.records import (
    Candidate,
    ChannelMismatch,
    RoutedTokens,
    Sample,
    Seed,
    Standing,
    TokenRow,
    Trace,
)
from faq_pipeline.store.tables import read_rows, write_rows


def identity(cell: Cell) -> dict[str, Any]:
    """The recipe's calibration section, and the target with all that renders and measures.

    Raises:
        FaqError: the recipe names an unknown selection, or wants originals beside originals.
    """
    selection = cell.recipe.calibration.selection
    return {
        "calibration": _used(cell),
        "target": cell.target.digest,
        "tokenizer": cell.target.tokenizer_digest,
        "thinking": cell.family.thinking.model_dump(),
        "prompts": cell.family.prompts.model_dump(),
        "tools": {name: tool_version(name) for name in ("torch", "transformers")},
        **compute_identity(cell.target.member, cell.device),
        **({} if selection == DRAW else plugin_identity(SELECTORS.plugins([selection]))),
    }


def _used(cell: Cell) -> dict[str, Any]:
    """The section's fields. What a recipe may leave out counts only where it is used."""
    spec = cell.recipe.calibration
    used = spec.model_dump(include={"template", "tokens", "sequence_length"})
    if spec.reasoning != "keep":
        used["reasoning"] = spec.reasoning
    if selector := find_selector(spec.selection):
        used["selection"] = selector.name
        if selector.needs_activations:
            used["precision"] = precision_for(cell.target.member, cell.device)
    if spec.originals:
        regeneration = cell.recipe.regeneration
        if not regeneration.generates:
            raise FaqError(
                f"originals go beside regenerated samples, and source is {regeneration.source!r}",
                hint=f"remove calibration.originals, or use source: {' or '.join(GENERATED)}",
                key="calibration.originals",
            )
        used["originals"] = spec.originals
    return used


def build(task: Build) -> dict[str, Any]:
    """Write `samples.parquet`, `rows.parquet`, `fitness.parquet`, `fitness.png`.

    A mixture also gets `experts.parquet`, the tokens that each routed expert sees.

    Raises:
        FaqError: another base tokenizer, rows longer than the context, a selection by routed experts for a
            target without any, or a set that fills less than half of its budget.
    """
    from faq_pipeline.activations.routing import routing_figures

    _check_teacher(task)
    _check_experts(task.cell)  # the files of a hub member may be here only now
    made, fill = _assembled(task)
    check_filled(task.cell, fill)
    for note in fill.notes:
        task.progress.note(note)
    write_rows(task.directory / "samples.parquet", made.samples, Sample)
    write_rows(task.directory / "rows.parquet", made.rows, TokenRow)
    measured, routed = _measured(task, made.rows)
    write_rows(task.directory / "fitness.parquet", measured, ChannelMismatch)
    if routed:
        write_rows(task.directory / "experts.parquet", routed, RoutedTokens)
    draw_fitness_by_layer(measured, task.directory / "fitness.png")
    return {
        **fill.as_dict(),
        "rows": len(made.rows),
        "shortfall": fill.budget - fill.tokens,
        "domain_shares": made.domain_shares,
        "originals": made.originals,
        "fitness": fitness(measured),
        "fitness_by_layer": [
            {"layer": layer, "mismatch": value} for layer, value in by_layer(measured).items()
        ],
        **({"routed_tokens": routing_figures(routed)} if routed else {}),
        "notes": fill.notes,
    }


def _check_teacher(task: Build) -> None:
    """Refuse a teacher with another base tokenizer than the target's, as the corpus's stage does.

    The corpus may have been made for another target, and is then found here without that check. It
    holds what is needed of the teacher, so that nothing of it is downloaded or loaded.
    """
    cell, made = task.cell, task.inputs[stage_names.REGENERATED_CORPUS].metadata.get("vocabulary")
    if cell.teacher is None or made is None or cell.recipe.regeneration.allow_cross_family:
        return
    if not has_vocabulary(cell.target, made):
        raise other_vocabulary(cell.teacher, cell.target)


def _assembled(task: Build) -> tuple[Assembled, Fill]:
    from faq_pipeline.models.loading import load_tokenizer

    cell = task.cell
    _check_length(cell)
    seeds = read_rows(task.inputs[stage_names.SEED_DATA].file("seeds.parquet"), Seed)
    corpus = read_rows(task.inputs[stage_names.REGENERATED_CORPUS].file("candidates.parquet"), Candidate)
    scores = task.inputs[stage_names.COMPETITION_SCORES].file("standings.parquet")
    winners = winners_of(seeds, corpus, read_rows(scores, Standing))
    won = {winner.seed_id for winner in winners}
    lost = groups_of((seed for seed in seeds if seed.id not in won), corpus)
    tokenizer = load_tokenizer(cell.target)
    made = assemble(seeds, winners, cell.family, cell.recipe.calibration, tokenizer, order_of(task))
    wrong = sum(group.wrong_alone for group in lost)
    budget = cell.recipe.calibration.tokens
    known = task.inputs[stage_names.SEED_DATA].metadata.get("known")
    every = known == len(seeds)
    answered = sum(seed.answer is not None for seed in seeds)
    return made, Fill(
        tokens=made.tokens,
        budget=budget,
        samples=len(made.samples),
        seeds=len(seeds),
        left_out=made.left_out,
        wrong_alone=wrong,
        all_seeds=every,
        answered=answered,
    )


def _measured(task: Build, rows: list[TokenRow]) -> tuple[list[ChannelMismatch], list[RoutedTokens]]:
    """Mismatch of every linear layer of the target, and what each expert gets of the set.

    Both are empty where there are no traces.
    """
    from faq_pipeline.activations.moments import input_moments
    from faq_pipeline.activations.routing import routed_tokens, routing_rows

    traces = read_rows(task.inputs[stage_names.INFERENCE_TRACES].file("traces.parquet"), Trace)
    traces = [trace for trace in traces if trace.input_ids]
    if not traces:
        return [], []
    task.progress.start("rows through the target", len(rows) + len(traces))
    with measuring(task.cell) as model:
        with routed_tokens(model) as counts:
            own = input_moments(model, (row.input_ids for row in rows), task.progress.advance)
        theirs = input_moments(model, (t.input_ids for t in traces), task.progress.advance)
    return mismatches(own, theirs), routing_rows(counts)


def _check_length(cell: Cell) -> None:
    length, context = cell.recipe.calibration.sequence_length, cell.target.context
    if length > context:
        raise FaqError(
            f"recipe {cell.recipe.name!r}: calibration.sequence_length is {length}, and"
            f" {cell.target.name!r} attends to {context} tokens",
            hint=f"set it to {context} or less",
            key="calibration.sequence_length",
        )


def _preflight(cell: Cell) -> None:
    """The seeds can fill the budget, and rows fit the context of a local target."""
    check_can_fill(cell)
    if cell.target.member.path is not None:
        _check_length(cell)


def _check_experts(cell: Cell) -> None:
    """Refuse a selection by routed experts for a target that has none."""
    selection = cell.recipe.calibration.selection
    if not getattr(find_selector(selection), "needs_experts", False):
        return
    architecture = architecture_of(cell.target)
    if not any(layer.part == "expert" for layer in architecture.layers):
        raise FaqError(
            f"recipe {cell.recipe.name!r}: selection {selection!r} is for mixtures of experts, and"
            f" {cell.target.name!r} ({architecture.name}) has no routed experts",
            hint="use another selection, such as draw or fidelity",
            key="calibration.selection",
        )


def _preflight_missing(cell: Cell) -> None:
    """A local target has what the selection needs, and its template renders samples if it is used."""
    from faq_pipeline.models.loading import shared_tokenizer

    if cell.target.member.path is not None or hub.cached(cell.target.member) is not None:
        _check_experts(cell)
    if cell.target.member.path is None:
        return
    if cell.recipe.calibration.template == "chat":
        check_renders(shared_tokenizer(cell.target), cell.family.thinking, replies=True)


CALIBRATION_SET = Stage(
    name=stage_names.CALIBRATION_SET,
    version=2,
    inputs=(
        stage_names.SEED_DATA,
        stage_names.REGENERATED_CORPUS,
        stage_names.COMPETITION_SCORES,
        stage_names.INFERENCE_TRACES,
    ),
    identity=identity,
    build=build,
    gpus=lambda cell: 1,
    measurements=("fitness.parquet", "fitness.png", "experts.parquet"),
    work=calibration_work,
    labels=labels.TARGET,
    checks=CALIBRATION_CHECKS,
    preflight=_preflight,
    preflight_missing=_preflight_missing,
)
