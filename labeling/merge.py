"""What other copies sent, put into the store of this one: `apply` a batch, in any order, once or often.

Faces are known by their uid, or by being the same picture under the same agreement; judgements by their request.
What stands of one person on one face follows from the times, so every copy that has read the same batches agrees.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from labeling import consents, outbox, trust
from labeling.batches import Batch, DamagedBatch
from labeling.fingerprints import fingerprint
from labeling.items import Catalogue, NewItem
from labeling.judgements import settle
from labeling.records import consent_name, line, read
from labeling.schema import now
from labeling.store import LabelStore


@dataclass(frozen=True)
class Merged:
    """What was new in batches: `faces`, `labels` (also skips and what was taken back), and faces that were `removed`."""

    faces: int = 0
    labels: int = 0
    removed: int = 0

    def __add__(self, other: "Merged") -> "Merged":
        return Merged(self.faces + other.faces, self.labels + other.labels, self.removed + other.removed)


def apply(store: LabelStore, name: str, sha256: str, batch: Batch) -> Merged:
    """Keep what is new in `batch`, the file `name` on the Hub, and remove what it says was withdrawn.

    All of it is on disk when this returns, or nothing. Raises StoreError, and DamagedBatch for a picture that is none.
    """
    with store.database.reading() as connection:
        fresh = [one for one in batch.records if one["kind"] == "item" and _item(connection, one["uid"]) is None]
    try:
        marks = {one["image"]: fingerprint(batch.pictures[one["image"]]) for one in fresh if one["image"]}
    except ValueError as error:
        raise DamagedBatch("a picture in it cannot be read") from error
    with store.database.writing() as connection:
        merged = _Merge(store, connection, name, sha256, marks).all(batch)
    if merged.removed:
        store.tidy()
    return merged


class _Merge:
    """One batch inside its transaction."""

    def __init__(
        self, store: LabelStore, connection: sqlite3.Connection, name: str, sha256: str, marks: Mapping[str, tuple[int, int]]
    ) -> None:
        self._store, self._connection, self._marks = store, connection, marks
        self._faces = self._labels = self._removed = 0
        self._catalogue: Catalogue | None = None
        self._agreements: dict[str, int] = {}
        outbox.sent(connection, name, sha256, ())
        outbox.arrived(connection, [name])
        (self._file,) = connection.execute("SELECT id FROM files WHERE name = ?", (name,)).fetchone()
        _number_afresh(connection)

    def all(self, batch: Batch) -> Merged:
        for one in batch.records:
            if one["kind"] == "gone":
                self._gone(one)
        gone = {row["name"]: row["at"] for row in self._connection.execute("SELECT name, at FROM gone")}
        if batch.withdrawn(gone):
            self._spoiled(batch, gone)
            batch = batch.without(gone)
        self._store.images.put_all(batch.pictures[name] for name in self._marks if name in batch.pictures)
        for one in batch.records:
            if one["kind"] == "consent":
                self._consent(one)
        for kind, keep in (("item", self._face), ("judgement", self._judgement), ("trust", self._trust)):
            for one in batch.records:
                if one["kind"] == kind:
                    keep(one)
        return Merged(self._faces, self._labels, self._removed)

    # --- withdrawn ------------------------------------------------------------------------------

    def _gone(self, record: dict) -> None:
        """Another copy knows that something was withdrawn: it goes here too."""
        self._connection.execute(
            "INSERT INTO gone (name, at, told) VALUES (?, ?, 1) "
            "ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at), told = 1", (record["name"], record["at"])
        )  # fmt: skip
        (number,) = self._connection.execute("SELECT id FROM gone WHERE name = ?", (record["name"],)).fetchone()
        self._carry("gone", number)
        if len(record["name"]) == 32:
            item = _item(self._connection, record["name"])
            self._removed += 0 if item is None else consents.remove(self._connection, [item])
            return
        for row in self._connection.execute("SELECT id, code, agreed_at FROM consents WHERE code IS NOT NULL").fetchall():
            if consents.mark_of(row["code"]) == record["name"] and row["agreed_at"] <= record["at"]:
                self._removed += max(1, consents.end(self._connection, row["id"]))
        for row in self._connection.execute("SELECT id, contributor, at FROM trust WHERE contributor LIKE '%#%'").fetchall():
            if consents.mark_of(row["contributor"][-16:]) == record["name"] and row["at"] <= record["at"]:
                self._connection.execute("DELETE FROM trust WHERE id = ?", (row["id"],))

    def _spoiled(self, batch: Batch, gone: Mapping[str, str]) -> None:
        """The batch holds what was withdrawn, from a copy that had not heard of it: the file must be replaced."""
        faces = [(one["uid"], now()) for one in batch.withdrawn(gone) if one["kind"] == "item"]
        self._connection.executemany("INSERT OR IGNORE INTO gone (name, at, told) VALUES (?, ?, 1)", faces)
        self._connection.execute("UPDATE files SET tainted = 1 WHERE id = ?", (self._file,))

    # --- kept -----------------------------------------------------------------------------------

    def _carry(self, kind: str, row: int) -> None:
        """The row is on the Hub: it need not go there."""
        self._connection.execute("INSERT OR IGNORE INTO carried (kind, row, file) VALUES (?, ?, ?)", (kind, row, self._file))
        self._connection.execute("DELETE FROM outbox WHERE kind = ? AND row = ?", (kind, row))

    def _consent(self, record: dict) -> None:
        row = self._connection.execute(
            "SELECT id FROM consents WHERE code IS ? AND (code IS NOT NULL OR purpose = ?)", (record["code"], record["purpose"])
        ).fetchone()
        values = (record["code"], record["purpose"], record["agreed_at"])
        number = row["id"] if row else self._connection.execute(
            "INSERT INTO consents (code, purpose, agreed_at) VALUES (?, ?, ?)", values
        ).lastrowid  # fmt: skip
        self._carry("consent", number)

    def _agreement(self, name: str | None) -> int | None:
        """The number here of the agreement called `name`."""
        if name is None:
            return None
        if name not in self._agreements:
            rows = self._connection.execute("SELECT * FROM consents").fetchall()
            self._agreements = {consent_name(row["code"], row["purpose"]): row["id"] for row in rows}
        if name not in self._agreements:
            raise DamagedBatch("it names an agreement that it does not bring")
        return self._agreements[name]

    def _face(self, record: dict) -> None:
        item = self._connection.execute("SELECT id FROM items WHERE uid = ?", (record["uid"],)).fetchone()
        if item:
            self._carry("item", item["id"])
            return
        consent, image = self._agreement(record["consent"]), record["image"]
        query = "SELECT id FROM items WHERE image = ? AND consent IS ?"
        same = self._connection.execute(query, (image, consent)).fetchone()
        if same:
            self._connection.execute("INSERT OR IGNORE INTO aliases (uid, item) VALUES (?, ?)", (record["uid"], same["id"]))
            self._carry("alias", same["id"])
        else:
            self._carry("item", self._insert(record, consent))
            self._faces += 1
        self._adopt(record["uid"])

    def _insert(self, record: dict, consent: int | None) -> int:
        if self._catalogue is None:
            self._catalogue = Catalogue(self._connection)
        face = NewItem(
            record["source"], record["group"], None, record["width"], record["height"], record["box"], record["landmarks"],
            record["name"], record["split"],
        )  # fmt: skip
        marks = self._marks[record["image"]] if record["image"] else None
        added = (face, record["image"], marks, consent, record["uid"], record["added_at"])
        return self._catalogue.insert(self._connection, *added)

    def _judgement(self, record: dict) -> None:
        item = _item(self._connection, record["item"])
        if item is None:
            self._orphan(record["item"], record)
            return
        undoes = None
        if record["what"] == "undo":
            undoes = self._undone(record, item)
            if undoes is None:
                self._orphan(f"request:{record['undoes']}", record)
                return
        number = self._known(record, item)
        if number is None:
            number = self._say(record, item, undoes)
            settle(self._connection, item, record["annotator"].strip())
            self._labels += 1
        self._carry("judgement", number)
        self._adopt(f"request:{record['request']}")

    def _undone(self, record: dict, item: int) -> int | None:
        """The judgement that an undo takes back; it may bear another request here, see `_known`."""
        query = """SELECT id FROM judgements WHERE item = ? AND annotator = ? AND kind <> 'undo'
                   AND (request = ? OR substr(request, 1, length(?)) = ?) ORDER BY request = ? DESC, id LIMIT 1"""
        said, other = record["undoes"], f"{record['undoes']}~"
        row = self._connection.execute(query, (item, record["annotator"].strip(), said, other, other, said)).fetchone()
        return row and row["id"]

    def _known(self, record: dict, item: int) -> int | None:
        """The judgement that is here already; a request that two copies were given for different labels is told apart."""
        said = (item, record["annotator"].strip(), record["what"], record["label"], record["second"])
        query = "SELECT id, item, annotator, kind, label, second FROM judgements WHERE request = ?"
        row = self._connection.execute(query, (record["request"],)).fetchone()
        if row is not None and tuple(row)[1:] != said:
            record["request"] += "~" + hashlib.sha256(line(record).encode()).hexdigest()[:16]
            row = self._connection.execute(query, (record["request"],)).fetchone()
        return row and row["id"]

    def _say(self, record: dict, item: int, undoes: int | None) -> int:
        said = record["probabilities"]
        return self._connection.execute(
            "INSERT INTO judgements (request, item, annotator, kind, label, second, votes, undoes, suggested, model, "
            "probabilities, consent, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (record["request"], item, record["annotator"].strip(), record["what"], record["label"], record["second"],
             record["votes"] and json.dumps(record["votes"]), undoes, record["suggested"], record["model"],
             None if said is None else np.asarray(said, np.float32).tobytes(), self._agreement(record["consent"]), record["at"]),
        ).lastrowid  # fmt: skip

    def _trust(self, record: dict) -> None:
        trust.put(self._connection, record["contributor"], record["standing"], record["by"], record["at"])
        row = self._connection.execute("SELECT * FROM trust WHERE contributor = ?", (record["contributor"],)).fetchone()
        if (row["standing"], row["at"]) == (record["standing"], record["at"]):
            self._carry("trust", row["id"])

    # --- out of order ---------------------------------------------------------------------------

    def _orphan(self, needs: str, record: dict) -> None:
        """Keep a judgement until what it is about arrives."""
        query = "INSERT OR IGNORE INTO orphans (needs, record, file) VALUES (?, ?, ?)"
        self._connection.execute(query, (needs, line(record), self._file))

    def _adopt(self, arrived: str) -> None:
        """What waited for `arrived` can be kept."""
        rows = self._connection.execute("SELECT record, file FROM orphans WHERE needs = ?", (arrived,)).fetchall()
        self._connection.execute("DELETE FROM orphans WHERE needs = ?", (arrived,))
        file = self._file
        for row in rows:
            self._file = row["file"]
            self._judgement(read(row["record"]))
        self._file = file


def _item(connection: sqlite3.Connection, uid: str) -> int | None:
    """The number here of the face that some copy calls `uid`."""
    query = "SELECT id FROM items WHERE uid = ? UNION ALL SELECT item FROM aliases WHERE uid = ?"
    row = connection.execute(query, (uid, uid)).fetchone()
    return row and row[0]


def _number_afresh(connection: sqlite3.Connection) -> None:
    """Let numbers of faces in an empty workspace begin where no earlier one's did: a page that was open when the disk was
    wiped must not label another face under the number it remembers."""
    if connection.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'items'").fetchone() is None:
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('items', ?)", (int(time.time() * 1000),))
