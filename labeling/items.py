"""Faces as rows: `Item`, what comes to be kept as one, and `Catalogue`, which knows what is already there."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labeling.database import StoreError
from labeling.fingerprints import nearest
from labeling.schema import now


class UnknownItem(StoreError):
    """The face or the judgement asked for is not here: withdrawn, or never was."""


@dataclass(frozen=True)
class Item:
    """One face. `box` (left, top, right, bottom) and five `landmarks` (x, y) are in pixels of the image."""

    id: int
    image: str | None  # SHA-256 of the PNG; None: label and scores only
    width: int | None
    height: int | None
    box: tuple[float, ...] | None
    landmarks: tuple[tuple[float, float], ...] | None  # None: a ready-made crop, the box is the face
    source: str  # photo, live, api, or the name of an import
    group: str  # one clip, person or photo
    twin: int | None  # the item this one is a near-duplicate of
    added_at: str  # UTC
    name: str | None = None  # of the file it came from, inside its set
    split: str | None = None  # train, val or test where its set said so


@dataclass(frozen=True)
class NewItem:
    """A face to be kept; `png` None keeps no pixels of it."""

    source: str
    group: str
    png: bytes | None = None
    width: int | None = None
    height: int | None = None
    box: Sequence[float] | None = None
    landmarks: Sequence[Sequence[float]] | None = None
    name: str | None = None
    split: str | None = None


class Catalogue:
    """The fingerprints of all items with pixels, kept up while items are added."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        query = 'SELECT id, fingerprint, twin, "group" FROM items WHERE fingerprint IS NOT NULL ORDER BY id'
        rows = connection.execute(query).fetchall()
        self._marks = np.array([row["fingerprint"] for row in rows], dtype=np.int64)
        self._firsts = [(row["twin"] or row["id"], row["group"]) for row in rows]

    def __len__(self) -> int:
        return len(self._firsts)

    def add(
        self, connection: sqlite3.Connection, item: NewItem, image: str | None, marks: tuple[int, int] | None,
        consent: int | None,
    ) -> int:  # fmt: skip
        """Insert a row for `item`, whose picture is the file `image` with the fingerprints `marks`; its id.

        The id of the earlier item where the same picture is kept under the same consent; one that comes without
        consent (an import, perhaps of what was once exported here) is any earlier one, so that a withdrawal leaves no
        second copy. A near-duplicate joins the group of the first of its kind, so that the two never part between training and test.
        """
        same = connection.execute(
            "SELECT id FROM items WHERE image = ? AND (? IS NULL OR consent = ?) ORDER BY id LIMIT 1",
            (image, consent, consent),
        ).fetchone()
        return same["id"] if same else self.insert(connection, item, image, marks, consent, None, now())

    def insert(
        self, connection: sqlite3.Connection, item: NewItem, image: str | None, marks: tuple[int, int] | None,
        consent: int | None, uid: str | None, added_at: str,
    ) -> int:  # fmt: skip
        """As `add`, where it is known not to be here; `uid` None gives it a name of its own."""
        twin, group = (marks and self._first_like(marks)) or (None, item.group)
        mark = marks and marks[0]
        cursor = connection.execute(
            'INSERT INTO items (image, width, height, box, landmarks, fingerprint, twin, source, "group", '
            "name, split, consent, added_at, uid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (image, item.width, item.height, _json(item.box), _json(item.landmarks), mark, twin, item.source, group,
             item.name, item.split, consent, added_at, uid or secrets.token_hex(16)),
        )  # fmt: skip
        if mark is not None:
            self._remember(mark, twin or cursor.lastrowid, group)
        return cursor.lastrowid

    def _first_like(self, marks: tuple[int, int]) -> tuple[int, str] | None:
        """The item that a picture with `marks` is a near-duplicate of, and its group."""
        index = nearest(marks, self._marks[: len(self._firsts)])
        return None if index is None else self._firsts[index]

    def _remember(self, mark: int, first: int, group: str) -> None:
        if len(self._marks) == len(self._firsts):
            self._marks = np.concatenate([self._marks, np.zeros(max(1024, len(self._marks)), dtype=np.int64)])
        self._marks[len(self._firsts)] = mark
        self._firsts.append((first, group))


def item_of(row: sqlite3.Row) -> Item:
    """The item in a row of the table."""
    return Item(
        row["id"], row["image"], row["width"], row["height"], row["box"] and tuple(json.loads(row["box"])),
        row["landmarks"] and tuple((x, y) for x, y in json.loads(row["landmarks"])),
        row["source"], row["group"], row["twin"], row["added_at"], row["name"], row["split"],
    )  # fmt: skip


def find_item(connection: sqlite3.Connection, number: int) -> Item:
    """The item `number`. Raises UnknownItem."""
    row = connection.execute("SELECT * FROM items WHERE id = ?", (number,)).fetchone()
    if row is None:
        raise UnknownItem(f"There is no face {number} here; it was withdrawn, or never was.")
    return item_of(row)


def _json(values: Sequence | None) -> str | None:
    return None if values is None else json.dumps(np.round(np.asarray(values, dtype=float), 3).tolist())
