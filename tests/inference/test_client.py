from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.client.client import Chat, Client
from faq_pipeline.inference.client.load_balancer import RetryPolicy
from faq_pipeline.inference.client.server_address import ServerAddress
from faq_pipeline.inference.engine import Completion, Request
from tests.inference.fake_server import Asked, FakeServer, Fault, answer

SAMPLING = Sampling(max_new_tokens=9, temperature=0.7, top_p=0.9)
QUICK = RetryPolicy(tries=5, rejections=60, first=0.01, longest=0.05)
SECRET = "sk-planted-7d1f"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


def client(*servers: FakeServer, most: int = 16, timeout: float = 5.0, **more: object) -> Client:
    targets = [ServerAddress(server.url) for server in servers]
    return Client(targets, "fake", most=most, timeout=timeout, patience=QUICK, **more)  # type: ignore[arg-type]


def requests(count: int) -> list[Request]:
    return [Request(f"r{i}", f"prompt {i // 2}", i) for i in range(count)]


def expected(asked: list[Request]) -> dict[str, Completion]:
    made = {}
    for request in asked:
        text, logprobs, finish = answer(request.prompt, request.seed, SAMPLING.max_new_tokens)
        made[request.id] = Completion(request.id, text, len(logprobs), sum(logprobs), finish)  # type: ignore[arg-type]
    return made


def check_exact(got: list[Completion], asked: list[Request]) -> None:
    """Every request once, each with its own answer."""
    assert sorted(c.request_id for c in got) == sorted(r.id for r in asked)
    assert {c.request_id: c for c in got} == expected(asked)


def first_call(fault: Fault) -> Callable[[Asked], Fault | None]:
    return lambda asked: fault if asked.call == 1 else None


def no_threads() -> bool:
    return not any(thread.name.startswith("faq-") for thread in threading.enumerate())


def test_every_request_gets_its_own_answer(server: FakeServer):
    asked = requests(100)
    speaker = client(server)
    got = list(speaker.complete(asked, SAMPLING))
    check_exact(got, asked)
    assert {c.finish for c in got} == {"stop", "length"}
    assert set(server.calls.values()) == {1}
    assert speaker.figures() == {"retries": 0, "rejected": 0, "errors": 0, "largest_concurrency": 16}


def test_the_first_request_leaves_before_the_last_is_made(server: FakeServer):
    made = 0
    made_then: list[int] = []

    def being_made() -> Iterator[Request]:
        nonlocal made
        for made, request in enumerate(requests(512), 1):  # noqa: B007 (read by the server's thread)
            yield request

    def noting(asked: Asked) -> None:
        made_then.append(made)

    server.fault = noting
    assert len(list(client(server, most=512).complete(being_made(), SAMPLING))) == 512
    assert made_then[0] < 512


def test_what_is_asked_leaves_nothing_to_the_servers_defaults(server: FakeServer):
    list(client(server).complete(requests(1), SAMPLING))
    assert server.asked[0].path == "/v1/completions"
    assert server.asked[0].body == {
        "model": "fake",
        "prompt": "prompt 0",
        "seed": 0,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 9,
        "logprobs": 0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "add_special_tokens": False,
        "skip_special_tokens": False,
    }


@pytest.mark.parametrize(
    "fault",
    [
        Fault("error 500"),
        Fault("error 503", 0.02),
        Fault("busy"),
        Fault("busy", 0.02),
        Fault("not json"),
        Fault("no choices"),
        Fault("no finish"),
        Fault("cut body"),
        Fault("reset"),
        Fault("hang"),
        Fault("slow", 0.1),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_fault_that_passes_costs_a_retry_and_nothing_else(server: FakeServer, fault: Fault):
    server.fault = first_call(fault)
    asked = requests(6)
    speaker = client(server, timeout=1.5)
    check_exact(list(speaker.complete(asked, SAMPLING)), asked)
    tries = 1 if fault.kind == "slow" else 2
    assert set(server.calls.values()) == {tries}
    assert speaker.figures()["retries"] == 6 * (tries - 1)
    assert speaker.figures()["rejected"] == (6 if fault.kind == "busy" else 0)


def test_retry_after_is_honoured_and_nobody_else_is_sent_meanwhile(server: FakeServer):
    server.fault = lambda asked: Fault("busy", 0.6) if len(server.asked) == 1 else None
    asked = requests(5)
    check_exact(list(client(server, most=1).complete(asked, SAMPLING)), asked)
    assert server.asked[1].at - server.asked[0].at >= 0.6


def test_a_refused_request_is_an_error_row_after_one_try(server: FakeServer):
    server.fault = lambda asked: Fault("too long") if asked.seed == 3 else None
    asked = requests(8)
    speaker = client(server)
    got = {c.request_id: c for c in speaker.complete(asked, SAMPLING)}
    failed = got.pop("r3")
    check_exact(list(got.values()), [r for r in asked if r.id != "r3"])
    assert failed.finish == "error" and failed.text == "" and failed.logprob is None
    assert "maximum context length" in failed.error and "\n" not in failed.error
    assert server.calls["prompt 1", 3] == 1
    assert speaker.figures()["errors"] == 1 and speaker.figures()["retries"] == 0


def test_a_request_that_the_server_always_fails_at_is_an_error_row(server: FakeServer):
    server.fault = lambda asked: Fault("error 500") if asked.seed == 3 else None
    server.delay = 0.01
    asked = requests(60)
    got = {c.request_id: c for c in client(server, most=4).complete(asked, SAMPLING)}
    assert got.pop("r3").error.endswith("something broke badly (tried 5 times)")
    check_exact(list(got.values()), [r for r in asked if r.id != "r3"])


def test_the_last_requests_that_a_good_server_fails_at_are_error_rows(server: FakeServer):
    server.fault = lambda asked: Fault("error 500") if asked.seed in (38, 39) else None
    got = list(client(server).complete(requests(40), SAMPLING))
    assert sorted(c.request_id for c in got if c.finish == "error") == ["r38", "r39"]


@pytest.mark.parametrize("kind", ["error 500", "not json", "no choices", "reset"])
def test_a_server_that_breaks_down_ends_the_work_and_keeps_what_was_finished(server: FakeServer, kind: str):
    server.fault = lambda asked: Fault(kind) if len(server.asked) > 20 else None  # type: ignore[arg-type]
    asked = requests(80)
    got: list[Completion] = []
    with pytest.raises(FaqError) as error:
        for completion in client(server, most=4).complete(asked, SAMPLING):
            got.append(completion)
    assert f"no answer from http://127.0.0.1:{server.port}/v1 after 5 tries" in str(error.value)
    assert "\n" not in str(error.value)
    good = [c for c in got if c.finish != "error"]
    assert len(good) == 20 and len(got) - len(good) < QUICK.tries
    check_exact(good, [r for r in asked if r.id in {c.request_id for c in good}])
    assert no_threads()


def test_a_server_that_never_stops_rejecting_ends_the_work(server: FakeServer):
    server.fault = lambda asked: Fault("busy")
    speaker = client(server)
    speaker.patience = RetryPolicy(tries=5, rejections=6, first=0.005, longest=0.01)
    with pytest.raises(FaqError, match=r"rejects requests: .*too many requests"):
        list(speaker.complete(requests(3), SAMPLING))


FAULTS = st.sampled_from(
    [
        Fault("error 500"),
        Fault("error 503"),
        Fault("busy"),
        Fault("busy", 0.01),
        Fault("not json"),
        Fault("no choices"),
        Fault("no finish"),
        Fault("cut body"),
        Fault("reset"),
    ]
)


# Not shrunk: each example takes real time.
@settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    schedule=st.dictionaries(st.integers(0, 29), st.lists(FAULTS, min_size=1, max_size=3), max_size=30),
    most=st.integers(1, 40),
)
def test_nothing_is_lost_or_doubled_under_any_faults(
    server: FakeServer, schedule: dict[int, list[Fault]], most: int
):
    server.calls.clear()
    server.largest = 0

    def fault(asked: Asked) -> Fault | None:
        planned = schedule.get(asked.seed or 0, [])
        return planned[asked.call - 1] if asked.call <= len(planned) else None

    server.fault = fault
    asked = requests(30)
    speaker = client(server, most=most)
    speaker.patience = RetryPolicy(tries=100, first=0.001, longest=0.004)
    check_exact(list(speaker.complete(asked, SAMPLING)), asked)
    assert {seed: n for (_, seed), n in server.calls.items()} == {
        i: 1 + len(schedule.get(i, [])) for i in range(30)
    }
    assert server.largest <= most


def test_no_more_than_the_bound_are_in_flight_over_all_servers():
    with FakeServer() as one, FakeServer() as other:
        one.delay = other.delay = 0.02
        speaker = client(one, other, most=10)
        check_exact(list(speaker.complete(requests(120), SAMPLING)), requests(120))
        assert one.largest + other.largest >= 10 and max(one.largest, other.largest) <= 6
        assert speaker.figures()["largest_concurrency"] == 10


def test_concurrency_falls_after_rejections_and_recovers(server: FakeServer):
    server.delay = 0.01
    room = 4
    server.fault = lambda asked: Fault("busy") if asked.others >= room else None
    speaker = client(server, most=32)
    results = speaker.complete(requests(800), SAMPLING)
    got = list(itertools.islice(results, 200))
    settled = [asked.others for asked in server.asked[-60:]]
    room = 1000
    got += results
    check_exact(got, requests(800))
    assert max(settled) < 16, settled
    assert max(asked.others for asked in server.asked[-200:]) >= 12
    assert 28 <= speaker.figures()["rejected"] < 400


def test_a_dead_servers_requests_go_to_the_others_and_it_is_left_alone(caplog: pytest.LogCaptureFixture):
    with FakeServer() as one, FakeServer() as other:
        one.delay = other.delay = 0.005
        speaker = client(one, other, most=8)
        speaker.patience = RetryPolicy(tries=5, first=0.3, longest=2.0)
        results = speaker.complete(requests(300), SAMPLING)
        got = list(itertools.islice(results, 40))
        other.stop()
        got += results
        check_exact(got, requests(300))
        assert speaker.figures()["errors"] == 0
        assert speaker.figures()["retries"] <= 30  # those in flight, those that tried at once, and trials


def test_a_server_that_is_back_is_used_again():
    with FakeServer() as one, FakeServer() as other:
        one.delay = other.delay = 0.005
        results = client(one, other, most=8).complete(requests(400), SAMPLING)
        got = list(itertools.islice(results, 20))
        other.stop()
        got += itertools.islice(results, 60)
        other.start()
        before = len(other.asked)
        got += results
        check_exact(got, requests(400))
        assert len(other.asked) - before > 20


def test_servers_that_fail_in_turn_are_no_loss():
    with FakeServer() as one, FakeServer() as other:
        one.fault = lambda asked: Fault("error 500")
        check_exact(list(client(one, other).complete(requests(40), SAMPLING)), requests(40))
        assert len(one.asked) < 40


def test_all_servers_gone(server: FakeServer):
    server.stop()
    with pytest.raises(FaqError, match=r"no answer from .* connection lost"):
        list(client(server).complete(requests(40), SAMPLING))
    assert no_threads()


def test_a_managed_server_is_waited_for_and_then_goes_on(server: FakeServer):
    waits = []

    def alive() -> None:
        waits.append(threading.current_thread().name)
        time.sleep(0.3)
        server.start()

    server.delay = 0.02
    results = client(server, alive=alive).complete(requests(200), SAMPLING)
    got = list(itertools.islice(results, 50))
    server.stop()
    got += results
    check_exact(got, requests(200))
    assert waits == ["faq-revival"]


def test_a_managed_server_that_is_given_up_ends_the_work_with_its_own_words(server: FakeServer):
    def alive() -> None:
        raise FaqError("vLLM failed three times", hint="see its log")

    server.fault = lambda asked: Fault("reset") if len(server.asked) > 10 else None
    got = []
    with pytest.raises(FaqError, match="vLLM failed three times"):
        for completion in client(server, most=2, alive=alive).complete(requests(40), SAMPLING):
            got.append(completion)
    assert len(got) == 10


def test_closing_early_ends_threads_and_requests(server: FakeServer):
    server.fault = lambda asked: Fault("hang") if len(server.asked) > 5 else None
    results = client(server).complete(requests(100), SAMPLING)
    assert next(results)
    results.close()  # type: ignore[attr-defined]
    assert no_threads()
    deadline = time.monotonic() + 5
    while server.in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.in_flight == 0
    calls = len(server.asked)
    time.sleep(0.1)
    assert len(server.asked) == calls


def test_leaving_the_client_ends_what_it_began(server: FakeServer):
    server.fault = lambda asked: Fault("hang") if len(server.asked) > 5 else None
    with client(server) as speaker:
        results = speaker.complete(requests(100), SAMPLING)
        assert next(results)
    assert no_threads()


def test_it_does_not_run_far_ahead_of_its_consumer(server: FakeServer):
    endless = (Request(f"r{i}", "p", i) for i in itertools.count())
    results = client(server, most=4).complete(endless, SAMPLING)
    next(results)
    calls = -1
    while calls != len(server.asked):
        calls = len(server.asked)
        time.sleep(0.2)
    assert calls <= 4 * 4 + 4
    assert len(list(itertools.islice(results, 100))) == 100
    results.close()  # type: ignore[attr-defined]
    assert no_threads()


def test_a_mistake_in_the_requests_is_raised_as_it_is(server: FakeServer):
    def broken() -> Iterator[Request]:
        yield from requests(3)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        list(client(server).complete(broken(), SAMPLING))
    assert no_threads()


def test_nothing_to_ask_is_nothing_to_answer(server: FakeServer):
    assert list(client(server).complete([], SAMPLING)) == []


@pytest.mark.parametrize("sent", [SECRET, "sk-other-9c2e"])
def test_keys_are_sent_and_appear_nowhere_else(
    sent: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-not-for-you")
    with FakeServer(key=SECRET) as server:
        speaker = Client(
            [ServerAddress(server.url, sent, "MY_KEY")], "fake", most=4, timeout=5, patience=QUICK
        )
        said = [repr(speaker)]
        try:
            check_exact(list(speaker.complete(requests(4), SAMPLING)), requests(4))
            speaker.check()
        except FaqError as error:
            assert sent != SECRET and "MY_KEY" in str(error) and "denies access" in str(error)
            said += [str(error), repr(error)]
        else:
            assert sent == SECRET
        assert {asked.authorization for asked in server.asked} == {f"Bearer {sent}"}
        assert not any(sent in text for text in [*said, caplog.text])


def test_keys_of_other_services_stay_at_home(server: FakeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you")
    list(client(server).complete(requests(1), SAMPLING))
    assert "not-for-you" not in str(server.asked[0].authorization)


def test_a_server_that_wants_a_key_and_gets_none():
    with FakeServer(key=SECRET) as server, pytest.raises(FaqError, match="'key' of the endpoint names"):
        client(server).check()


def test_a_model_that_is_unloaded_meanwhile(server: FakeServer):
    server.fault = lambda asked: Fault("unknown") if len(server.asked) > 5 else None
    with pytest.raises(FaqError, match=r"does not serve this: .*no such model"):
        list(client(server).complete(requests(40), SAMPLING))


def test_likelihood_of_given_text(server: FakeServer):
    items = [([1, 2], [3, 4]), ([5], [6]), ([1] * 9, [8])]
    server.fault = lambda asked: Fault("too long") if len(asked.prompt) > 8 else None
    got = dict(client(server).prompt_logprobs(items))
    assert got == {0: -3.5 / 8, 1: -6 / 8, 2: None}
    assert server.asked[0].body["prompt_logprobs"] == 0


def test_chats_carry_their_schema_and_cut_replies_say_nothing(server: FakeServer):
    server.reply = lambda asked: f"said to {asked.prompt}"
    chats = [
        Chat(str(i), [{"role": "user", "content": f"c{i}"}], {"type": "object"}, i, 50) for i in range(5)
    ]
    server.fault = lambda asked: Fault("too long") if asked.prompt == "c2" else None
    got = {reply.id: reply for reply in client(server).chat(chats)}
    assert got["1"].content == "said to c1"
    assert got["2"].content is None and "maximum context" in got["2"].error
    body = server.asked[0].body
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["temperature"] == 0 and body["max_tokens"] == 50


def test_the_name_of_the_model_is_found_where_there_is_just_one():
    with FakeServer(models=("only",)) as one, FakeServer(models=("a", "b")) as two, ExitStack() as stack:
        assert Client([ServerAddress(one.url)]).check() == "only"
        with pytest.raises(FaqError, match="set 'model': they serve 'a', 'b'"):
            Client([ServerAddress(two.url)]).check()
        with pytest.raises(FaqError, match=r"does not serve 'c' .it serves 'a', 'b'"):
            Client([ServerAddress(two.url)], "c").check()
        gone = stack.enter_context(FakeServer())
        gone.stop()
        assert Client([ServerAddress(gone.url), ServerAddress(two.url)], "b").check() == "b"
        with pytest.raises(FaqError, match="does not answer"):
            Client([ServerAddress(gone.url)], "b").check()
        with pytest.raises(FaqError, match="has no list of models"):
            Client([ServerAddress(one.url + "/deeper")], "only").check()
