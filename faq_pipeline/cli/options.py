"""Options that several subcommands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_MEMBER = "kin-4m"
DEFAULT_RECIPE = "faq-one-gptq-w3a16"

MemberOption = Annotated[str, typer.Option("--member", "-m", help="Target: a member's name, or name@rev8.")]
RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="Recipe's name.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, or some GPUs: cuda:1, cuda:0,1.")
]
