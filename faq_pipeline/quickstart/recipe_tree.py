"""The recipe of `faq quantize` and its baselines, as trees that are written to YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from faq_pipeline.config.files import overlay
from faq_pipeline.config.recipe import ORIGINAL, SELF, TEACHER, Endpoint, Recipe
from faq_pipeline.config.yaml import commented, validate
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.factory import IN_PROCESS
from faq_pipeline.quantization.group_check import GROUPS
from faq_pipeline.quantization.methods import find_method
from faq_pipeline.quantization.schemes import SCHEMES

Tree = dict[str, Any]

MOST_SEEDS = 512
MOST_TOKENS = 262_144
"""Of a calibration set: 128 rows of 2,048, what published studies of GPTQ calibrate on."""
LONGEST_ROW = 2048
LONGEST_SAMPLE, LONGEST_THOUGHT = 1024, 1536
"""Tokens of a candidate: of a model that answers at once, and of one that marks its reasoning."""
REPLY, ANSWER = 512, 4096
"""Tokens of a reply on which divergence is measured, and of an answer to a question of a task."""
EACH = 64
"""Tokens that a reply is reckoned to add to a seed where no baseline limits the budget. Few: a set that
fills less than half of its budget is refused."""
FILLED = 0.9
"""Share of the tokens of the seeds as they are that the budget takes, so that they fill it."""
WIDTHS = ("hidden_size", "intermediate_size", "moe_intermediate_size", "n_embd", "d_model", "ffn_dim")
"""Columns of linear layers, as config.json names them."""


@dataclass(frozen=True)
class RecipeFacts:
    """What the recipe depends on besides the user's options.

    Attributes:
        family: the family's name.
        seeds: the seed file, and `count` how many are drawn.
        raw_tokens: of these seeds as they are, in the target's tokens.
        teacher: the teacher's name, None for the target itself.
        other_family: whether the teacher is of another family file.
        context: of target and teacher, the smaller.
        config: the target's config.json.
        calibrated: whether the method looks at data.
        engine: what samples and judges: `transformers` or `vllm`.
        sampling: temperature and top_p.
        prose: passages on which divergence is measured.
        endpoint: servers of the teacher.
        include: folder of the user's own tasks.
    """

    name: str
    title: str
    family: str
    seeds: Path
    count: int
    raw_tokens: int
    teacher: str | None
    other_family: bool
    context: int
    reasons: bool
    config: Mapping[str, Any]
    calibrated: bool
    engine: str
    sampling: Mapping[str, float]
    prose: Path
    endpoint: Endpoint | None = None
    tasks: Sequence[str] = ()
    include: Path | None = None
    method: str = "gptq"
    scheme: str = "W4A16"
    baselines: bool = True


def recipe_trees(facts: RecipeFacts, changes: Mapping[str, Any]) -> dict[str, Tree]:
    """The recipe by its name, and its baselines: the same seeds as they are, raw and in the template.

    Args:
        changes: of `parse_changes`, laid upon the recipe.

    Raises:
        FaqError: a change names no key of a recipe, or its value does not fit.
    """
    compared = facts.calibrated and facts.baselines
    names = [f"{facts.name}-raw", f"{facts.name}-chat"] if compared else []
    main = overlay(_main(facts, names), changes)
    _shorten_rows(main, changes)
    try:
        validate(main, Recipe, [(Path("--set"), commented(main))])
    except FaqError as error:
        raise FaqError(error.problem, hint=error.hint or "see docs/QUANTIZE.md", file="--set") from None
    return {facts.name: main} | {
        name: _baseline(facts, name, template) for name, template in zip(names, ("raw", "chat"), strict=False)
    }


def parse_changes(options: Sequence[str]) -> Tree:
    """The tree of `--set quantization.dampening=0.1` and its like; values are YAML.

    Raises:
        FaqError: an option is no `key=value`, or its value no YAML.
    """
    tree: Tree = {}
    for option in options:
        key, equals, value = option.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise FaqError(f"--set {option}", hint="write it as --set quantization.dampening=0.1")
        try:
            parsed = YAML(typ="safe").load(value)
        except (YAMLError, ValueError):  # ValueError: as a date, which is none
            raise FaqError(f"--set {option}: the value is no YAML", hint="quote it") from None
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise FaqError(f"--set {option}: {part} was set to a value before")
        node[path[-1]] = parsed
    return tree


def _main(facts: RecipeFacts, baselines: Sequence[str]) -> Tree:
    sample = min(LONGEST_THOUGHT if facts.reasons else LONGEST_SAMPLE, facts.context // 2)
    budget = facts.raw_tokens * FILLED if baselines else facts.raw_tokens + facts.count * EACH
    tokens = max(1, min(MOST_TOKENS, int(budget)))
    regeneration: Tree = {"source": ORIGINAL}
    if facts.calibrated:
        regeneration = {
            "source": SELF if facts.teacher is None else TEACHER,
            **({} if facts.teacher is None else {"teacher": facts.teacher}),
            **({"allow_cross_family": True} if facts.other_family else {}),
            "candidates": 1,
            "sampling": {**facts.sampling, "max_new_tokens": sample},
            **_sampled_by(facts),
        }
    answer = min(ANSWER if facts.tasks else max(REPLY, 2 * REPLY * facts.reasons), facts.context // 2)
    return {
        "name": facts.name,
        "title": facts.title,
        "families": [facts.family],
        **({"baselines": list(baselines)} if baselines else {}),
        "seeds": {"path": facts.seeds, "count": facts.count},
        "regeneration": regeneration,
        "competition": {"experts": {"degeneration": 1.0}},
        "calibration": {
            "template": "chat",
            "tokens": tokens,
            "sequence_length": min(LONGEST_ROW, facts.context, tokens),
        },
        "quantization": {
            "method": facts.method,
            "scheme": facts.scheme,
            **_groups(facts),
        },
        "evaluation": {
            "tasks": list(facts.tasks),
            **({} if facts.include is None else {"include": facts.include}),
            "max_new_tokens": answer,
            **({} if facts.engine == IN_PROCESS else {"engine": facts.engine}),
            "prose": facts.prose,
            "traces": 64,
        },
    }


def _sampled_by(facts: RecipeFacts) -> Tree:
    """The engine of the teacher, where it is not the default."""
    if facts.endpoint is not None:
        return {"engine": "endpoint", "endpoint": facts.endpoint.model_dump(exclude_none=True)}
    return {} if facts.engine == IN_PROCESS else {"engine": facts.engine}


def _shorten_rows(tree: Tree, changes: Mapping[str, Any]) -> None:
    """Rows are no longer than a budget that the user sets, unless he sets their length too."""
    set_by_user = changes.get("calibration")
    spec = tree.get("calibration")
    if not isinstance(set_by_user, Mapping) or "sequence_length" in set_by_user or not isinstance(spec, dict):
        return
    if isinstance(spec.get("tokens"), int):
        spec["sequence_length"] = min(spec["sequence_length"], max(1, spec["tokens"]))


def _baseline(facts: RecipeFacts, name: str, template: str) -> Tree:
    form = "" if template == "raw" else ", in the chat template"
    return {
        "name": name,
        "title": f"{facts.method} {facts.scheme}, on the seeds as they are{form}",
        "extends": facts.name,
        "baselines": None,
        "regeneration": {
            "source": ORIGINAL,
            **({"teacher": None} if facts.teacher is not None else {}),
            "sampling": None,
            **({"engine": None, "endpoint": None} if facts.endpoint is not None else {}),
        },
        "competition": {"selection": "random", "experts": None},
        "calibration": {"template": template},
    }


def _groups(facts: RecipeFacts) -> Tree:
    """Groups, scales and order of integer weights; those of float formats are fixed."""
    if SCHEMES.find(facts.scheme).float_weights:
        return {}
    reads = find_method(facts.method).options
    settings: Tree = {"actorder": "static"} if "actorder" in reads else {}
    # GPTQ, and what starts from it, but not after smoothing: study `settings`, see docs/RESULTS.md.
    if "dampening" in reads and "smoothing" not in reads:
        settings |= {"observer": "imatrix", "dampening": 0.1}
    return {"group_size": group_size(facts.scheme, facts.config), **settings}


def group_size(scheme: str, config: Mapping[str, Any]) -> int | str:
    """Columns that share a scale: for narrow weights the largest usual group that divides the layers.

    A scale a row where activations are rounded too, or weights have 8 bits, as servers read them.
    """
    found = SCHEMES.find(scheme)
    if found.activation_bits < 16 or found.weight_bits >= 8:
        return "channel"
    text = config.get("text_config")
    sizes = {**config, **(text if isinstance(text, Mapping) else {})}
    shared = math.gcd(*(sizes[name] for name in WIDTHS if isinstance(sizes.get(name), int)))
    return next((group for group in GROUPS if shared % group == 0), "channel")


COMMENTS = {
    "families": "The family file beside this folder, families/, names the model and its teacher.",
    "baselines": "The same seeds as they are: what regeneration gained is measured against these.",
    "seeds": "`count` seeds are drawn, balanced over their domains.",
    "regeneration": "Who rewrites the seeds, and how. More candidates cost more and were not shown to gain.",
    "competition": "Candidates that are cut, empty or looping cannot win.",
    "calibration": "What the quantizer looks at; with baselines no more than the unchanged seeds hold.",
    "quantization": "docs/SCHEMES.md says what serves which scheme.",
    "evaluation": "Without tasks accuracy is not measured: only KL on own replies and on prose.",
}
BASELINE_COMMENTS = {"extends": "All else is as there; a null takes a key away."}
