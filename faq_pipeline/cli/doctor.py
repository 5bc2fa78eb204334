"""`faq doctor`: check the installation."""

from __future__ import annotations

import platform
import shutil

import typer

from faq_pipeline import __version__
from faq_pipeline.cli.display import out, print_json, table
from faq_pipeline.cli.engines import doctor_row
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import Settings
from faq_pipeline.store.fingerprint import tool_version

TOOLS = (
    "dagster",
    "torch",
    "transformers",
    "llmcompressor",
    "compressed-tensors",
    "lm-eval",
    "duckdb",
)


def doctor(json: JsonOption = False) -> None:
    """Check versions, device, data folders and disk space. Exits with 1 if there is a problem."""
    rows = _checks()
    if json:
        print_json({"checks": [dict(zip(("what", "found", "problem"), row, strict=True)) for row in rows]})
    else:
        out().print(table("Doctor", ["what", "found", "problem"], rows))
    if any(row[2] for row in rows):
        raise typer.Exit(1)


def _checks() -> list[list[str]]:
    settings = Settings.from_environment()
    rows = [["faq-pipeline", __version__, ""], ["python", platform.python_version(), ""]]
    for tool in TOOLS:
        found = tool_version(tool)
        rows.append([tool, found, "not installed" if found == "absent" else ""])
    rows.append(doctor_row(settings))
    rows.append(_device(settings))
    try:
        catalog = settings.catalog
        rows.append(["families", ", ".join(catalog.families), ""])
        rows.append(["recipes", str(len(catalog.recipes)), ""])
        rows += [["family", name, str(error)] for name, error in catalog.broken_families.items()]
        rows += [["recipe", name, str(error)] for name, error in catalog.broken.items()]
    except FaqError as error:
        rows.append(["data", "", str(error)])
    existing = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    rows.append(
        ["disk", f"{free / 2**30:.1f} GiB free at {settings.home}", "" if free > 2**30 else "below 1 GiB"]
    )
    return rows


def _device(settings: Settings) -> list[str]:
    from faq_pipeline.models.device import choose_device
    from faq_pipeline.models.device_memory import device_memory

    try:
        device = choose_device(settings.device)
        return ["device", f"{device}, {device_memory(device) / 2**30:.1f} GiB", ""]
    except FaqError as error:
        return ["device", settings.device, str(error)]
