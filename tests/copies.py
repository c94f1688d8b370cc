"""Copies of the app that share one repository of a local Hub: what the tests of the sync begin with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from label_workspaces import face, says
from local_hub import TOKEN, LocalHub

from fer.hub import LabelRepository
from labeling.items import NewItem
from labeling.judgements import Annotation
from labeling.outbox import Sizes
from labeling.store import LabelStore
from labeling.sync import Pace, Sync

REPOSITORY = "tester/labels"
# As in the app, but some hundred times as fast.
QUICK = Pace(first=0.3, apart=0.4, an_hour=100_000, pull=0.3, look=0.02, retry=0.05, longest=0.4, moved=0.05, marker=1.0)


class Copy:
    """One app: its workspace, its labels and their sync."""

    def __init__(self, folder: Path, hub: LocalHub, pace: Pace = QUICK, token: str = TOKEN) -> None:
        self.folder, self.hub = folder, hub
        self.store = LabelStore(folder / "labels")
        self.repository = LabelRepository(REPOSITORY, token, hub.address)
        self.sync = Sync(self.store, self.repository, folder, pace)

    def close(self) -> None:
        self.sync.stop(10)
        self.store.close()

    def gives(self, index: int, request: str, code: str | None = None, **more) -> Annotation:
        """Somebody contributes the face `index` with a label, under `code`."""
        item = NewItem("live", f"clip {index}", face(index), 112, 112, (0, 0, 112, 112), ((1, 2), (3, 4)))
        return self.store.contribute(item, says(request, **more), code, "tests")

    def number(self, request: str) -> int:
        """The face that the judgement `request` is about."""
        return self.store.annotation(request).item

    def said(self) -> set[tuple]:
        """All judgements, as they should be the same on all copies; somebody may take back the same one on two at two times."""
        query = """SELECT j.request, i.image, j.annotator, j.kind, j.label, j.second, j.votes,
                   CASE WHEN j.kind <> 'undo' THEN j.at END, u.request AS undone
                   FROM judgements AS j JOIN items AS i ON i.id = j.item LEFT JOIN judgements AS u ON u.id = j.undoes"""
        with self.store.database.reading() as connection:
            return {tuple(row) for row in connection.execute(query)}

    def stands(self) -> set[tuple]:
        """What counts: (picture, consent, person, label, request)."""
        query = """SELECT i.image, c.code, s.annotator, s.label, j.request FROM standing AS s JOIN items AS i ON i.id = s.item
                   JOIN judgements AS j ON j.id = s.judgement LEFT JOIN consents AS c ON c.id = i.consent"""
        with self.store.database.reading() as connection:
            return {tuple(row) for row in connection.execute(query)}

    def faces(self) -> int:
        with self.store.database.reading() as connection:
            return connection.execute("SELECT count(*) FROM items").fetchone()[0]

    def uid(self, request: str) -> str:
        """What the copies call the face of the judgement `request`."""
        with self.store.database.reading() as connection:
            query = "SELECT uid FROM items JOIN judgements ON judgements.item = items.id WHERE request = ?"
            return connection.execute(query, (request,)).fetchone()[0]


def batches(hub: LocalHub) -> dict[str, bytes]:
    """The batches that are on the Hub."""
    return {name: content for name, content in hub.files(REPOSITORY).items() if name.startswith("batches/")}


def soon(is_so: Callable[[], object], seconds: float = 20.0) -> object:
    """Wait until `is_so`; what it says then. Fails where it does not come to that."""
    until = time.monotonic() + seconds
    while True:
        answer = is_so()
        if answer:
            return answer
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


def small(**sizes: int) -> Pace:
    """The pace of tests with other sizes of batches."""
    return Pace(**{**{name: getattr(QUICK, name) for name in QUICK.__dataclass_fields__}, "sizes": Sizes(**sizes)})
