"""`faq schema`: JSON Schemas of the YAML files, for editors."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from faq_pipeline.calibration.selectors import SELECTORS
from faq_pipeline.competition.experts import EXPERTS
from faq_pipeline.config.recipe import DRAW
from faq_pipeline.config.schema import KINDS, json_schema
from faq_pipeline.errors import FaqError, nearest_or_known
from faq_pipeline.inference.factory import ENGINES
from faq_pipeline.quantization.methods import METHODS
from faq_pipeline.quantization.schemes import SCHEMES


def schema(kind: Annotated[str, typer.Argument(help="recipe, family or study.")]) -> None:
    """Print the JSON Schema of a kind of YAML file, with the names of installed plugins.

    The schemas of `data/schemas` are the same without plugins.
    """
    if kind not in KINDS:
        raise FaqError(f"unknown kind of file {kind!r}", hint=nearest_or_known(kind, KINDS))
    typer.echo(schema_text(kind))


def schema_text(kind: str) -> str:
    """The JSON text of the schema, as printed and as tracked in data/schemas."""
    return json.dumps(json_schema(kind, _names()), indent=1, ensure_ascii=False)


def _names() -> dict[tuple[str, str], list[str]]:
    registries: dict[tuple[str, str], Any] = {
        ("Competition", "experts"): EXPERTS,
        ("Quantization", "method"): METHODS,
        ("Quantization", "scheme"): SCHEMES,
        ("Regeneration", "engine"): ENGINES,
    }
    able = [name for name in ENGINES if ENGINES.find(name).traits.evaluates]
    return {
        **{field: list(registry.names) for field, registry in registries.items()},
        ("Calibration", "selection"): [DRAW, *SELECTORS.names],
        ("Evaluation", "engine"): able,
    }
