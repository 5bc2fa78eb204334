"""`faq engines`: the environments that vLLM runs in."""

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
    help="Install and list the engines that need an environment of their own.", no_args_is_help=True
)

COLUMNS = ["engine", "build", "version", "torch", "state", "where"]


@app.command("install")
def install(
    engine: Annotated[str, typer.Argument(help="vllm")],
    build: Annotated[
        str, typer.Option("--build", help="auto (cuda where there is a GPU), cuda or cpu.")
    ] = "auto",
) -> None:
    """Make an engine's environment from its lock: every package pinned, every wheel's hash checked."""
    from faq_pipeline.inference.environment.install import install as make
    from faq_pipeline.inference.factory import ENGINES

    able = [name for name in ENGINES if ENGINES[name].traits.installed]
    if engine not in able:
        raise FaqError(f"{engine!r} is no engine that is installed", hint=", ".join(able))
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
    """List what is installed, and whether it is whole and of the lock's version."""
    rows = engine_rows(Settings.from_environment())
    if json:
        print_json({"engines": rows})
        return
    shown = [[str(row[name]) for name in COLUMNS] for row in rows]
    if shown:
        out().print(table("Engines", COLUMNS, shown))
    else:
        say("none is installed; for vLLM:  faq engines install vllm")


def engine_rows(settings: Settings) -> list[dict[str, Any]]:
    """One row an environment; `state` is `ready`, or what is wrong with it."""
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
        wrong = what_is_wrong(folder, lock) if current else "of an older lock"
        rows.append(row | {"state": wrong or "ready"})
    return rows


def doctor_row(settings: Settings) -> list[str]:
    """vLLM's line of `faq doctor`: absent is no problem, broken is one."""
    from faq_pipeline.inference.environment.environment import AbsentEnvironmentError, find_environment

    try:
        found = find_environment(settings=settings)
    except AbsentEnvironmentError as error:
        return ["vllm", f"{error} - only engine vllm needs it", ""]
    except FaqError as error:
        return ["vllm", "", str(error)]
    return ["vllm", f"{found.version} ({found.build} build, torch {found.torch})", ""]
