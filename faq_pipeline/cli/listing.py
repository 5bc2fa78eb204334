"""`faq members`, `faq recipes` and `faq seeds`: list, register and discover members; list the others."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from faq_pipeline.cli.discovering import discover_members
from faq_pipeline.cli.display import err, out, print_json, table, wrapped
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.config.family import Family, Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import find_weights
from faq_pipeline.quickstart.seed_presets import seed_presets
from faq_pipeline.settings import Settings


def members(
    register: Annotated[
        bool,
        typer.Option("--register", help="Add members and cells as Dagster partitions, for the UI."),
    ] = False,
    discover: Annotated[
        bool, typer.Option("--discover", help="Look for new members once, as the discovery sensors do.")
    ] = False,
    family: Annotated[str | None, typer.Option("--family", help="Only members of this family.")] = None,
    json: JsonOption = False,
) -> None:
    """List the members of all families, their revisions, and any problem with their weights."""
    settings = Settings.from_environment()
    if discover and register:
        raise FaqError(
            "--discover and --register cannot be combined", hint="run --discover first, then --register"
        )
    if discover:
        discover_members(settings, family, json=json)
        return
    rows = _rows(settings, family)
    if register:
        from faq_pipeline.orchestration.known_partitions import known_partitions
        from faq_pipeline.orchestration.partitions import register as make_partitions
        from faq_pipeline.orchestration.runs import open_instance

        known = known_partitions(settings, family)
        with open_instance(settings) as instance:
            make_partitions(instance, known.members, known.cells)
    broken = [_problem(name, error) for name, error in settings.catalog.broken_families.items()]
    if json:
        print_json({"members": rows, "broken": broken})
        return
    shown = [
        [
            row["family"],
            row["partition"] or row["member"],
            f"{row['parameters'] / 1e6:,.1f} M" if row["parameters"] else "",
            row["source"],
            row["licence"],
            "discovered" if row["discovered"] else "family file",
        ]
        for row in rows
    ]
    columns = ["family", "member@revision", "parameters", "source", "licence", "known by"]
    out().print(table("Members", columns, shown))
    for row in rows:
        if row["problem"]:
            wrapped(f"{row['member']}: {row['problem']}")
    _show_broken("family", broken)


def _rows(settings: Settings, only: str | None) -> list[dict[str, Any]]:
    """One row per member, then one per withdrawn member."""
    catalog = settings.catalog
    families = catalog.families if only is None else {only: catalog.family(only)}
    rows = [_row(settings, family, member) for family in families.values() for member in family.members]
    rows += [
        {
            "family": withdrawn.family,
            "member": name,
            "parameters": None,
            "source": withdrawn.source,
            "licence": "",
            "discovered": name in catalog.discovered_members,
            "partition": None,
            "problem": withdrawn.reason,
        }
        for name, withdrawn in catalog.withdrawn.items()
        if withdrawn.family in families
    ]
    return rows


def _row(settings: Settings, family: Family, member: Member) -> dict[str, Any]:
    discovered = member.name in settings.catalog.discovered_members
    row: dict[str, Any] = {
        "family": family.name,
        "member": member.name,
        "parameters": member.parameters,
        "source": member.hub or (str(member.path) if discovered else "local"),
        "licence": member.licence,
        "discovered": discovered,
    }
    try:
        return row | {"partition": find_weights(member, settings.digests).partition, "problem": None}
    except FaqError as error:
        return row | {"partition": None, "problem": str(error)}


def recipes(json: JsonOption = False) -> None:
    """List all recipes."""
    catalog = Settings.from_environment().catalog
    broken = [_problem(name, error) for name, error in catalog.broken.items()]
    if json:
        found = [recipe.model_dump(mode="json") for recipe in catalog.recipes.values()]
        print_json({"recipes": found, "broken": broken})
        return
    shown = [
        [r.name, r.title, ", ".join(r.families), r.regeneration.source, f"{r.calibration.tokens:,}"]
        for r in catalog.recipes.values()
    ]
    out().print(table("Recipes", ["recipe", "title", "families", "source", "tokens"], shown))
    _show_broken("recipe", broken)


def seeds(json: JsonOption = False) -> None:
    """List the presets of `faq quantize --seeds`: our own prompts, and data sets of the hub."""
    presets = seed_presets()
    if json:
        print_json({"presets": {name: one.model_dump(mode="json") for name, one in presets.items()}})
        return
    shown = [
        [
            name,
            one.title,
            one.dataset.name if one.dataset else "in this package",
            (one.dataset.revision or "at first use")[:12] if one.dataset else "",
            one.licence,
        ]
        for name, one in presets.items()
    ]
    out().print(table("Seeds", ["preset", "title", "data set", "commit", "licence"], shown))


def _problem(name: str, error: FaqError) -> dict[str, Any]:
    return {"name": name, "problem": str(error)}


def _show_broken(kind: str, broken: list[dict[str, Any]]) -> None:
    for row in broken:
        err().print(f"broken {kind} {row['name']}: {row['problem']}", soft_wrap=True, markup=False)
