"""`faq status`: the matrix of members and recipes."""

from __future__ import annotations

from faq_pipeline.cli.display import out, print_json, table
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.matrix import cell_states
from faq_pipeline.settings import Settings
from faq_pipeline.stages import STAGES


def status(json: JsonOption = False) -> None:
    """Show of every member x recipe how many of its stages are made. Cells of other families do not count."""
    states = list(cell_states(Settings.from_environment()))
    rows = [
        {
            "member": s.member,
            "recipe": s.recipe,
            "made": s.made,
            "stages": len(STAGES),
            "complete": s.complete,
            "next": next((n for n, p in s.planned.items() if p.artifact is None), None),
            "problem": s.problem,
        }
        for s in states
    ]
    if json:
        print_json({"cells": rows})
        return
    shown = [
        [
            str(r["member"]),
            str(r["recipe"]),
            "complete" if r["complete"] else f"{r['made']}/{r['stages']}",
            str(r["next"] or ""),
            str(r["problem"] or ""),
        ]
        for r in rows
    ]
    out().print(table("Cells", ["member", "recipe", "made", "next", "problem"], shown))
