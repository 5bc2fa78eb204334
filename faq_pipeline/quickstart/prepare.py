"""Writes the family and the recipe for a model that a user names, as `faq init` does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from faq_pipeline.errors import FaqError
from faq_pipeline.models.chat import check_renders
from faq_pipeline.models.device import choose_device
from faq_pipeline.models.device_memory import device_memory
from faq_pipeline.models.loading import load_tokenizer
from faq_pipeline.quantization.methods import find_method
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.quickstart.family_file import write_family
from faq_pipeline.quickstart.model_facts import json_object
from faq_pipeline.quickstart.model_source import ModelSource
from faq_pipeline.quickstart.prepared_notes import describe_budget, describe_judging, describe_model
from faq_pipeline.quickstart.quantize_options import QuantizeOptions, usual_method
from faq_pipeline.quickstart.recipe_tree import BASELINE_COMMENTS, COMMENTS, RecipeFacts, recipe_trees
from faq_pipeline.quickstart.seeds import SeedFile, find_seeds
from faq_pipeline.quickstart.teacher import Places, Teacher, choose_teacher
from faq_pipeline.quickstart.written_files import WrittenFiles, write_own, yaml_text
from faq_pipeline.settings import REPOSITORY, Settings

PROSE = REPOSITORY / "data/eval/general/prose.jsonl"
SAMPLING = {"temperature": 0.7, "top_p": 0.95}
"""Where the model's generation_config.json says nothing."""


@dataclass(frozen=True)
class Prepared:
    """What was written: the cell's member and recipe, the files, and what the user should know.

    Attributes:
        folder: name of the checkpoint's folder where the user gives none; the recipe's, with capitals.
    """

    member: str
    recipe: str
    folder: str
    files: tuple[Path, ...]
    notes: tuple[str, ...] = field(default=())


def prepare(
    settings: Settings,
    options: QuantizeOptions,
    by: str = "faq quantize",
    record: WrittenFiles | None = None,
) -> Prepared:
    """Look into the model, choose a teacher, read the seeds, and write family, recipe and baselines.

    Nothing is quantized, and of a hub repository its small files alone are fetched. The files lie in
    `settings.own_data`, which the catalog reads.

    Args:
        by: the command that is named in the files.
        record: is told what is written.

    Raises:
        FaqError: the model, the teacher, the seeds, an option or a file of ours that was edited.
    """
    record = record or WrittenFiles()
    scheme, method = SCHEMES.find(options.scheme).name, find_method(options.method_name).name
    options.check_size()
    device = choose_device(settings.device)
    places = Places(settings.catalog, settings.home, settings.digests, device, options.template)
    target = places.find(options.model)
    _check_template(target, options.template)
    teacher = Teacher(None, ())
    if options.is_calibrated:
        key = options.changed("regeneration", "endpoint").get("key")
        teacher = choose_teacher(target, options.teacher, places, key)
    context = _context(target, teacher)
    with record:
        seeds = find_seeds(
            options.seeds,
            target,
            settings.own_data,
            settings.home,
            options.most_seeds,
            context,
            record,
        )
        family, more = write_family(
            settings, target, teacher.source, device_memory(device) / 2**30, by, record
        )
        stem = f"{target.member.name}-{'' if method == usual_method(scheme) else method + '-'}"
        name = stem + options.label.lower()
        facts = _facts(name, target, teacher, seeds, family, options, device)
        trees = recipe_trees(facts, options.changes)
        written = []
        for recipe, tree in trees.items():
            path = settings.own_data / "recipes" / f"{recipe}.yaml"
            hint = f"run it: faq run --member {target.member.name} --recipe {name}; or move it away"
            comments = _comments(seeds) if recipe == name else BASELINE_COMMENTS
            write_own(path, yaml_text(tree, comments), record, by=by, schema="recipe", hint=hint)
            written.append(path)
    notes = (
        describe_model(target),
        *teacher.notes,
        *seeds.notes,
        describe_budget(trees[name], facts),
        describe_judging(trees[name]) if options.judged else "not judged (--no-eval)",
    )
    return Prepared(target.member.name, name, stem + options.label, (*more, *written), notes)


def _comments(seeds: SeedFile) -> dict[str, str]:
    """The comments of the recipe's file, with where its seeds are from."""
    if not seeds.origin:
        return COMMENTS
    return {**COMMENTS, "seeds": f"{COMMENTS['seeds']}\n{seeds.origin}"}


def _facts(
    name: str,
    target: ModelSource,
    teacher: Teacher,
    seeds: SeedFile,
    family: str,
    options: QuantizeOptions,
    device: str,
) -> RecipeFacts:
    tasks, include = options.find_tasks()
    source = teacher.source
    return RecipeFacts(
        name=name,
        title=_title(options, source),
        family=family,
        seeds=seeds.path,
        count=seeds.count,
        raw_tokens=seeds.tokens,
        teacher=None if source is None else source.member.name,
        other_family=source is not None and source.family is not None and source.family.name != family,
        context=_context(target, teacher),
        reasons=bool(target.facts.thinking.open),
        config=json_object(target.folder / "config.json"),
        calibrated=options.is_calibrated,
        engine=_engine(device),
        sampling=_sampling(target if source is None else source),
        prose=PROSE,
        endpoint=teacher.endpoint,
        tasks=tasks,
        include=include,
        method=options.method_name,
        scheme=options.scheme,
        baselines=options.baselines,
    )


def _check_template(target: ModelSource, given: Path | None) -> None:
    """Refuse a template for a model that has one, and one that does not render.

    Raises:
        FaqError: see above.
    """
    if given is None:
        return
    if target.member.chat_template != given:
        raise FaqError(f"--chat-template: {target.named} has one of its own", hint="leave the option out")
    try:
        check_renders(load_tokenizer(target.facts.weights), target.facts.thinking, replies=True)
    except FaqError as error:
        raise FaqError(error.problem, hint=error.hint, file=given) from None


def _title(options: QuantizeOptions, teacher: ModelSource | None) -> str:
    who = "the model itself" if teacher is None else teacher.member.name
    seeds = f", on seeds rewritten by {who}" if options.is_calibrated else ""
    bits = options.scheme if options.size is None else f"{options.scheme}, bits by layer in {options.size}"
    return f"{options.method_name} {bits}{seeds}"


def _context(target: ModelSource, teacher: Teacher) -> int:
    other = target if teacher.source is None else teacher.source
    return min(target.facts.context, other.facts.context)


def _engine(device: str) -> str:
    """vLLM on GPUs where it is installed, else transformers."""
    from faq_pipeline.inference.environment.environment import find_environment

    if device == "cpu":
        return "transformers"
    try:
        find_environment(device)
    except FaqError:
        return "transformers"
    return "vllm"


def _sampling(model: ModelSource) -> dict[str, float]:
    """Temperature and top_p as the model's makers recommend them."""
    stated = json_object(model.folder / "generation_config.json")
    return {
        name: float(stated[name])
        if isinstance(stated.get(name), (int, float))
        and 0 < stated[name] <= (2 if name == "temperature" else 1)
        else usual
        for name, usual in SAMPLING.items()
    }
