from __future__ import annotations

import pytest

from faq_pipeline.inference.server.server_error import telling_line

WORKER = "(Worker pid=7) ERROR 11-22 03:09:02 [multiproc_executor.py:953] "
CORE = "(EngineCore pid=5) ERROR 11-22 03:09:04 [core.py:1510] "


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], ""),
        (["all is well"], ""),
        (
            [f"{WORKER}ValueError: no such thing", f"{CORE}RuntimeError: Engine core initialization failed."],
            "ValueError: no such thing",
        ),
        (
            [f"{WORKER}ValueError: no kernel. Reasons: ", f"{WORKER} A cannot: 3 bits", f"{WORKER} B cannot"],
            "ValueError: no kernel. Reasons: A cannot: 3 bits",
        ),
        ([f"{WORKER}ValueError: Reasons:"], "ValueError: Reasons:"),
    ],
)
def test_the_line_that_tells_most_is_found(lines: list[str], told: str) -> None:
    assert telling_line(lines) == told
