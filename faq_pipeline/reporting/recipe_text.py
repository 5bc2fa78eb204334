"""A recipe as text for others: without the folders of its files and without addresses and keys of servers."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from faq_pipeline.config.recipe import Recipe

SERVERS = {"base_urls", "key"}
"""Keys of a recipe's endpoint that are left out: its addresses and its API key are private."""


def recipe_text(recipe: Recipe) -> str:
    """The full recipe as YAML."""
    from ruamel.yaml import YAML

    stream = StringIO()
    writer = YAML()
    writer.width = 110
    writer.dump(shown_recipe(recipe), stream)
    return stream.getvalue().strip()


def shown_recipe(recipe: Recipe) -> dict[str, Any]:
    """The full recipe as plain data."""
    shown: dict[str, Any] = _shown(recipe.model_dump(exclude_none=True))
    return shown


def _shown(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _shown(value) for key, value in node.items() if key not in SERVERS}
    if isinstance(node, list):
        return [_shown(value) for value in node]
    return node.name if isinstance(node, Path) else node
