"""Command-line options shared by several subcommands."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_MEMBER = "kin-2m"
DEFAULT_RECIPE = "faq-one-gptq-w3a16"

MemberOption = Annotated[
    str, typer.Option("--member", "-m", help="Target model: name of a member, or name@rev8.")
]
RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="Name of the recipe.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, or specific GPUs: cuda:1, cuda:0,1.")
]
AssumeMemoryOption = Annotated[
    float | None,
    typer.Option("--assume-memory", help="With --dry-run: plan for a GPU of so many GiB."),
]
