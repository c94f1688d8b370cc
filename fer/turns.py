"""Who may use the processor next: `Turns`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """At most `slots` holders at once, served in the order they came.

    A live page waits for its answer before it sends the next frame, so first come, first served gives
    every viewer the same share, and photos and frames take turns too.
    """

    def __init__(self, slots: int) -> None:
        self._condition = threading.Condition()
        self._free = slots
        self._waiting: OrderedDict[object, None] = OrderedDict()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and hold it until the block ends."""
        me = object()
        with self._condition:
            self._waiting[me] = None
            self._condition.wait_for(lambda: self._free > 0 and next(iter(self._waiting)) is me)
            del self._waiting[me]
            self._free -= 1
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._free += 1
                self._condition.notify_all()
