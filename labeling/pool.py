"""All faces and what is said about them, as arrays in memory: `Pool`, which follows the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from labeling.labels import LABELS
from labeling.store import LabelStore

SKIPPED, NOT_SEEN = -1, -2  # in place of a label's number
_CHUNK = 500  # items a query; SQLite takes 999 parameters on old systems
_NUMBERS = {name: number for number, name in enumerate(LABELS)}


class Pool:
    """One row per item, by id. `catch_up` reads only what is new; not safe for threads by itself.

    `ids` int64 (N,); `pixels` bool (N,): its picture is kept; `twin` bool (N,): a near-duplicate of an earlier
    one; `probabilities` float32 (N, 8) and `features` float32 (N, D), NaN where no model has read the item;
    `votes` int32 (N, 10): how many people now give each of `labels.LABELS`; `answers`: by annotator int8 (N,),
    the number of the label that stands, `SKIPPED` or `NOT_SEEN`.
    """

    def __init__(self, store: LabelStore) -> None:
        self._store = store
        self.age = 0  # how often it started afresh
        self._forget()

    def __len__(self) -> int:
        return len(self.ids)

    def catch_up(self) -> np.ndarray:
        """Follow the store; the rows that changed, ints. All of them after a withdrawal, which starts afresh."""
        with self._store.database.reading() as connection:
            withdrawn = connection.execute("SELECT count(*) FROM withdrawn").fetchone()[0]
            if withdrawn != self._withdrawn:
                self._forget()
                self._withdrawn = withdrawn
                self.age += 1
            changed = [self._add_items(connection), self._read_judgements(connection), self._read_scores(connection)]
        return np.unique(np.concatenate(changed))

    def rows(self, items: Sequence[int]) -> np.ndarray:
        """Where `items` stand; those that are not here are left out."""
        places = np.searchsorted(self.ids, items)
        inside = places < len(self.ids)
        return places[inside][self.ids[places[inside]] == np.asarray(items, dtype=np.int64)[inside]]

    def answers_of(self, annotator: str) -> np.ndarray:
        """int8 (N,): what `annotator` said about each item."""
        found = self.answers.get(annotator)
        return np.full(len(self), NOT_SEEN, dtype=np.int8) if found is None else found

    def _forget(self) -> None:
        self.ids = np.zeros(0, dtype=np.int64)
        self.pixels, self.twin = np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
        self.probabilities = np.zeros((0, 8), dtype=np.float32)
        self.features = np.zeros((0, 0), dtype=np.float32)
        self.votes = np.zeros((0, len(LABELS)), dtype=np.int32)
        self.answers: dict[str, np.ndarray] = {}
        self.importers: set[str] = set()  # annotators who stand for several people
        self._withdrawn = self._item = self._judgement = self._revision = 0

    def _add_items(self, connection: sqlite3.Connection) -> np.ndarray:
        query = "SELECT id, image IS NOT NULL, twin IS NOT NULL FROM items WHERE id > ? ORDER BY id"
        rows = [tuple(row) for row in connection.execute(query, (self._item,))]
        if not rows:
            return np.zeros(0, dtype=np.int64)
        before, fresh = len(self.ids), np.array(rows, dtype=np.int64)
        self._item = int(fresh[-1, 0])
        self.ids = np.concatenate([self.ids, fresh[:, 0]])
        self.pixels = np.concatenate([self.pixels, fresh[:, 1] > 0])
        self.twin = np.concatenate([self.twin, fresh[:, 2] > 0])
        self.probabilities = _longer(self.probabilities, len(fresh), np.nan)
        self.features = _longer(self.features, len(fresh), np.nan)
        self.votes = _longer(self.votes, len(fresh), 0)
        self.answers = {name: _longer(said, len(fresh), NOT_SEEN) for name, said in self.answers.items()}
        return np.arange(before, len(self.ids))

    def _read_judgements(self, connection: sqlite3.Connection) -> np.ndarray:
        query = "SELECT id, item FROM judgements WHERE id > ?"
        fresh = [tuple(row) for row in connection.execute(query, (self._judgement,))]
        if not fresh:
            return np.zeros(0, dtype=np.int64)
        first = self._judgement == 0
        self._judgement = max(number for number, _ in fresh)
        touched = self.rows(np.unique([item for _, item in fresh]))
        self.votes[touched] = 0
        for said in self.answers.values():
            said[touched] = NOT_SEEN
        for item, annotator, label, votes in _standing(connection, None if first else self.ids[touched].tolist()):
            self._count(item, annotator, label, votes)
        return touched

    def _count(self, item: int, annotator: str, label: str | None, votes: str | None) -> None:
        row = np.searchsorted(self.ids, item)
        if annotator not in self.answers:
            self.answers[annotator] = np.full(len(self), NOT_SEEN, dtype=np.int8)
        self.answers[annotator][row] = SKIPPED if label is None else _NUMBERS[label]
        if votes:
            self.importers.add(annotator)
            for name, count in json.loads(votes).items():
                self.votes[row, _NUMBERS[name]] += count
        elif label:
            self.votes[row, _NUMBERS[label]] += 1

    def _read_scores(self, connection: sqlite3.Connection) -> np.ndarray:
        query = "SELECT revision, item, probabilities, features FROM scores WHERE revision > ? ORDER BY revision"
        rows = connection.execute(query, (self._revision,)).fetchall()
        if not rows:
            return np.zeros(0, dtype=np.int64)
        self._revision = rows[-1][0]
        places = self.rows([row[1] for row in rows])
        probabilities = np.frombuffer(b"".join(row[2] for row in rows), np.float32).reshape(len(rows), -1)
        width = len(rows[-1][3]) // 2
        if self.features.shape[1] != width:  # a network with other features: the old ones say nothing beside them
            self.features = np.full((len(self), width), np.nan, dtype=np.float32)
        alike = np.array([len(row[3]) // 2 == width for row in rows])
        features = np.frombuffer(b"".join(row[3] for row in rows if len(row[3]) // 2 == width), np.float16)
        self.probabilities[places] = probabilities
        self.features[places[alike]] = features.reshape(-1, width)
        return places


def _standing(connection: sqlite3.Connection, items: list[int] | None) -> Iterator[tuple]:
    """(item, annotator, label, votes) of what stands on `items`; on all when None."""
    query = "SELECT item, annotator, label, votes FROM standing"
    if items is None:
        yield from map(tuple, connection.execute(query))
        return
    for start in range(0, len(items), _CHUNK):
        chunk = items[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        yield from map(tuple, connection.execute(f"{query} WHERE item IN ({marks})", chunk))


def _longer(array: np.ndarray, rows: int, value: float) -> np.ndarray:
    """`array` with `rows` more rows, each entry `value`."""
    return np.concatenate([array, np.full((rows, *array.shape[1:]), value, dtype=array.dtype)])
