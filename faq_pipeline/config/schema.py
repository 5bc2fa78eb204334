"""JSON Schemas of the YAML files, for editors: every key with its type, its bounds and what it means.

A schema describes a file, not a merged recipe: a file that `extends` another may leave keys out, and
takes one away by a null. What keys must not go together is found when a file is read.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any

from faq_pipeline.config.family import Family
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.config.study import SECTION, Study
from faq_pipeline.config.yaml import Strict

DRAFT = "https://json-schema.org/draft/2020-12/schema"
KINDS: dict[str, type[Strict]] = {"recipe": Recipe, "family": Family, "study": Study}
EXTENDING = ("recipe", "study")
"""Kinds whose files may extend another."""
EXTENDS = {
    "type": "string",
    "description": "Name of the file beside this one that it starts from. Mappings merge, all else"
    " replaces, and a null takes a key away.",
}

Schema = dict[str, Any]
Names = Mapping[tuple[str, str], Sequence[str]]
"""Known values of a text field, by model and field: an editor offers them, others are allowed."""


def json_schema(kind: str, names: Names | None = None) -> Schema:
    """The schema of a kind of file.

    Args:
        kind: one of `KINDS`.
        names: as `{("Quantization", "method"): ["rtn", "gptq"]}`.
    """
    definitions = _definitions(KINDS[kind])
    root = KINDS[kind].__name__
    if kind in EXTENDING:
        overlays = _definitions(Recipe) | definitions
        definitions |= {_overlaid(name): _overlay(schema) for name, schema in overlays.items()}
        for name in (root, _overlaid(root)):
            definitions[name]["properties"] = {"extends": EXTENDS} | definitions[name]["properties"]
    for (model, field), known in (names or {}).items():
        for name in {model, _overlaid(model)} & definitions.keys():
            _offer(definitions[name]["properties"], field, known)
    whole: Schema = {"$ref": _ref(root)}
    if kind in EXTENDING:
        whole = {"if": {"required": ["extends"]}, "then": {"$ref": _ref(_overlaid(root))}, "else": whole}
    used = _used(whole, definitions)
    return {
        "$schema": DRAFT,
        "title": f"A {kind} of faq_pipeline",
        **whole,
        "$defs": {name: definitions[name] for name in sorted(used)},
    }


def _definitions(model: type[Strict]) -> dict[str, Schema]:
    """The model's schema and those that it refers to, by the names of their classes."""
    schema = model.model_json_schema()
    found: dict[str, Schema] = schema.pop("$defs", {}) | {model.__name__: schema}
    for name, one in found.items():
        docs = _attribute_docs(_class(name))
        for field, described in one.get("properties", {}).items():
            described.pop("title", None)
            referred = [option.get("$ref", "") for option in described.get("anyOf", [described])]
            of_class = next(
                (found[ref.rpartition("/")[2]].get("description") for ref in referred if ref), None
            )
            if text := docs.get(field, described.get("description") or of_class):
                described["description"] = text
        one.pop("title", None)
    return found


def _class(name: str) -> type:
    """The configuration's class of that name."""
    queue: list[type] = [Strict]
    for one in queue:
        if one.__name__ == name:
            return one
        queue.extend(one.__subclasses__())
    raise LookupError(name)


def _attribute_docs(model: type) -> dict[str, str]:
    """The docstrings below a class's attributes, its bases' too.

    Read from the source when asked for: `use_attribute_docstrings` would read it at each import.
    """
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        module = sys.modules[one.__module__]
        if issubclass(one, Strict):
            found |= _docs(module).get(one.__name__, {})
    return found


@cache
def _docs(module: ModuleType) -> dict[str, dict[str, str]]:
    classes = (node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef))
    return {node.name: dict(_documented(node.body)) for node in classes}


def _documented(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, after in pairwise(body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(inspect.cleandoc(text).split())


def _overlaid(name: str) -> str:
    return f"{name}Overlay"


def _ref(name: str) -> str:
    return f"#/$defs/{name}"


def _overlay(schema: Schema) -> Schema:
    """What may be laid upon an object of the schema: no key must be there, any may be null."""
    made: Schema = _overlaid_refs({key: value for key, value in schema.items() if key != "required"})
    made["type"] = ["object", "null"]
    for own in made["properties"].values():
        own.pop("default", None)
        if "anyOf" in own and {"type": "null"} not in own["anyOf"]:
            own["anyOf"].append({"type": "null"})
        elif isinstance(own.get("type"), str):
            own["type"] = [own["type"], "null"]
            if "const" in own:
                own["enum"] = [own.pop("const")]
            if "enum" in own:
                own["enum"].append(None)
    return made


def _overlaid_refs(node: Any) -> Any:
    """The references lead to overlays; not those of lists, which replace as a whole."""
    if isinstance(node, list):
        return [_overlaid_refs(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        key: deepcopy(value)
        if key == "items"
        else _overlaid(value)
        if key == "$ref"
        else _overlaid_refs(value)
        for key, value in node.items()
    }


def _offer(properties: Schema, field: str, known: Sequence[str]) -> None:
    """Let the field's schema offer the names: as its values, or as the keys of a mapping."""
    own = properties[field]
    for option in own.get("anyOf", [own]):
        kind = option.get("type")
        kinds = kind if isinstance(kind, list) else [kind]
        if "string" in kinds:
            option["anyOf"] = [{"enum": list(known)}, {"type": option.pop("type")}]
        elif "object" in kinds:
            value = option["additionalProperties"]
            option["properties"] = dict.fromkeys(known, value)


def _used(node: Any, definitions: Mapping[str, Schema]) -> set[str]:
    """Names of the definitions that a schema refers to, in any number of steps.

    Sections that a study lays upon a recipe become references here.
    """
    found: set[str] = set()
    queue = [node]
    while queue:
        one = queue.pop()
        if isinstance(one, list):
            queue.extend(one)
        if not isinstance(one, dict):
            continue
        if SECTION in one:
            section = one.pop(SECTION)
            one.pop("type")
            one.pop("additionalProperties", None)
            one["$ref"] = _ref(_overlaid(section))
        name = str(one.get("$ref", "")).rpartition("/")[2]
        if name and name not in found:
            found.add(name)
            queue.append(definitions[name])
        queue.extend(one.values())
    return found
