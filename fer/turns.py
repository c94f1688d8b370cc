"""Who may use the processor next: `Turns`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REMEMBERED = 1000  # of those who had a turn, the newest


class Turns:
    """At most `slots` holders at once; next is whoever's last turn is longest ago, and of one visitor's calls the first.

    `who` says whose call the asking thread answers. A live page waits for its answer before it sends the next frame, so
    every viewer gets the same share, photos and frames take turns, and who sends twenty at once gets no more than others.
    """

    def __init__(self, slots: int, who: Callable[[], object] = lambda: None) -> None:
        self._condition = threading.Condition()
        self._free = slots
        self._who = who
        self._waiting: OrderedDict[object, object] = OrderedDict()  # a call -> whose it is, in the order they came
        self._last: OrderedDict[object, int] = OrderedDict()  # visitor -> number of their last turn
        self._turns = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and hold it until the block ends."""
        me, who = object(), self._who()
        with self._condition:
            self._waiting[me] = who
            try:
                self._condition.wait_for(lambda: self._free > 0 and self._next() is me)
            finally:
                del self._waiting[me]
            self._note(who)
            self._free -= 1
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._free += 1
                self._condition.notify_all()

    def _next(self) -> object:
        """The call whose visitor has waited longest since their last turn."""
        return min(self._waiting, key=lambda call: self._last.get(self._waiting[call], 0))

    def _note(self, who: object) -> None:
        self._turns += 1
        self._last.pop(who, None)
        self._last[who] = self._turns
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
