"""`faq members` and `faq recipes`: what is known here."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import out, print_json, table
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import find_weights
from faq_pipeline.settings import Settings


def members(
    register: Annotated[
        bool, typer.Option("--register", help="Make Dagster partitions of them, for the UI.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List the members of all families, with their revision and whether their weights are usable."""
    settings = Settings.from_environment()
    rows: list[dict[str, Any]] = []
    for family in settings.catalog.families.values():
        for member in family.members:
            row: dict[str, Any] = {
                "family": family.name,
                "member": member.name,
                "parameters": member.parameters,
                "source": member.hub or "local",
                "licence": member.licence,
            }
            try:
                row |= {"partition": find_weights(member, settings.digests).partition, "problem": None}
            except FaqError as error:
                row |= {"partition": None, "problem": str(error)}
            rows.append(row)
    if register:
        from faq_pipeline.cli.dagster_runs import open_instance
        from faq_pipeline.cli.dagster_runs import register as make_partitions

        with open_instance(settings) as instance:
            make_partitions(instance, [row["partition"] for row in rows if row["partition"]])
    if json:
        print_json({"members": rows})
        return
    shown = [
        [
            row["family"],
            row["partition"] or row["member"],
            f"{row['parameters'] / 1e6:,.1f} M",
            row["source"],
            row["licence"],
            row["problem"] or "",
        ]
        for row in rows
    ]
    columns = ["family", "member@revision", "parameters", "source", "licence", "problem"]
    out().print(table("Members", columns, shown))


def recipes(json: JsonOption = False) -> None:
    """List all recipes."""
    catalog = Settings.from_environment().catalog
    if json:
        print_json({"recipes": [recipe.model_dump(mode="json") for recipe in catalog.recipes.values()]})
        return
    shown = [
        [r.name, r.title, ", ".join(r.families), r.regeneration.source, f"{r.calibration.tokens:,}"]
        for r in catalog.recipes.values()
    ]
    out().print(table("Recipes", ["recipe", "title", "families", "source", "tokens"], shown))
