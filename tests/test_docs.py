"""The commands that the documents show exist, with their options; so do the files that they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from faq_pipeline.cli.main import app
from faq_pipeline.settings import REPOSITORY

DOCS = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    REPOSITORY / "deploy/README.md",
]
FAQ = typer.main.get_command(app)


def commands(text: str) -> Iterator[str]:
    """What follows `faq` in code blocks and inline code."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    for line in lines:
        if found := re.match(r"(?:\$ )?faq ([a-z-].*)", line.strip()):
            yield found[1].partition("  #")[0]


def unknown(line: str) -> str:
    """What of a command line `faq` does not have; empty if it has all."""
    command, words = FAQ, shlex.split(line, comments=True)
    while words and not words[0].startswith("-") and (known := getattr(command, "commands", None)):
        names = words.pop(0).split("|")
        if missing := [name for name in names if name not in known]:
            return missing[0]
        command = known[names[0]]
    own = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    options = own | {"--help", "-h"}
    wanted = [word.partition("=")[0] for word in words if word.startswith("-")]
    return next((word for word in wanted if word not in options), "")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_command_that_is_shown_exists(path: Path) -> None:
    shown = list(commands(path.read_text(encoding="utf-8")))
    assert {line: unknown(line) for line in shown if unknown(line)} == {}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_to_a_file_or_heading(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if target and "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_file_of_the_repository_that_is_named_exists(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = re.findall(r"`((?:tests|faq_pipeline|benchmarks|deploy|examples|training)/[\w./-]+)`", text)
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    assert unknown("studies list") == "studies" and unknown("run --moment 3") == "--moment"
    assert unknown("study run main --workers 16") == unknown("cache ls|verify|gc") == ""
    assert list(commands("see `faq no-such\nthing`\n```\nfaq run --x  # why\n```")) == [
        "run --x",
        "no-such thing",
    ]
