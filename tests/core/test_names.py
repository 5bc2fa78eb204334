"""No code decides by the name of a stage, an engine or a quantization method: it asks the part itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import faq_pipeline
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.inference.factory import ENGINES
from faq_pipeline.quantization.methods import METHODS

PACKAGE = Path(faq_pipeline.__file__).parent


def deciding(tree: ast.Module) -> Iterator[ast.expr]:
    """Expressions that something is compared with, or looked up by."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for operand in (node.left, *node.comparators):
                yield from operand.elts if isinstance(operand, ast.Tuple | ast.List | ast.Set) else [operand]
        elif isinstance(node, ast.MatchValue):
            yield node.value
        elif isinstance(node, ast.Subscript):
            yield node.slice


def literals(tree: ast.Module, names: set[str]) -> list[str]:
    return [node.value for node in deciding(tree) if isinstance(node, ast.Constant) and node.value in names]


@pytest.mark.parametrize("names", [{*STAGES}, {*ENGINES}, {*METHODS}], ids=["stages", "engines", "methods"])
def test_no_code_decides_by_a_name(names: set[str]) -> None:
    found = {
        str(path.relative_to(PACKAGE)): own
        for path in PACKAGE.rglob("*.py")
        if (own := literals(ast.parse(path.read_text(encoding="utf-8")), names))
    }
    assert not found


@pytest.mark.parametrize(
    "code",
    ["x == 'vllm'", "x in ('gptq', 'vllm')", "'vllm' != x", "x['vllm']", "match x:\n case 'vllm': pass"],
)
def test_what_is_found(code: str) -> None:
    assert literals(ast.parse(code), {"vllm"}) == ["vllm"]
