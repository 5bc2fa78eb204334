from __future__ import annotations

from collections.abc import Iterator

import pytest

from faq_pipeline.config.endpoint import Endpoint
from faq_pipeline.config.recipe import Sampling
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.endpoint_engine import EndpointEngine
from faq_pipeline.inference.engine import Request
from faq_pipeline.inference.factory import EngineSpec, make_engine
from tests.inference.fake_server import FakeServer, Fault, answer

SECRET = "sk-planted-51ab"
SAMPLING = Sampling(max_new_tokens=8)
REQUESTS = [Request(f"s{i}#0", f"<|im_start|>user\nq{i}<|im_end|>\n", i) for i in range(10)]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(key=SECRET) as running:
        yield running


@pytest.fixture
def endpoint(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setenv("TEACHER_KEY", SECRET)
    return Endpoint(base_urls=[server.url], model="fake", key="TEACHER_KEY")


def engine(cell: Cell, endpoint: Endpoint) -> EndpointEngine:
    assert cell.teacher is not None
    made = make_engine("endpoint", EngineSpec(cell.teacher, "cpu", 1, endpoint=endpoint))
    assert isinstance(made, EndpointEngine)
    return made


def test_candidates_come_from_the_endpoint(tiny_cell: Cell, server: FakeServer, endpoint: Endpoint):
    asked = engine(tiny_cell, endpoint)
    units = asked.units(REQUESTS)
    assert [(unit.requests, unit.salt) for unit in units] == [((r,), "") for r in REQUESTS]
    with asked:
        got = {c.request_id: c for c in asked.generate(units, SAMPLING)}
        figures = asked.figures()
    for request in REQUESTS:
        text, logprobs, finish = answer(request.prompt, request.seed, 8)
        assert (got[request.id].text, got[request.id].finish) == (text, finish)
        assert got[request.id].tokens == len(logprobs) and got[request.id].logprob == sum(logprobs)
    assert figures["gpus"] is None and figures["errors"] == 0
    assert {asked.path for asked in server.asked} == {"/v1/completions"}


def test_where_it_is_served_and_the_key_are_no_part_of_its_identity(
    tiny_cell: Cell, server: FakeServer, endpoint: Endpoint
):
    elsewhere = Endpoint(base_urls=["http://elsewhere/v1"], model="fake")
    assert engine(tiny_cell, endpoint).identity() == engine(tiny_cell, elsewhere).identity()
    other = Endpoint(base_urls=[server.url], model="other")
    assert engine(tiny_cell, endpoint).identity() != engine(tiny_cell, other).identity()
    assert engine(tiny_cell, endpoint).repeats is False


def test_refused_prompts_are_error_rows(tiny_cell: Cell, server: FakeServer, endpoint: Endpoint):
    server.fault = lambda asked: Fault("too long") if asked.seed == 2 else None
    with engine(tiny_cell, endpoint) as asked:
        got = list(asked.generate(asked.units(REQUESTS), SAMPLING))
    failed = [c for c in got if c.finish == "error"]
    assert [c.request_id for c in failed] == ["s2#0"] and "context length" in failed[0].error
    assert len(got) == len(REQUESTS)


def entered(cell: Cell, endpoint: Endpoint) -> str:
    """What entering the engine fails with: one line that holds no key."""
    with pytest.raises(FaqError) as error, engine(cell, endpoint):
        pass
    line = str(error.value)
    assert "\n" not in line and SECRET not in line and "sk-wrong" not in line
    return line


def test_a_missing_key_is_named(tiny_cell: Cell, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TEACHER_KEY")
    assert "the environment variable TEACHER_KEY is not set" in entered(tiny_cell, endpoint)


def test_a_wrong_key_is_named(tiny_cell: Cell, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEACHER_KEY", "sk-wrong")
    line = entered(tiny_cell, endpoint)
    assert "denies access" in line and "TEACHER_KEY" in line


def test_a_key_that_the_recipe_does_not_name(tiny_cell: Cell, server: FakeServer):
    line = entered(tiny_cell, Endpoint(base_urls=[server.url], model="fake"))
    assert "denies access" in line and "'key'" in line


def test_a_url_that_does_not_answer(tiny_cell: Cell, server: FakeServer, endpoint: Endpoint):
    server.stop()
    line = entered(tiny_cell, endpoint)
    assert f"http://127.0.0.1:{server.port}/v1 does not answer" in line


def test_a_model_that_is_not_served(tiny_cell: Cell, server: FakeServer, endpoint: Endpoint):
    line = entered(tiny_cell, endpoint.model_copy(update={"model": "tiny-l"}))
    assert "does not serve 'tiny-l'" in line and "it serves 'fake'" in line


def test_it_generates_inside_its_with_block_only(tiny_cell: Cell, endpoint: Endpoint):
    asked = engine(tiny_cell, endpoint)
    with pytest.raises(RuntimeError):
        asked.generate(asked.units(REQUESTS), SAMPLING)
