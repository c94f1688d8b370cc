"""How the labels stand between this disk and the Hub, in words and as plain values: `SyncState`; what one sync did: `Done`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True)
class SyncState:
    """How the labels stand; times UTC as in the tables, None before the first.

    What was judged up to `on_hub_at` and is not counted in `waiting` is on the Hub.
    """

    repository: str
    saved_at: str | None  # of the newest label on this disk
    on_hub_at: str | None
    waiting: int  # labels, and faces without one, that are on this disk only
    problem: str | None  # why they wait, a sentence
    restored: bool  # whether all that was on the Hub at the start has been read
    removing: bool  # whether something was withdrawn that is still to be removed from the Hub
    damaged: tuple[str, ...]  # files on the Hub that cannot be read; they are left alone

    def in_words(self) -> str:
        """For the meter, in local time."""
        parts = [f"on this disk {_clock(self.saved_at)}", f"on the Hub {_clock(self.on_hub_at)}", f"{self.waiting} waiting"]
        if not self.restored:
            parts.append("reading what is on the Hub")
        if self.removing:
            parts.append("a withdrawal is on its way to the Hub")
        return " · ".join(parts)

    def as_dict(self) -> dict:
        """Plain JSON values, with `words`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "damaged": list(self.damaged), "words": self.in_words()}


@dataclass(frozen=True)
class Done:
    """What `Sync.once` did: `faces` and `labels` that came, faces that were `removed`; `sent` labels and faces that went,
    `waiting` ones that did not; and the `problem`, a sentence, if there was one."""

    repository: str
    faces: int
    labels: int
    removed: int
    sent: int
    waiting: int
    damaged: tuple[str, ...]
    problem: str | None

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"damaged": list(self.damaged)}

def _clock(moment: str | None) -> str:
    """Hours and minutes here of a time as the tables keep it."""
    if moment is None:
        return "not yet"
    try:
        return dt.datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone().strftime("%H:%M")
    except ValueError:
        return moment
