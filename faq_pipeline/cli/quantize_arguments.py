"""What `faq quantize` and `faq init` take on the command line: a model, and how to quantize it."""

from __future__ import annotations

from typing import Annotated

import typer

from faq_pipeline.quickstart.quantize_options import QuantizeOptions, with_size
from faq_pipeline.quickstart.recipe_tree import parse_changes

ModelArgument = Annotated[str, typer.Argument(help="A model folder, or a hub id: OWNER/NAME.")]
SeedsOption = Annotated[
    str,
    typer.Option(
        "--seeds",
        help="Prompts: JSONL (ours, chat messages, ShareGPT, Alpaca), CSV, Parquet, text; a hub data set"
        " OWNER/NAME[,text=COLUMN,...]; or a preset of `faq seeds`.",
    ),
]
SchemeOption = Annotated[
    str, typer.Option("--scheme", help="W4A16, W8A8, FP8_DYNAMIC, NVFP4A16, ...; see docs/SCHEMES.md.")
]
SizeOption = Annotated[
    str,
    typer.Option(
        "--size",
        help="What the weights may take: 5GB. Each layer gets 4 or 8 bits, by the divergence that it costs.",
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        "--method",
        help="gptq, gptaq, foem, quantease, decoupleq, autoround, awq, smoothquant or rtn; by default gptq,"
        " for FP8 rtn.",
    ),
]
TeacherOption = Annotated[
    str,
    typer.Option(
        "--teacher", help="self (default), a folder, a hub id, a server's URL, or auto: the largest sibling."
    ),
]
TemplateOption = Annotated[
    str,
    typer.Option(
        "--chat-template",
        help="A Jinja file for a model without a chat template; or plain: User:, Assistant:.",
    ),
]
TasksOption = Annotated[
    str, typer.Option("--tasks", help="lm-eval tasks to measure accuracy on, or task YAMLs; comma-separated.")
]
BaselinesOption = Annotated[
    bool, typer.Option("--baselines/--no-baselines", help="Quantize with the seeds as they are, too.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Set a key of the recipe: quantization.dampening=0.1.")
]


def as_options(
    model: str,
    seeds: str,
    scheme: str,
    size: str,
    method: str,
    teacher: str,
    chat_template: str,
    tasks: str,
    baselines: bool,
    set_: list[str] | None,
) -> QuantizeOptions:
    """What a call asks for, of the options in this module; an empty text is an option that was not given.

    Raises:
        FaqError: see `parse_changes` and `with_size`.
    """
    changes = parse_changes(set_ or ())
    return QuantizeOptions(
        model=model,
        seeds=seeds or None,
        teacher=teacher or None,
        scheme=scheme,
        method=method or None,
        chat_template=chat_template or None,
        tasks=tuple(task.strip() for task in tasks.split(",") if task.strip()),
        baselines=baselines,
        changes=with_size(changes, size) if size else changes,
    )
