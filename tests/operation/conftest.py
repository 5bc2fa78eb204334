"""The tiny family with a second small member, and recipes of which four make a matrix."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tiny import make_member

RECIPES = {
    "tiny-raw": """\
name: tiny-raw
title: Original data
extends: tiny-faq
regeneration: {source: original, candidates: 1, sampling: null}
competition: {selection: random, experts: null}
calibration: {template: raw}
""",
    "tiny-chat": """\
name: tiny-chat
title: Original data in the template
extends: tiny-raw
calibration: {template: chat}
""",
    "tiny-rtn": """\
name: tiny-rtn
title: Round to nearest
extends: tiny-raw
quantization: {method: rtn}
""",
    "tiny-lost": """\
name: tiny-lost
title: Seeds that will be lost
extends: tiny-raw
seeds: {path: ../seeds/lost.jsonl}
""",
}
MEMBER = """\
  - name: tiny-m
    path: ../models/tiny-m
    parameters: {parameters}
"""


@pytest.fixture(scope="session")
def matrix_data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Members tiny-s and tiny-m, of which tiny-l is the teacher. Read-only: copy to change."""
    root = Path(shutil.copytree(tiny_data, tmp_path_factory.mktemp("matrix") / "data"))
    parameters = make_member(root / "models/tiny-m", seed=2)
    with (root / "families/tiny.yaml").open("a", encoding="utf-8") as family:
        family.write(MEMBER.format(parameters=parameters))
    for name, text in RECIPES.items():
        (root / f"recipes/{name}.yaml").write_text(text, encoding="utf-8")
    shutil.copy(root / "seeds/mixed.jsonl", root / "seeds/lost.jsonl")
    return root
