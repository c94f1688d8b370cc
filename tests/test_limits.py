"""What one visitor may have, by a clock of our own: budgets, calls under way, and guesses that get slower."""

from __future__ import annotations

import threading

import pytest
from calls import assert_sentence

from labeling import limits
from labeling.limits import HEAVY, UNCOUNTED, USED_BY, USUAL, Budget, Flights, Guesses, LimitReached, Limits, budgets, in_words


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def some(clock: Clock) -> Limits:
    return Limits(
        {"pictures": Budget(3, 60.0, "pictures"), "bytes": Budget(1000, 3600.0, "MB", 1), "free": Budget(0, 60.0, "x")}, clock
    )


def taken(limits: Limits, kind: str, who: str, times: int, amount: float = 1) -> int:
    """How many of `times` were given."""
    given = 0
    for _ in range(times):
        try:
            limits.take(kind, who, amount)
            given += 1
        except LimitReached:
            pass
    return given


def test_a_visitor_gets_so_many_and_then_as_they_come_back(some, clock):
    assert taken(some, "pictures", "eve", 10) == 3
    assert taken(some, "pictures", "ada", 10) == 3, "everybody has their own"
    clock.now += 20  # a third of the time
    assert taken(some, "pictures", "eve", 10) == 1
    clock.now += 3600
    assert taken(some, "pictures", "eve", 10) == 3, "what was not used does not pile up"


def test_in_an_hour_nobody_gets_more_than_the_budget_and_what_is_ahead_of_it(some, clock):
    given = 0
    for _ in range(3600):
        given += taken(some, "pictures", "eve", 1)
        clock.now += 1
    assert 3 * 60 <= given <= 3 * 60 + 3


def test_the_sentence_says_when_to_come_back_and_that_is_true(some, clock):
    taken(some, "pictures", "eve", 3)
    clock.now += 5
    with pytest.raises(LimitReached) as caught:
        some.take("pictures", "eve")
    assert str(caught.value) == "A visitor may have 3 pictures a minute; go on in 15 seconds." and caught.value.seconds == 15
    assert_sentence(str(caught.value))
    clock.now += 14
    assert taken(some, "pictures", "eve", 1) == 0
    clock.now += 1
    assert taken(some, "pictures", "eve", 1) == 1


def test_what_does_not_fit_counts_nothing(some):
    assert taken(some, "bytes", "eve", 1, 900) == 1
    assert taken(some, "bytes", "eve", 50, 200) == 0
    assert taken(some, "bytes", "eve", 1, 100) == 1
    assert taken(some, "bytes", "ada", 3, 2000) == 0


def test_nought_sets_no_limit(some):
    assert taken(some, "free", "eve", 1000) == 1000


def test_many_at_once_get_no_more_than_one_after_the_other(some):
    given, start = [], threading.Barrier(16)

    def ask() -> None:
        start.wait()
        given.append(taken(some, "pictures", "eve", 20))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(given) == 3


def test_what_is_remembered_is_bounded_however_many_come(monkeypatch, clock):
    monkeypatch.setattr(limits, "MOST_VISITORS", 100)
    some = Limits({"pictures": Budget(1, 60.0, "pictures")}, clock)
    guesses = Guesses(clock)
    for number in range(1000):
        some.take("pictures", f"visitor {number}")
    for number in range(90):
        guesses.begin(f"address {number}")
    assert some.remembered == 100 and len(guesses._of) <= 100
    assert taken(some, "pictures", "visitor 999", 1) == 0, "the newest are those that are remembered"


@pytest.mark.parametrize(("variable", "kind", "given", "most"), [
    ("FER_LIMIT_PREDICTIONS", "predictions", "5", 5), ("FER_LIMIT_CONTRIBUTIONS", "contributions", " 7 ", 7),
    ("FER_LIMIT_MEGABYTES", "bytes", "2", 2_000_000), ("FER_LIMIT_PREDICTIONS", "predictions", "0", 0),
    ("FER_LIMIT_PREDICTIONS", "predictions", "", 30),
])  # fmt: skip
def test_the_environment_sets_limits(variable, kind, given, most):
    found = budgets({variable: given})
    assert found[kind].most == most and {name: one for name, one in found.items() if name != kind} == {
        name: one for name, one in USUAL.items() if name != kind
    }


@pytest.mark.parametrize("given", ["-1", "many", "1.5", "1e3", "9" * 50, "٣x"])
def test_what_is_no_number_is_refused_in_a_sentence(given):
    with pytest.raises(ValueError, match="FER_LIMIT_PREDICTIONS") as caught:
        budgets({"FER_LIMIT_PREDICTIONS": given})
    assert_sentence(str(caught.value))


def test_the_words_of_every_budget_make_a_sentence():
    for kind, budget in USUAL.items():
        some = Limits({kind: Budget(budget.unit, budget.seconds, budget.what, budget.unit)})
        with pytest.raises(LimitReached) as caught:
            some.take(kind, "eve", budget.unit + 1)
        assert_sentence(str(caught.value))


def test_every_budget_is_used_and_everything_heavy_is_counted():
    assert set(USED_BY.values()) | {"bytes", "all bytes", "uploads", "all uploads"} == set(USUAL)
    assert HEAVY - {"try.read_frame"} <= set(USED_BY) and UNCOUNTED.isdisjoint(USED_BY)


@pytest.mark.parametrize(("seconds", "words"), [
    (0.2, "1 second"), (1.2, "2 seconds"), (119.5, "120 seconds"), (121, "3 minutes"), (7300, "3 hours"), (900, "15 minutes"),
])  # fmt: skip
def test_times_to_wait_are_rounded_up(seconds, words):
    assert in_words(seconds) == words


# --- under way ----------------------------------------------------------------------------------


def test_so_many_calls_of_one_visitor_are_under_way_and_no_more():
    flights = Flights(2)
    with flights.one("eve"), flights.one("eve"):
        with pytest.raises(LimitReached) as caught:
            flights.one("eve").__enter__()
        assert_sentence(str(caught.value))
        with flights.one("ada"):
            pass
    with flights.one("eve"):
        pass
    assert not flights._under_way, "nothing is kept of who is gone"


def test_a_call_that_fails_is_over():
    flights = Flights(1)
    for _ in range(3):
        with pytest.raises(RuntimeError), flights.one("eve"):
            raise RuntimeError


# --- guesses ------------------------------------------------------------------------------------


def wrong(guesses: Guesses, address: str = "1.1.1.1", times: int = 1) -> int:
    """How many of `times` wrong guesses at once were looked at."""
    looked_at = 0
    for _ in range(times):
        try:
            guesses.begin(address)
            looked_at += 1
        except LimitReached:
            pass
    return looked_at


def test_the_first_few_are_free_and_then_each_waits_twice_as_long(clock):
    guesses = Guesses(clock)
    assert wrong(guesses, times=50) == Guesses.FREE
    for pause in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900):
        clock.now += pause - 0.5
        with pytest.raises(LimitReached) as caught:
            guesses.begin("1.1.1.1")
        assert caught.value.seconds == 1
        assert_sentence(str(caught.value))
        clock.now += 0.5
        assert wrong(guesses, times=5) == 1, pause


def test_a_day_of_guessing_gets_nowhere(clock):
    guesses, looked_at = Guesses(clock), 0
    for _ in range(24 * 3600):
        looked_at += wrong(guesses)
        clock.now += 1
    assert looked_at < 120


def test_ten_thousand_addresses_together_are_slowed_down_too(clock):
    guesses, looked_at = Guesses(clock), 0
    for number in range(24 * 3600):
        looked_at += wrong(guesses, f"1.{number // 65536}.{number // 256 % 256}.{number % 256}")
        clock.now += 1
    assert looked_at < 4000


def test_a_right_guess_takes_back_its_own_and_none_before_it(clock):
    guesses = Guesses(clock)
    for _ in range(100):
        guesses.begin("1.1.1.1")()  # somebody who knows the labelers' password
    assert wrong(guesses, times=20) == Guesses.FREE
    clock.now += 1
    guesses.begin("1.1.1.1")()
    assert wrong(guesses, times=20) == 0, "it does not begin anew"


def test_others_are_let_in_meanwhile_and_wrong_ones_are_forgotten_in_the_end(clock):
    guesses = Guesses(clock)
    wrong(guesses, "6.6.6.6", 50)
    assert wrong(guesses, "1.1.1.1") == 1
    clock.now += Guesses.FORGOTTEN + 1
    assert wrong(guesses, "6.6.6.6", 50) == Guesses.FREE


def test_a_hundred_at_once_are_no_better_than_one_after_the_other(clock):
    guesses, looked_at, start = Guesses(clock), [], threading.Barrier(20)

    def guess() -> None:
        start.wait()
        looked_at.append(wrong(guesses, times=5))

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(looked_at) == Guesses.FREE
