"""`faq compare`: all evaluated recipes of a member, side by side."""

from __future__ import annotations

from faq_pipeline.cli.display import figure, out, print_json, said, say, table
from faq_pipeline.cli.options import DEFAULT_MEMBER, JsonOption, MemberOption
from faq_pipeline.execution.recipe_comparison import compare_member, read_comparison
from faq_pipeline.settings import Settings


def compare(member: MemberOption = DEFAULT_MEMBER, json: JsonOption = False) -> None:
    """Show the loss, divergence and loss reduction of every evaluated recipe of a member."""
    settings = Settings.from_environment()
    outcome = compare_member(settings, member)
    comparison = read_comparison(settings.store, outcome.artifact.fingerprint)
    if json:
        print_json(comparison)
        return
    rows = [
        [
            row["recipe"],
            figure(row["quantized"], 1, 100),
            figure(row["loss"], 1, 100),
            figure(row["kl"], 2, 1000),
            figure(row["kl_prose"], 2, 1000),
            figure(row["loss_reduction"], 2),
            row["verdict"] or "",
        ]
        for row in comparison["recipes"]
    ]
    columns = [
        "recipe",
        "quantized %",
        "loss, points",
        "KL on tasks, 1e-3",
        "KL on prose, 1e-3",
        "loss reduction",
        "verdict",
    ]
    out().print(table(f"{member}: all evaluated recipes, 95% intervals", columns, rows))
    for row in comparison["recipes"]:
        if row["reason"] or row["remark"]:
            say(f"{row['recipe']}: {said(row)}")
