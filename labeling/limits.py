"""How much one visitor may have, so that nobody takes the app from the others: `Limits`, `Flights`, `Guesses`.

Everything is counted in memory, for the newest visitors only, and forgotten when the app stops.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

MOST_VISITORS = 10_000  # of whom something is remembered; who was silent longest is forgotten first
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
_PERIODS = {MINUTE: "a minute", HOUR: "an hour", DAY: "a day"}
Record = TypeVar("Record")


class LimitReached(ValueError):
    """One visitor asks for more than a visitor may have; the message says when to come back, `seconds` from now."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = max(1, math.ceil(seconds))


@dataclass(frozen=True)
class Budget:
    """`most` of something in `seconds`; 0 sets no limit. `unit` is how many of it are called one in words."""

    most: int
    seconds: float
    what: str
    unit: int = 1

    def in_words(self) -> str:
        """As "30 pictures a minute"."""
        return f"{self.most // self.unit:,} {self.what} {_PERIODS[self.seconds]}"


# What a visitor uses up, by kind. The first three can be set; the others keep a flood off what costs little once.
USUAL: Mapping[str, Budget] = {
    "predictions": Budget(30, MINUTE, "pictures"),
    "contributions": Budget(60, HOUR, "faces"),
    "bytes": Budget(100_000_000, DAY, "MB of faces", 1_000_000),
    "all bytes": Budget(2_000_000_000, DAY, "MB of faces, with everybody else's,", 1_000_000),
    "codes": Budget(120, HOUR, "agreements and changes"),
    "withdrawals": Budget(30, HOUR, "withdrawals"),
    "labels": Budget(600, MINUTE, "labels"),
    "faces": Budget(240, MINUTE, "requests for faces"),
    "looks": Budget(12, MINUTE, "searches"),
    "counts": Budget(240, MINUTE, "requests for counts"),
    "uploads": Budget(200_000_000, HOUR, "MB of uploads", 1_000_000),
    "all uploads": Budget(4_000_000_000, HOUR, "MB of uploads, with everybody else's,", 1_000_000),
}
_VARIABLES = {"FER_LIMIT_PREDICTIONS": "predictions", "FER_LIMIT_CONTRIBUTIONS": "contributions", "FER_LIMIT_MEGABYTES": "bytes"}
# Which budget each function uses up. "frames" has none: a live page waits for its answer, and is held by `Flights` alone.
USED_BY: Mapping[str, str] = {
    "predict": "predictions", "try.read_picture": "predictions", "try.explain": "predictions",
    "correct": "contributions", "try.correct": "contributions", "try.agree": "codes", "try.take_back": "codes",
    "withdraw": "withdrawals", "try.withdraw": "withdrawals", "data.withdraw": "withdrawals",
    "label": "labels", "skip": "labels", "undo": "labels", "label.judge": "labels", "label.undo": "labels",
    "next": "faces", "label.more": "faces", "label.begin": "counts", "label.leave": "counts", "label.counts": "counts",
    "stats": "counts", "data.counts": "counts", "data.parted": "faces", "data.doubtful": "looks",
}  # fmt: skip
UNCOUNTED = frozenset({"try.read_frame", "try.leave"})  # public all the same: a live page sends one after the other
# What waits for a turn at the processor: one visitor may not fill the threads that everybody's calls share.
HEAVY = frozenset({"predict", "correct", "try.read_picture", "try.read_frame", "try.explain", "try.correct"})
MOST_IN_FLIGHT = 12


def budgets(environment: Mapping[str, str]) -> dict[str, Budget]:
    """The usual ones, but for those that the environment sets; 0 lifts one. Raises ValueError for what is no number."""
    found = dict(USUAL)
    for variable, kind in _VARIABLES.items():
        given = environment.get(variable, "").strip()
        if given and not (given.isdecimal() and len(given) < 10):
            raise ValueError(f"{variable} is “{given[:20]}”; it should be a whole number, 0 for no limit.")
        if given:
            found[kind] = replace(found[kind], most=int(given) * found[kind].unit)
    return found


class _Recent:
    """Records of the newest visitors; not safe for threads by itself."""

    def __init__(self, fresh: Callable[[], Record]) -> None:
        self._fresh = fresh
        self._records: OrderedDict[object, Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def of(self, who: object) -> Record:
        """The record of `who`, who is now the newest."""
        record = self._records.pop(who, None) or self._fresh()
        self._records[who] = record
        while len(self._records) > MOST_VISITORS:
            self._records.popitem(last=False)
        return record


class _Level:
    """How much of a budget is used up, at a time in seconds; it drains evenly."""

    used, at = 0.0, -math.inf


class Limits:
    """What each visitor has used up of `budgets`; `clock` returns seconds and is replaced in tests."""

    def __init__(self, budgets: Mapping[str, Budget] = USUAL, clock: Callable[[], float] = time.monotonic) -> None:
        self._budgets = dict(budgets)
        self._clock = clock
        self._lock = threading.Lock()
        self._levels = {kind: _Recent(_Level) for kind in self._budgets}

    def take(self, kind: str, who: str, amount: float = 1) -> None:
        """Count `amount` of `kind` for the visitor `who`; all of it or, with LimitReached, nothing."""
        budget = self._budgets[kind]
        if not budget.most:
            return
        with self._lock:
            level, now = self._levels[kind].of(who), self._clock()
            used = max(0.0, level.used - (now - level.at) * budget.most / budget.seconds) if level.used else 0.0
            over = used + amount - budget.most
            fits = over < 1e-9  # sums of fractions
            level.used, level.at = (used + amount if fits else used), now
        if not fits:
            seconds = min(over, budget.most) * budget.seconds / budget.most
            raise LimitReached(f"A visitor may have {budget.in_words()}; go on in {in_words(seconds)}.", seconds)

    @property
    def remembered(self) -> int:
        """How many records are held."""
        with self._lock:
            return sum(map(len, self._levels.values()))


class Flights:
    """How many calls of each visitor are under way; `most` at once."""

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def one(self, who: str) -> Iterator[None]:
        """Hold one until the block ends. Raises LimitReached where `who` has `most` of them."""
        with self._lock:
            if self._under_way[who] >= self._most:
                raise LimitReached(f"{self._most} pictures of yours are being read already; go on in a second.", 1)
            self._under_way[who] += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way[who] -= 1
                if not self._under_way[who]:
                    del self._under_way[who]


class _Wrong:
    """Wrong guesses of somebody: how many, and when the last one was."""

    count, at = 0, -math.inf


class Guesses:
    """Slows down who guesses: after some wrong guesses each next one waits twice as long, for each address and for all together.

    A guess counts as wrong before it is looked at, so that a hundred at once are no better than one after the other; a
    right one takes back its own, and none before it: who knows one password cannot use it to guess another.
    """

    FREE, LONGEST, FORGOTTEN = 6, 900.0, 3600.0  # wrong ones of one address; seconds between two; seconds until forgotten
    FREE_TOGETHER, LONGEST_TOGETHER = 100, 30.0  # of everybody

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._of: _Recent = _Recent(_Wrong)
        self._together = _Wrong()

    def begin(self, address: str) -> Callable[[], None]:
        """Ask for a guess from `address`; what comes back is called when it was right. Raises LimitReached."""
        with self._lock:
            now, own = self._clock(), self._of.of(address)
            self._forget(own, now)
            self._forget(self._together, now)
            waits = (_pause(own, self.FREE, self.LONGEST, 1, now),
                     _pause(self._together, self.FREE_TOGETHER, self.LONGEST_TOGETHER, self.FREE_TOGETHER, now))  # fmt: skip
            if max(waits) > 0:
                seconds = max(waits)
                raise LimitReached(f"Too many wrong passwords came; try again in {in_words(seconds)}.", seconds)
            for one in (own, self._together):
                one.count, one.at = one.count + 1, now
        return lambda: self._right(own)

    def _right(self, own: _Wrong) -> None:
        with self._lock:
            for one in (own, self._together):
                one.count = max(0, one.count - 1)

    def _forget(self, one: _Wrong, now: float) -> None:
        if now - one.at > self.FORGOTTEN:
            one.count = 0


def _pause(wrong: _Wrong, free: int, longest: float, step: int, now: float) -> float:
    """Seconds until the next guess: 1, 2, 4 … after `free` wrong ones, doubled with every `step` more."""
    if wrong.count < free:
        return 0.0
    return wrong.at + min(longest, 2.0 ** min(40, (wrong.count - free) // step)) - now


def in_words(seconds: float) -> str:
    """A time to wait, rounded up: "12 seconds", "3 minutes", "2 hours"."""
    for size, name in ((HOUR, "hour"), (MINUTE, "minute")):
        if seconds > 2 * size:
            return f"{math.ceil(seconds / size)} {name}s"
    whole = max(1, math.ceil(seconds))
    return f"{whole} second{'' if whole == 1 else 's'}"
