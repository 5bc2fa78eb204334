"""`faq report`: what the page says follows from the artifacts, and a browser shows it without a network."""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.store.records import Candidate, Sample, Standing
from faq_pipeline.store.tables import read_rows
from tests.orchestration.conftest import Run
from tests.reporting.conftest import Finished

SECTIONS = [
    "Against the original data",
    "Accuracy by task",
    "Divergence from the unquantized model",
    "Fitness by layer",
    "Calibration data",
    "Winners beside their losers",
    "Cost",
    "How to serve it",
    "How to reproduce it",
]


@pytest.fixture
def page(finished: Finished, faq: Run, tmp_path: Path) -> Path:
    out = tmp_path / "x.html"
    done = faq(finished.data, "report", "tiny-s", "tiny-beside", "--out", str(out), home=finished.home)
    assert done.code == 0 and f"report: {out}" in done.out, done
    return out


def words(page: Path) -> str:
    """The page's text, tags left out."""
    body = page.read_text().split("<body>")[1]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_shows_what_was_measured(finished: Finished, page: Path) -> None:
    text = words(page)
    own, other = (finished.artifacts[recipe] for recipe in ("tiny-beside", "tiny-original"))
    assert [title for title in SECTIONS if title in text] == SECTIONS
    assert text.startswith("FAQ beside the original data: tiny-s")
    for artifacts in (own, other):
        figures = artifacts["eval_report"].metadata
        accuracy = figures["quantized"]
        assert (
            f"{100 * accuracy['value']:.1f} [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]"
            in text
        )
        assert f"{1000 * figures['kl_prose']['value']:.2f} [" in text
        assert f"{1000 * figures['kl']['value']:.2f} [" in text
    assert "KL on tasks: on its answers to them" in text and "KL on prose" in text
    assert f"{own['calibration_set'].metadata['tokens']} of 384 tokens" in text
    assert f"faq export {own['quantized_checkpoint'].fingerprint[:8]}" in text
    assert "faq run --member tiny-s@" in text and "--recipe tiny-beside" in text
    for artifact in own.values():
        assert artifact.fingerprint in text
    assert "vLLM has no kernel" in text and "vllm serve" not in text  # W3A16


def test_winners_stand_beside_losers_of_their_group(finished: Finished, page: Path) -> None:
    own = finished.artifacts["tiny-beside"]
    corpus = read_rows(own["regenerated_corpus"].file("candidates.parquet"), Candidate)
    standings = read_rows(own["competition_scores"].file("standings.parquet"), Standing)
    samples = read_rows(own["calibration_set"].file("samples.parquet"), Sample)
    texts = {one.id: one.text.strip() for one in corpus}
    lost = {one.seed_id: set[str]() for one in standings}
    for one in standings:
        if not one.winner:
            lost[one.seed_id].add(texts[one.candidate_id])
    won = {texts[sample.candidate_id]: lost[sample.seed_id] for sample in samples}
    contests = page.read_text().split('<div class="contest">')[1:]
    assert len(contests) == min(6, len(samples))
    for contest in contests:
        shown = re.findall(r"<pre>(.*?)</pre>", contest, re.DOTALL)[:3]  # the last is followed by others
        _, winner, loser = map(unescape, shown)
        assert loser.removeprefix("(empty)") in won[winner]


def test_a_cell_that_is_not_finished_is_one_line(finished: Finished, faq: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "x.html")
    done = faq(finished.data, "report", "tiny-s", "tiny-w8", "--out", out, home=finished.home)
    assert "has no quantized_checkpoint yet" in done.mistake and "faq run --member tiny-s" in done.mistake
    assert "unknown" in faq(finished.data, "report", "tiny-s", "nothing", home=finished.home).mistake


def test_a_baseline_without_baselines_has_a_page_too(finished: Finished, faq: Run, tmp_path: Path) -> None:
    done = faq(finished.data, "report", "tiny-s", "tiny-original", home=finished.home)
    (path,) = (finished.home / "reports").rglob("tiny-original.html")
    assert f"report: {path}" in done.out
    assert "No baseline of this recipe is evaluated" in words(path)


@pytest.mark.parametrize("width", [1200, 400])
def test_a_browser_shows_it_offline_without_sideways_scrolling(width: int, page: Path, browser: Any) -> None:
    pictures, colours = os.environ.get("FAQ_SCREENSHOTS"), set()
    for scheme in ("light", "dark"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        shown, asked, errors = context.new_page(), [], []
        shown.on("request", lambda request, asked=asked: asked.append(request.url))
        shown.on("console", lambda message, errors=errors: errors.append(message.text))
        shown.goto(page.as_uri())
        assert asked == [page.as_uri()] and not errors
        assert shown.evaluate("document.documentElement.scrollWidth") == width
        outside = "e => e.getBoundingClientRect().right > innerWidth + 1"
        assert shown.evaluate(f"[...document.querySelectorAll('body *')].filter({outside}).length") == 0
        colours.add(shown.evaluate("getComputedStyle(document.body).backgroundColor"))
        dot = shown.locator(".row.main circle.dot").first.bounding_box()
        track = shown.locator(".row.main .track").first.bounding_box()
        assert dot is not None and track is not None and track["width"] > 150
        assert track["x"] - 6 <= dot["x"] <= track["x"] + track["width"]
        if pictures:
            shown.screenshot(path=Path(pictures) / f"report-{width}-{scheme}.png", full_page=True)
        context.close()
    assert len(colours) == 2
