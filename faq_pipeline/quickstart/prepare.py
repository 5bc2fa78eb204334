"""Writes the family and the recipe for a model that a user names, as `faq init` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faq_pipeline.config.family import Family
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.yaml import look
from faq_pipeline.errors import FaqError
from faq_pipeline.models.chat import check_renders
from faq_pipeline.models.device import choose_device, device_memory
from faq_pipeline.models.loading import load_tokenizer
from faq_pipeline.quantization.methods import find_method, needs_calibration
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.quickstart.family_file import write_family
from faq_pipeline.quickstart.model_facts import json_object
from faq_pipeline.quickstart.model_source import ModelSource
from faq_pipeline.quickstart.recipe_tree import (
    BASELINE_COMMENTS,
    COMMENTS,
    MOST_SEEDS,
    RecipeFacts,
    recipe_trees,
)
from faq_pipeline.quickstart.seeds import SeedFile, find_seeds
from faq_pipeline.quickstart.teacher import Places, Teacher, choose_teacher, millions
from faq_pipeline.quickstart.written_files import SCHEMAS, write_own, yaml_text
from faq_pipeline.settings import REPOSITORY, Settings

PLAIN = REPOSITORY / "data/templates/plain.jinja"
"""A chat template for models that have none: turns begin with `User:` and `Assistant:`."""
PROSE = REPOSITORY / "data/eval/general/prose.jsonl"
SAMPLING = {"temperature": 0.7, "top_p": 0.95}
"""Where the model's generation_config.json says nothing."""


@dataclass(frozen=True)
class QuantizeOptions:
    """The options of `faq quantize`."""

    model: str
    seeds: str | None = None
    teacher: str | None = None
    scheme: str = "W4A16"
    method: str | None = None
    chat_template: str | None = None
    tasks: Sequence[str] = ()
    baselines: bool = True
    judged: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the recipe to set, as a tree."""


@dataclass(frozen=True)
class Prepared:
    """What was written: the cell's member and recipe, the files, and what the user should know.

    Attributes:
        folder: name of the checkpoint's folder where the user gives none; the recipe's, in the scheme's case.
    """

    member: str
    recipe: str
    folder: str
    files: tuple[Path, ...]
    notes: tuple[str, ...] = field(default=())


def prepare(settings: Settings, options: QuantizeOptions, by: str = "faq quantize") -> Prepared:
    """Look into the model, choose a teacher, read the seeds, and write family, recipe and baselines.

    Nothing is quantized, and of a hub repository its small files alone are fetched. The files lie in
    `settings.own_data`, which the catalog reads.

    Args:
        by: the command that is named in the files.

    Raises:
        FaqError: the model, the teacher, the seeds, an option or a file of ours that was edited.
    """
    scheme, method = (
        SCHEMES.find(options.scheme),
        find_method(options.method or _usual_method(options.scheme)),
    )
    calibrated = _is_calibrated(method.name, scheme.name, options)
    device = choose_device(settings.device)
    template = _template(options.chat_template)
    places = Places(settings.catalog, settings.home, settings.digests, device, template)
    target = places.find(options.model)
    _check_template(target, template)
    key = _changed(options, "regeneration", "endpoint").get("key")
    teacher = choose_teacher(target, options.teacher, places, key) if calibrated else Teacher(None, ())
    seeds = find_seeds(
        options.seeds,
        target,
        settings.own_data,
        settings.home,
        _most_seeds(options),
        _context(target, teacher),
    )
    family, more = write_family(settings, target, teacher.source, device_memory(device) / 2**30, by, SCHEMAS)
    usual = method.name == _usual_method(scheme.name)
    stem = f"{target.member.name}-{'' if usual else method.name + '-'}"
    name = stem + scheme.name.lower()
    facts = _facts(name, target, teacher, seeds, family, options, method.name, calibrated, device)
    trees = recipe_trees(facts, options.changes)
    written = []
    for recipe, tree in trees.items():
        path = settings.own_data / "recipes" / f"{recipe}.yaml"
        hint = f"run it: faq run --member {target.member.name} --recipe {name}; or move it away"
        comments = _comments(seeds) if recipe == name else BASELINE_COMMENTS
        write_own(path, yaml_text(tree, comments), by=by, schema=SCHEMAS / "recipe.json", hint=hint)
        written.append(path)
    notes = (
        _about(target),
        *teacher.notes,
        *seeds.notes,
        *_about_budget(trees[name], facts),
        *(_about_judging(trees[name]) if options.judged else ["not judged (--no-eval)"]),
    )
    return Prepared(target.member.name, name, stem + scheme.name, (*more, *written), notes)


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
    method: str,
    calibrated: bool,
    device: str,
) -> RecipeFacts:
    tasks, include = _tasks(options.tasks)
    source = teacher.source
    return RecipeFacts(
        name=name,
        title=_title(method, options.scheme, calibrated, source),
        family=family,
        seeds=seeds.path,
        count=seeds.count,
        raw_tokens=seeds.tokens,
        teacher=None if source is None else source.member.name,
        other_family=source is not None and source.family is not None and source.family.name != family,
        context=_context(target, teacher),
        reasons=bool(target.facts.thinking.open),
        config=json_object(target.folder / "config.json"),
        calibrated=calibrated,
        engine=_engine(device),
        sampling=_sampling(target if source is None else source),
        prose=PROSE,
        endpoint=teacher.endpoint,
        tasks=tasks,
        include=include,
        method=method,
        scheme=options.scheme,
        baselines=options.baselines,
    )


def _template(named: str | None) -> Path | None:
    """The file of a chat template that the user names; `plain` is ours."""
    if named is None:
        return None
    return PLAIN if named == PLAIN.stem else Path(named).expanduser().resolve()


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


def _usual_method(scheme: str) -> str:
    """GPTQ; round-to-nearest for floats of 8 bits, which lose next to nothing by it."""
    found = SCHEMES.find(scheme)
    return "rtn" if found.float_weights and found.weight_bits >= 8 else "gptq"


def _changed(options: QuantizeOptions, *path: str) -> Mapping[str, Any]:
    """A section of what the user sets; empty where nothing of it is."""
    node: Any = options.changes
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def _most_seeds(options: QuantizeOptions) -> int:
    """How many seeds are drawn; a value that is no number is refused with the recipe."""
    count = _changed(options, "seeds").get("count")
    return count if isinstance(count, int) and count > 0 else MOST_SEEDS


def _is_calibrated(method: str, scheme: str, options: QuantizeOptions) -> bool:
    """Whether anything of the recipe looks at calibration data."""
    observer = _changed(options, "quantization").get("observer", "minmax")
    cache = _changed(options, "quantization").get("kv_cache")
    spec = Quantization.model_construct(method=method, scheme=scheme, observer=observer, kv_cache=cache)
    return needs_calibration(spec)


def _title(method: str, scheme: str, calibrated: bool, teacher: ModelSource | None) -> str:
    who = "the model itself" if teacher is None else teacher.member.name
    return f"{method} {scheme}" + (f", on seeds rewritten by {who}" if calibrated else "")


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


def _tasks(wanted: Sequence[str]) -> tuple[list[str], Path | None]:
    """Names of lm-eval's tasks; or of task YAMLs, with the folder that holds them.

    Raises:
        FaqError: YAMLs of several folders, or beside lm-eval's own tasks.
    """
    files = [Path(task).expanduser() for task in wanted if task.endswith((".yaml", ".yml"))]
    if not files:
        return list(wanted), None
    folders = {file.resolve().parent for file in files}
    if len(files) < len(wanted) or len(folders) > 1:
        raise FaqError(
            "--tasks: task files lie in one folder, and go with no other tasks", hint="copy them together"
        )
    return [str(look(file).get("task", file.stem)) for file in files], folders.pop()


def _about(target: ModelSource) -> str:
    facts = target.facts
    thinking = f"reasoning in {facts.thinking.open}" if facts.thinking.open else "no thinking marks"
    size = f", {target.size / 1e9:.1f} GB to download" if target.size else ""
    return (
        f"model: {target.member.name}, {millions(target.member.parameters)} parameters, context"
        f" {facts.context:,}, licence {_licence(target)}, {thinking}{size}"
    )


def _licence(target: ModelSource) -> str:
    family: Family | None = target.family
    stated = target.member.licence
    if stated == "unknown" and family is not None:
        stated = family.licence
    return "not stated" if stated == "unknown" else stated


def _about_budget(tree: Mapping[str, Any], facts: RecipeFacts) -> list[str]:
    if not facts.calibrated:
        return ["calibration: none, the method looks at no data"]
    tokens = f"calibration: {tree['calibration']['tokens']:,} tokens"
    if not tree.get("baselines"):
        return [f"{tokens} at most"]
    return [
        f"{tokens}, as many as the unchanged seeds hold, so that all sets are of equal size."
        " More seeds, or --no-baselines, allow more"
    ]


def _about_judging(tree: Mapping[str, Any]) -> list[str]:
    tasks = tree["evaluation"].get("tasks")
    if tasks:
        return [f"judged by: accuracy on {', '.join(tasks)}, and divergence (KL) on answers and prose"]
    return [
        "judged by: divergence (KL) from the unquantized model, on its own replies and on prose;"
        " accuracy is not measured (--tasks)"
    ]
