"""Tables in 80 columns: they fit, and no word of a cell is broken in the middle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from faq_pipeline.cli.columns import fit, fold
from faq_pipeline.lineage.uses import record_use
from faq_pipeline.store.store import Store
from tests.lineage.small_store import fill
from tests.orchestration.conftest import Run, faq  # noqa: F401 - a fixture

LONG = "kin-2m@72010fd6|kin-2m-autoround-w4a16-of-a-longer-name"


def words_of(page: str) -> list[str]:
    """What the lines of a table hold, cut at blanks."""
    lines = [line for line in page.splitlines() if line.startswith(("│", "┃"))]
    assert lines
    return [word for line in lines for word in re.split(r"[\s│┃]+", line) if word]


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A home whose artifacts are used by cells of long names."""
    store = Store(tmp_path / "home" / "store")
    for artifact in fill(store).values():
        record_use(store, LONG, artifact.manifest.stage, artifact.fingerprint)
    return tmp_path / "home"


@pytest.mark.parametrize("command", ["cache ls", "members", "recipes", "seeds", "study list", "doctor"])
def test_a_table_fits_into_80_columns_and_breaks_no_word(
    command: str,
    used: Path,
    tmp_path: Path,
    faq: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "data" / "families").mkdir(parents=True)
    pages = []
    for columns in ("80", "400"):
        monkeypatch.setattr("faq_pipeline.cli.display.PIPED", int(columns))
        done = faq(tmp_path / "data", *command.split(), home=used)
        assert not done.err
        pages.append(done.out)
    narrow, wide = pages
    assert all(len(line) <= 80 for line in narrow.splitlines() if line.startswith(("│", "┃")))
    for word in words_of(narrow):
        assert re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])|{re.escape(word)}(?<=[\W_])", wide), word


def test_words_part_before_names_and_names_before_numbers() -> None:
    columns, row = ["name", "title", "size"], ["faq-one-gptq", "a title of some words", "12 kB"]
    assert fit(columns, [row], 60) == [12, 21, 5]
    assert fit(columns, [row], 40) == [12, 13, 5]
    assert fit(columns, [row], 30) == [10, 5, 5]


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("a title of some words", 10, ["a title of", "some words"]),
        (
            "kin-2m@72010fd6 faq-one-gptq, and 1 more",
            12,
            ["kin-2m@", "72010fd6", "faq-one-", "gptq, and 1", "more"],
        ),
        ("layers.0.self_attn.q_proj", 11, ["layers.0.", "self_attn.", "q_proj"]),
        ("Apache-2.0 1.5 [-1, 2e-3]", 10, ["Apache-2.0", "1.5 [-1,", "2e-3]"]),
        ("127.0.0.1:45777/acme/tiny", 12, ["127.0.0.1:", "45777/acme/", "tiny"]),
        ("first\nsecond", 20, ["first", "second"]),
        ("unbreakable", 8, ["unbreak…"]),
        ("", 8, [""]),
    ],
)
def test_where_a_cell_folds(text: str, width: int, lines: list[str]) -> None:
    assert fold(text, width) == lines
