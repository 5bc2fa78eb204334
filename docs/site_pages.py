"""Pages of the documentation site that are made when it is built (mkdocs calls the functions `on_...`).

- `index.md` is the README.
- `reference/` holds typer's text on the command line, the keys of `data/schemas`, and the API's docstrings.
- `files/` holds the files outside `docs/` that a page links to, so that links work on the site as in the
  repository. A link to nothing stays as it is, and fails the build.
"""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "index.md": (ROOT / "README.md").read_text(encoding="utf-8"),
        "reference/cli.md": command_line(),
        "reference/python.md": python_api(),
        **{f"reference/{kind}.md": keys(kind) for kind in ("recipe", "family", "study")},
    }
    texts = {page.src_uri: page.content_string for page in files.documentation_pages()} | pages
    waiting = list(texts)
    while waiting:
        uri = waiting.pop()
        for target in targets(uri, texts[uri]):
            if (new := uri_of(target)) not in texts and not target.startswith("docs/"):
                texts[new] = pages[new] = shown(target)
                waiting.append(new)
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Point links to where the site has their targets."""
    uri = page.file.src_uri
    # Python-Markdown takes a table for text if a comment stands right before it.
    markdown = re.sub(r"^(<!--.*-->)\n(?=\|)", r"\1\n\n", markdown, flags=re.MULTILINE)
    if (source := source_of(uri)) is None:
        return markdown

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if not (ROOT / target).is_file():
            return link[1]
        return posixpath.relpath(uri_of(target), posixpath.dirname(uri) or ".")

    return outside_fences(markdown, lambda text: LINK.sub(moved, text))


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """Text with a change of all but its code blocks."""
    return "".join(part if part.startswith("```") else change(part) for part in FENCE.split(markdown))


def source_of(uri: str) -> str | None:
    """The file of the repository that a page shows; None for a page of the reference."""
    if uri.startswith("reference/"):
        return None
    if uri == "index.md":
        return "README.md"
    if uri.startswith("files/"):
        path = uri.removeprefix("files/")
        return path if (ROOT / path).is_file() else path.removesuffix(".md")
    return f"docs/{uri}"


def uri_of(path: str) -> str:
    """The page that shows a file of the repository."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"files/{path}" if path.endswith(".md") else f"files/{path}.md"


def targets(uri: str, markdown: str) -> set[str]:
    """The files of the repository that a page links to."""
    found: set[str] = set()
    if (source := source_of(uri)) is not None:
        folder = posixpath.dirname(source)
        outside_fences(markdown, lambda text: found.update(LINK.findall(text)) or "")
        found = {posixpath.normpath(posixpath.join(folder, link)) for link in found}
    return {path for path in found if (ROOT / path).is_file()}


def shown(path: str) -> str:
    """A file outside `docs/` as a page."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return text if path.endswith(".md") else f"# {path}\n\n```{Path(path).suffix[1:]}\n{text}\n```\n"


def command_line() -> str:
    """The commands with their options, as typer documents them."""
    asked = [sys.executable, "-m", "typer", "faq_pipeline.cli.main", "utils", "docs", "--name", "faq"]
    done = subprocess.run(
        [*asked, "--title", "Command line"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return outside_fences(
        done.stdout, lambda text: re.sub(r"(?<!`)\bdocs/([A-Z_]+\.md)", r"[\g<0>](../\1)", text)
    )


def python_api() -> str:
    """The page that mkdocstrings fills with the docstrings of the API."""
    import faq_pipeline

    parts = ["# Python functions and classes\n\nImport them from `faq_pipeline`: [The API](../API.md)."]
    names = [name for name in faq_pipeline.__all__ if not name.startswith("_")]
    parts += [f"::: faq_pipeline.api.{name}" for name in names if name.islower()]
    classes = [value for name in names if isinstance(value := getattr(faq_pipeline, name), type)]
    parts += [f"::: {one.__module__}.{one.__name__}" for one in classes]
    return "\n\n".join(parts) + "\n"


def keys(kind: str) -> str:
    """Every key of a kind of YAML file, from its JSON Schema."""
    schema = json.loads((ROOT / f"data/schemas/{kind}.json").read_text(encoding="utf-8"))
    return Keys(kind, schema["$defs"]).page()


class Keys:
    """The keys of a schema: a section for each mapping, named by its path in the file."""

    def __init__(self, kind: str, definitions: dict[str, Any]) -> None:
        self.kind = kind
        self.definitions = definitions
        self.sections = {kind.capitalize(): ""}  # definition: path of its first use
        self.waiting = [kind.capitalize()]

    def page(self) -> str:
        intro = f"All keys of a {self.kind}'s YAML file. Any other key is an error."
        if "extends" in self.definitions[self.kind.capitalize()]["properties"]:
            intro += " *Required* keys may stand in the file that it `extends` instead."
        parts = [f"# {self.kind.capitalize()} keys\n", f"{intro}\n"]
        while self.waiting:
            parts.append(self.section(self.waiting.pop(0)))
        return "\n".join(parts)

    def section(self, name: str) -> str:
        definition, path = self.definitions[name], self.sections[name]
        lines = [f"## {path} {{#{anchor(path)}}}\n" if path else "## Top level\n"]
        lines += [
            definition.get("description", ""),
            "",
            "| key | value | default | meaning |",
            "|---|---|---|---|",
        ]
        for key, one in definition.get("properties", {}).items():
            required = key in definition.get("required", ())
            default = "*required*" if required else code(one["default"]) if "default" in one else "-"
            value, meaning = self.value(one, f"{path}.{key}".strip(".")), one.get("description", "")
            cells = (f"`{key}`", value, default, meaning)
            told = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
            lines.append(f"| {' | '.join(told)} |")
        return "\n".join(lines) + "\n"

    def value(self, node: dict[str, Any], path: str) -> str:
        """What a key takes, in words; sections that it leads to are noted."""
        if "$ref" in node:
            return self.reference(node["$ref"].rpartition("/")[2], path)
        if "anyOf" in node:
            return " or ".join(dict.fromkeys(self.value(one, path) for one in node["anyOf"]))
        if "enum" in node:
            return ", ".join(code(one) for one in node["enum"])
        if "const" in node:
            return code(node["const"])
        kind = node.get("type", "anything")
        if kind == "array" and "items" in node:
            return f"list of {self.value(node['items'], path)}"
        if kind == "object":
            inner = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
            told = [self.value(one, f"{path}.NAME") for one in inner if isinstance(one, dict) and one]
            return "mapping" + (f" of names to {told[0]}" if told else "")
        return " or ".join(kind if isinstance(kind, list) else [kind]) + bounds(node)

    def reference(self, name: str, path: str) -> str:
        if name.endswith("Overlay"):  # changes of a recipe's section
            section = name.removesuffix("Overlay").lower()
            return f"[changes of `{section}`](recipe.md#{section})"
        if "properties" not in self.definitions[name]:
            return self.value(self.definitions[name], path)
        if name not in self.sections:
            self.sections[name] = path
            self.waiting.append(name)
        return f"[section](#{anchor(self.sections[name])})"


def anchor(path: str) -> str:
    """The anchor of a section."""
    return path.replace(".", "-").lower()


def code(value: Any) -> str:
    """A value as YAML has it, as code."""
    text = value if isinstance(value, str) and value else json.dumps(value)
    return f"`{text}`"


def bounds(node: dict[str, Any]) -> str:
    """The bounds of a number or the pattern of a text."""
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    told = [f"{sign} {node[name]:g}" for name, sign in signs.items() if name in node]
    told += [f"like `{node['pattern']}`"] if "pattern" in node else []
    return f" ({', '.join(told)})" if told else ""
