"""What people said about faces, and the faces themselves: `LabelStore`.

Judgements are only ever added. A face that comes with pixels is a picture file and a row; one that was
given as "label and scores only" is a row alone. Files land before the row that names them, and go after it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labeling import consents, judgements
from labeling.database import Database, StoreError, sentences
from labeling.fingerprints import fingerprint
from labeling.images import ImageFiles
from labeling.items import Catalogue, Item, NewItem, UnknownItem, find_item, item_of
from labeling.judgements import Annotation, Judgement, annotation_of, check_request, find_annotation, undoing
from labeling.schema import backups, now

CHUNK = 500  # faces a transaction of a large import, at most
CHUNK_BYTES, CHUNK_SECONDS = 32_000_000, 5.0  # and pictures held in memory, and work that a kill may cost


@dataclass(frozen=True)
class Score:
    """How a model reads an item: `probabilities` float32 (8,), `features` float32 (D,), any D of that model."""

    item: int
    model: str
    probabilities: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Brought:
    """A part of an import that is on disk: the numbers of its `items`, how many are `fresh`, new judgements."""

    items: tuple[int, ...]
    fresh: int
    judged: int


class LabelStore:
    """The folder ``labels`` of a workspace; safe to share between threads and with other processes.

    Every method raises StoreError, in one sentence, when the disk does not obey; what a method returned
    is on disk.
    """

    def __init__(self, folder: Path) -> None:
        self.database = Database(Path(folder))
        self.images = ImageFiles(Path(folder) / "images")
        try:
            self.tidy()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the files."""
        self.database.close()

    # --- faces ----------------------------------------------------------------------------------

    def add(self, items: Iterable[NewItem]) -> list[int]:
        """Keep faces; their ids, that of an earlier item where the same picture is already here."""
        return [number for part in self.bring((one, ()) for one in items) for number in part.items]

    def bring(self, faces: Iterable[tuple[NewItem, Sequence[Judgement]]]) -> Iterator["Brought"]:
        """Keep many faces with what was said about them, some hundred at a time; each part is on disk when it is given.

        A face whose picture is already here gets the judgements whose requests are new; so a broken import is
        simply begun again.
        """
        for chunk in _chunks(faces):
            items = [item for item, _ in chunk]
            marks = [None if one.png is None else fingerprint(one.png) for one in items]
            with self.database.writing() as connection:
                known = Catalogue(connection)  # others may have added or withdrawn faces since the last part
                numbers, fresh, judged = [], 0, 0
                for (item, said), name, mark in zip(chunk, self._keep(items), marks, strict=True):
                    before = len(known)
                    numbers.append(known.add(connection, item, name, mark, None))
                    fresh += len(known) - before
                    for judgement in said:
                        check_request(judgement.request)
                        if find_annotation(connection, judgement.request) is None:
                            judgements.insert(connection, numbers[-1], judgement, None)
                            judged += 1
            yield Brought(tuple(numbers), fresh, judged)

    def item(self, number: int) -> Item:
        """The item `number`. Raises UnknownItem."""
        with self.database.reading() as connection:
            return find_item(connection, number)

    def items(self, numbers: Sequence[int]) -> list[Item]:
        """Those of the items `numbers` that are here, in their order."""
        marks = ", ".join("?" * len(numbers))
        with self.database.reading() as connection:
            rows = connection.execute(f"SELECT * FROM items WHERE id IN ({marks})", tuple(numbers))
            found = {row["id"]: item_of(row) for row in rows}
        return [found[number] for number in numbers if number in found]

    def picture(self, item: Item) -> bytes:
        """The PNG of `item`. Raises UnknownItem where it has none, StoreError where it was altered."""
        if item.image is None:
            raise UnknownItem("Of that face only the label was kept, no picture.")
        try:
            with sentences():
                return self.images.get(item.image)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise UnknownItem("The picture of that face is gone; it was withdrawn, or its file was removed.") from error
            raise
        except ValueError as error:
            raise StoreError(f"{error}.") from error

    def newest(self) -> int:
        """The number of the newest face; 0 when there is none."""
        with self.database.reading() as connection:
            return connection.execute("SELECT ifnull(max(id), 0) FROM items").fetchone()[0]

    # --- judgements -----------------------------------------------------------------------------

    def judge(self, item: int, judgement: Judgement) -> Annotation:
        """Add a judgement on `item`; the earlier one where its request is already known. Raises UnknownItem."""
        check_request(judgement.request)
        with self.database.writing() as connection:
            known = find_annotation(connection, judgement.request)
            if known:
                return known
            find_item(connection, item)
            return judgements.insert(connection, item, judgement, None)

    def contribute(self, item: NewItem, judgement: Judgement, code: str | None, purpose: str) -> Annotation:
        """Keep a face and a first judgement on it together; the earlier one where the request is known.

        The person agreed to `purpose`, and can withdraw with `code`; None where agreement was taken elsewhere.
        """
        check_request(judgement.request)
        mark = None if item.png is None else fingerprint(item.png)
        with self.database.writing() as connection:
            known = find_annotation(connection, judgement.request)
            if known:
                return known
            consent = consents.agree(connection, code, purpose)
            (name,) = self._keep([item])
            number = Catalogue(connection).add(connection, item, name, mark, consent)
            return judgements.insert(connection, number, judgement, consent)

    def undo(self, request: str) -> Annotation:
        """Take back the judgement made as `request`: a new judgement says so; the same again adds nothing.

        Raises UnknownItem where there is no such judgement.
        """
        with self.database.writing() as connection:
            done = find_annotation(connection, undoing(request))
            if done:
                return done
            taken = find_annotation(connection, request)
            if taken is None or taken.kind == "undo":
                raise UnknownItem("There is no such label to take back; it was withdrawn, or never arrived.")
            back = Judgement(undoing(request), taken.annotator, None, suggested=taken.suggested)
            return judgements.insert(connection, taken.item, back, None, undoes=taken.id)

    def annotation(self, request: str) -> Annotation | None:
        """The judgement made as `request`, if there is one."""
        with self.database.reading() as connection:
            return find_annotation(connection, request)

    def annotations(self, item: int) -> list[Annotation]:
        """All judgements on `item`, oldest first."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT * FROM judgements WHERE item = ? ORDER BY id", (item,))
            return [annotation_of(row) for row in rows]

    def said_by_others(self, item: int, annotator: str) -> dict[str, int]:
        """How many people but `annotator` now give each label to `item`."""
        query = "SELECT label, count(*) FROM standing WHERE item = ? AND annotator <> ? AND label IS NOT NULL GROUP BY label"
        with self.database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query, (item, annotator))}

    def labelled_by(self, annotator: str, before_last: int = 0) -> list[int]:
        """The items that `annotator` has labelled, oldest first, without the `before_last` newest."""
        query = "SELECT item FROM standing WHERE annotator = ? AND label IS NOT NULL ORDER BY judgement"
        with self.database.reading() as connection:
            items = [row["item"] for row in connection.execute(query, (annotator,))]
        return items[: max(0, len(items) - before_last)]

    # --- what models say ------------------------------------------------------------------------

    def unscored(self, model: str, limit: int) -> list[Item]:
        """Up to `limit` items with pixels that `model` has not read, newest first."""
        query = """SELECT * FROM items WHERE image IS NOT NULL AND NOT EXISTS
                   (SELECT 1 FROM scores WHERE scores.item = items.id AND model = ?) ORDER BY id DESC LIMIT ?"""
        with self.database.reading() as connection:
            return [item_of(row) for row in connection.execute(query, (model, limit))]

    def read_by(self) -> dict[str, list[int]]:
        """The items that each model has read, whose reading is the newest."""
        found: dict[str, list[int]] = {}
        with self.database.reading() as connection:
            for model, item in connection.execute("SELECT model, item FROM scores"):
                found.setdefault(model, []).append(item)
        return found

    def score(self, scores: Iterable[Score]) -> None:
        """Keep what a model says, in place of what one said before; items withdrawn meanwhile are passed over."""
        rows = [
            (one.model, np.asarray(one.probabilities, np.float32).tobytes(),
             np.asarray(one.features, np.float16).tobytes(), now(), one.item)
            for one in scores
        ]  # fmt: skip
        query = """INSERT OR REPLACE INTO scores (model, probabilities, features, at, item)
                   SELECT ?, ?, ?, ?, id FROM items WHERE id = ?"""
        with self.database.writing() as connection:
            connection.executemany(query, rows)

    def scored(self, item: int) -> Score | None:
        """What a model said last about `item`, if one read it."""
        with self.database.reading() as connection:
            row = connection.execute("SELECT * FROM scores WHERE item = ?", (item,)).fetchone()
        return None if row is None else Score(
            item, row["model"], np.frombuffer(row["probabilities"], np.float32),
            np.frombuffer(row["features"], np.float16).astype(np.float32),
        )  # fmt: skip

    # --- agreement and withdrawal ---------------------------------------------------------------

    def agree(self, code: str, purpose: str) -> None:
        """Record, with the date, that whoever holds `code` agreed to `purpose`. Raises ValueError for a short code."""
        with self.database.writing() as connection:
            consents.agree(connection, code, purpose)

    def agreed(self, code: str) -> bool:
        """Whether an agreement is on record under `code`; not any more once it was withdrawn."""
        with self.database.reading() as connection:
            query = "SELECT 1 FROM consents WHERE code = ?"
            return connection.execute(query, (consents.code_hash(code),)).fetchone() is not None

    def contributed(self, code: str, request: str) -> bool:
        """Whether the judgement made as `request` was contributed under `code`."""
        query = """SELECT 1 FROM judgements JOIN consents ON consents.id = judgements.consent
                   WHERE request = ? AND code = ?"""
        with self.database.reading() as connection:
            return connection.execute(query, (request, consents.code_hash(code))).fetchone() is not None

    def withdraw(self, code: str) -> int:
        """Remove for good what was contributed under `code`: faces, scores, all judgements on them; how many faces.

        What remains is the number and time of each. Where that was cut off, the same again removes the last traces.
        Raises UnknownItem where nothing is kept under `code`.
        """
        unfinished = self.tidy()
        try:
            with self.database.writing() as connection:
                gone = consents.withdraw(connection, code)
        except UnknownItem:
            if unfinished:
                return 0
            raise
        self.tidy()
        return gone

    def withdrawn(self) -> set[int]:
        """The numbers of all faces that were ever withdrawn."""
        with self.database.reading() as connection:
            return {row["item"] for row in connection.execute("SELECT item FROM withdrawn")}

    def tidy(self) -> bool:
        """Remove what a withdrawal leaves: picture files, backups, traces in the database; whether there was any.

        Goes on where a process was killed half-way.
        """
        with self.database.reading() as connection:
            if connection.execute("SELECT 1 FROM untidy").fetchone() is None:
                return False
        self._remove_doomed()
        with sentences():
            for path in backups(self.database.path):
                path.unlink(missing_ok=True)
        self.database.rebuild()
        self.database.fold()
        with self.database.writing() as connection:
            connection.execute("DELETE FROM untidy")
        return True

    # --- inside ---------------------------------------------------------------------------------

    def _keep(self, items: Sequence[NewItem]) -> Iterator[str | None]:
        """Put the pictures of `items` on disk; their names. Inside a transaction: nothing is removed meanwhile."""
        names = iter(self.images.put_all(one.png for one in items if one.png is not None))
        return (None if one.png is None else next(names) for one in items)

    def _remove_doomed(self) -> None:
        with self.database.writing() as connection:
            connection.execute("DELETE FROM doomed WHERE image IN (SELECT image FROM items)")  # contributed again
            self.images.delete(row["image"] for row in connection.execute("SELECT image FROM doomed").fetchall())
            connection.execute("DELETE FROM doomed")

    def sweep(self) -> int:
        """Remove pictures that no row names, left by a process that was killed; how many."""
        with self.database.writing() as connection:  # nothing is added meanwhile
            used = {row["image"] for row in connection.execute("SELECT image FROM items WHERE image IS NOT NULL")}
            return self.images.sweep(used)


def _chunks(faces: Iterable[tuple[NewItem, Sequence[Judgement]]]) -> Iterator[list[tuple]]:
    """Parts of `faces`: where photos are cut into faces, a part is kept every few seconds."""
    chunk: list[tuple] = []
    size, begun = 0, time.monotonic()
    for one in faces:
        chunk.append(one)
        size += len(one[0].png or b"")
        if len(chunk) == CHUNK or size > CHUNK_BYTES or time.monotonic() - begun > CHUNK_SECONDS:
            yield chunk
            chunk, size, begun = [], 0, time.monotonic()
    if chunk:
        yield chunk
