"""`faq engines`: install and list the environments that vLLM runs in."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import err, out, print_json, say, table
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import choose_device
from faq_pipeline.settings import Settings

app = typer.Typer(
    help="Install and list inference engines that need a separate environment.", no_args_is_help=True
)

COLUMNS = ["engine", "build", "version", "torch", "state", "where"]


@app.command("install")
def install(
    engine: Annotated[str, typer.Argument(help="Engine to install: vllm.")],
    build: Annotated[
        str, typer.Option("--build", help="auto (cuda if there is a GPU), cuda or cpu.")
    ] = "auto",
) -> None:
    """Install an engine into its own environment. All versions are pinned and all wheel hashes checked."""
    from faq_pipeline.inference.environment.install import install as make
    from faq_pipeline.inference.factory import ENGINES

    able = [name for name in ENGINES if ENGINES[name].traits.installed]
    if engine not in able:
        raise FaqError(f"engine {engine!r} has no environment to install", hint=f"known: {', '.join(able)}")
    if build not in ("auto", "cuda", "cpu"):
        raise FaqError(f"unknown build {build!r}", hint="auto, cuda or cpu")
    if build == "auto":
        build = choose_device("auto")
    shown = err()
    environment = make(
        "cpu" if build == "cpu" else "cuda",
        Settings.from_environment().home,
        lambda message: shown.print(message, markup=False, soft_wrap=True),
    )
    what = f"{environment.build} build, torch {environment.torch}"
    say(f"vLLM {environment.version} ({what}): {environment.python}")


@app.command("list")
def list_engines(json: JsonOption = False) -> None:
    """List the installed engines, and whether each is complete and matches the current lock."""
    rows = engine_rows(Settings.from_environment())
    if json:
        print_json({"engines": rows})
        return
    shown = [[str(row[name]) for name in COLUMNS] for row in rows]
    if shown:
        out().print(table("Engines", COLUMNS, shown))
    else:
        say("no engine is installed; to install vLLM:  faq engines install vllm")


def engine_rows(settings: Settings) -> list[dict[str, Any]]:
    """One row per environment; `state` is `ready`, or the problem."""
    from faq_pipeline.inference.environment.environment import (
        VARIABLE,
        adopted,
        environments,
        folder_of,
        what_is_wrong,
    )
    from faq_pipeline.inference.environment.lock import read_lock

    rows = []
    if named := os.environ.get(VARIABLE):
        row = dict.fromkeys(COLUMNS, "") | {"engine": "vllm", "where": named}
        try:
            used = adopted(named)
            row |= {"build": used.build, "version": used.version, "torch": used.torch}
            rows.append(row | {"state": f"ready ({VARIABLE})", "where": str(used.python)})
        except FaqError as error:
            rows.append(row | {"state": error.problem})
    for folder, environment in environments(settings.home):
        row = dict.fromkeys(COLUMNS, "") | {"engine": "vllm", "where": str(folder)}
        if environment is None:
            rows.append(row | {"state": "half-made"})
            continue
        row |= {"build": environment.build, "version": environment.version, "torch": environment.torch}
        lock = read_lock(environment.build)
        current = folder == folder_of(settings.home, lock)
        wrong = what_is_wrong(folder, lock) if current else "made from an older lock"
        rows.append(row | {"state": wrong or "ready"})
    return rows


def doctor_row(settings: Settings) -> list[str]:
    """The row of vLLM in `faq doctor`: a broken environment is a problem, an absent one is not."""
    from faq_pipeline.inference.environment.environment import AbsentEnvironmentError, find_environment

    try:
        found = find_environment(settings=settings)
    except AbsentEnvironmentError as error:
        return ["vllm", f"{error} - needed only by engine vllm", ""]
    except FaqError as error:
        return ["vllm", "", str(error)]
    return ["vllm", f"{found.version} ({found.build} build, torch {found.torch})", ""]
