"""Turns at the processor: never more than there are slots, the same share for everybody, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest

from fer import turns as turns_module
from fer.turns import Turns

_me = threading.local()


def whose() -> object:
    return getattr(_me, "name", None)


def asking(turns: Turns, name: str, served: list[str], during: threading.Event | None = None) -> threading.Thread:
    """A call of `name` that waits for its turn; once it is in line this returns."""

    def ask() -> None:
        _me.name = name
        with turns.turn():
            served.append(name)
            if during:
                during.wait(10)

    before = len(turns._waiting)
    thread = threading.Thread(target=ask)
    thread.start()
    until = time.monotonic() + 10
    while len(turns._waiting) == before and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    return thread


def test_calls_of_one_visitor_are_served_in_the_order_they_came():
    turns, served = Turns(1), []
    with turns.turn():
        threads = [asking(turns, name, served) for name in "abcdef"]  # nobody is told apart here
    for one in threads:
        one.join()
    assert served == list("abcdef")


def test_who_sends_twenty_at_once_gets_no_more_than_who_sends_one_after_the_other():
    turns, served = Turns(1, whose), []
    with turns.turn():
        threads = [asking(turns, "flood", served) for _ in range(20)]
        threads += [asking(turns, name, served) for name in ("ada", "tom", "ada", "tom")]
    for one in threads:
        one.join()
    assert served[:6].count("flood") == 2 and sorted(served[:6]) == ["ada", "ada", "flood", "flood", "tom", "tom"]
    assert served.count("flood") == 20, "and nothing is lost"


@pytest.mark.parametrize("slots", [1, 3])
def test_there_are_never_more_holders_than_slots(slots):
    turns, inside, most = Turns(slots, whose), [], []

    def work(name: str) -> None:
        _me.name = name
        for _ in range(20):
            with turns.turn():
                inside.append(name)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.remove(name)

    threads = [threading.Thread(target=work, args=(str(number % 4),)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(most) == 160 and max(most) == slots and turns._free == slots


def test_a_turn_that_fails_is_over():
    turns = Turns(1)
    with pytest.raises(RuntimeError), turns.turn():
        raise RuntimeError
    with ExitStack() as held:
        held.enter_context(turns.turn())


def test_what_is_remembered_of_visitors_is_bounded(monkeypatch):
    monkeypatch.setattr(turns_module, "REMEMBERED", 5)
    turns = Turns(1, whose)
    for number in range(50):
        _me.name = f"visitor {number}"
        with turns.turn():
            pass
    assert len(turns._last) == 5
