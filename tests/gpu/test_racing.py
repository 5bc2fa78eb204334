"""Processes that want the same GPUs: never two on one, nobody waits for ever, the dead hold nothing."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import psutil
import pytest

from faq_pipeline.util.lock_holder import Holder
from tests.gpu.conftest import Start
from tests.gpu.fakes import Diary, make_gpus

FIRST, SECOND = (gpu.uuid for gpu in make_gpus("Fake", "Fake"))


def test_two_processes_are_never_on_one_gpu_at_once(start: Start, diary: Diary) -> None:
    """In each of 50 trials both want the GPU that one calls cuda:0 and the other cuda:1."""
    racers, drawn = start("0,1", "1,0"), random.Random(0)
    for _ in range(50):
        for racer, device in zip(racers, ("cuda:0", "cuda:1"), strict=True):
            racer.tell(f"stay {device} 1 {drawn.uniform(0, 0.004)} {drawn.uniform(0.001, 0.008)}")
        for racer, device in zip(racers, ("cuda:0", "cuda:1"), strict=True):
            while (answer := racer.answer()) != f"done {device}":
                assert answer.startswith(f"note waits for GPU 0 ({FIRST})")
    assert diary.check() == 100


def test_who_wants_several_gpus_never_waits_in_a_circle(start: Start, diary: Diary) -> None:
    """Three processes count the same three GPUs in other orders, and want one, two or all of them."""
    racers, drawn = start("0,1,2", "2,1,0", "1,2,0"), random.Random(1)
    for _ in range(30):
        for racer in racers:
            racer.tell(
                f"stay cuda {drawn.randint(1, 3)} {drawn.uniform(0, 0.004)} {drawn.uniform(0.001, 0.008)}"
            )
        for racer in racers:
            while not (answer := racer.answer()).startswith("done cuda:"):
                assert answer.startswith("note waits for GPU ")
    assert diary.check() == 90


def test_stages_of_two_stores_are_never_built_on_one_gpu_at_once(
    start: Start, diary: Diary, tmp_path: Path
) -> None:
    """What `materialize` builds on a GPU excludes what another home builds there; one store builds once."""
    racers = start("0", "0", "0")
    stores = [tmp_path / "one", tmp_path / "one", tmp_path / "other"]
    for draw in range(8):
        for racer, store in zip(racers, stores, strict=True):
            racer.tell(f"materialize {store} {draw} cuda")
        for racer in racers:
            while not (answer := racer.answer()).startswith("done "):
                assert answer.startswith("note waits for GPU 0")
    assert diary.check() == 2 * 8 * 2


def test_a_gpu_that_is_free_is_taken_before_one_is_waited_for(start: Start) -> None:
    one, other, third = start("0,1", "0,1", "0,1")
    assert one.ask("hold cuda 1") == "held cuda:0"
    assert other.ask("hold cuda 1") == "held cuda:1"
    assert third.ask("hold cuda 1").startswith(f"note waits for GPU 0 ({FIRST}), held by pid {one.pid} ")
    assert other.ask("give back") == "given back"
    assert third.answer() == "held cuda:1"


def test_who_asks_again_does_not_pass_one_who_waits(start: Start) -> None:
    """Without a pause between giving back and asking: who waits looks only now and then."""
    one, other = start("0", "0")
    assert one.ask("hold cuda 1") == "held cuda:0"
    for _ in range(20):
        assert other.ask("hold cuda 1").startswith("note waits for GPU 0")
        one.tell("give back")
        one.tell("hold cuda 1")
        assert one.answer() == "given back"
        assert other.answer() == "held cuda:0"
        assert one.answer().startswith("note waits for GPU 0")
        assert other.ask("give back") == "given back"
        assert one.answer() == "held cuda:0"


def test_who_waits_is_told_for_whom(start: Start) -> None:
    holder, waiter = start("0", "0")
    assert holder.ask("hold cuda:0 1") == "held cuda:0"
    note = waiter.ask("hold cuda 1")
    assert note.startswith(f"note waits for GPU 0 ({FIRST}), held by pid {holder.pid} of ")
    assert note.endswith(": quantized_checkpoint of tiny-s@aaaaaaaa|tiny-faq") and ", run 1a2b3c4d " in note
    assert holder.ask("give back") == "given back"
    assert waiter.answer() == "held cuda:0"


def test_who_still_waits_tells_again(start: Start) -> None:
    holder, waiter = start("0", "0")
    assert waiter.ask("patience 0.05") == "patient"
    assert holder.ask("hold cuda:0 1") == "held cuda:0"
    notes = [waiter.ask("hold cuda 1"), waiter.answer(), waiter.answer()]
    assert all(f"held by pid {holder.pid} of " in note for note in notes)
    assert holder.ask("give back") == "given back"
    while (answer := waiter.answer()) != "held cuda:0":
        assert answer in notes
    assert waiter.ask("patience 60") == "patient"


def test_who_holds_one_of_several_and_waits_for_another_is_named_already(start: Start) -> None:
    one, several, third = start("0,1", "0,1", "0,1")
    # In the order of their UUIDs, which is not that of their numbers.
    assert one.ask("hold cuda:0 1") == "held cuda:0"
    assert several.ask("hold cuda 2").startswith(f"note waits for GPU 0 ({FIRST})")
    assert f"GPU 1 ({SECOND}), held by pid {several.pid} of " in third.ask("hold cuda:1 1")
    for racer, held in ((one, several), (several, third)):
        assert racer.ask("give back") == "given back"
        assert held.answer().startswith("held cuda:")


def test_workers_of_one_process_are_siblings() -> None:
    ours, theirs = (Holder(pid=1, host="h", user="u", what="w", since="s", parent=p) for p in (7, 8))
    assert ours.is_sibling(ours.model_copy(update={"pid": 2})) and not ours.is_sibling(theirs)
    alone = ours.model_copy(update={"parent": None})
    assert not alone.is_sibling(alone) and not ours.is_sibling(ours.model_copy(update={"host": "other"}))


def test_a_killed_holders_gpus_are_free_at_once(start: Start) -> None:
    holder, waiter = start("0,1", "1,0")
    assert holder.ask("hold cuda 2") == "held cuda:0,1"
    assert waiter.ask("hold cuda 2").startswith("note waits for GPU")
    holder.kill()
    assert waiter.answer() == "held cuda:0,1"


@pytest.mark.parametrize("how", ["exec", "fork", "keeper"])
def test_a_killed_holders_gpu_is_free_though_a_child_of_it_lives(start: Start, how: str) -> None:
    """A child that `subprocess` started, one that `fork` made, and one under the keeper of servers."""
    holder, waiter = start("0", "0")
    assert holder.ask("hold cuda 1") == "held cuda:0"
    child = int(holder.ask(f"start {how}").removeprefix("started "))
    try:
        assert waiter.ask("hold cuda 1").startswith("note waits for GPU 0")
        holder.kill()
        assert waiter.answer() == "held cuda:0"
        assert psutil.pid_exists(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_a_killed_holder_left_on_the_gpu_is_waited_for(start: Start, tmp_path: Path) -> None:
    """Its server is ended soon after it; the next stage finds as much memory free as it had found."""
    holder, waiter = start("0", "0")
    free = tmp_path / "free"
    free.write_text("79")
    assert holder.ask("hold cuda 1") == "held cuda:0"
    free.write_text("9")
    holder.kill()
    note = waiter.ask("hold cuda 1")
    assert note.startswith(f"note waits for 70.0 GiB of GPU 0 ({FIRST}), left by pid {holder.pid} of ")
    (tmp_path / "more").write_text("79")
    (tmp_path / "more").replace(free)
    assert waiter.answer() == "held cuda:0"
    free.write_text("9")
    assert waiter.ask("give back") == "given back"
    assert waiter.ask("hold cuda 1") == "held cuda:0"  # nobody was killed: what is taken is no orphan's
