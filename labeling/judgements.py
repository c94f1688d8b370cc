"""What people say: a `Judgement` comes in, an `Annotation` is kept, and one of each person's counts now."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labeling.labels import CANNOT_TELL, LABELS, NOT_A_FACE
from labeling.schema import in_words, now

LONGEST_NAME = 60  # letters of an annotator's name
LONGEST_REQUEST = 200
_UNDO = "undo:"


@dataclass(frozen=True)
class Judgement:
    """What somebody says about an item; None as `label` skips it.

    `request` is made up by the caller and names this judgement for good: sent twice, it counts once.
    `suggested` says whether the person had seen the model's answer; None lets the store find out.
    `probabilities` (8,) are what `model` said; None takes the item's score, if it has one.
    """

    request: str
    annotator: str
    label: str | None
    second: str | None = None  # an expression that is also shown
    suggested: bool | None = None
    model: str | None = None
    probabilities: Sequence[float] | None = None
    votes: dict[str, int] | None = None  # of several people, where an import brings them; `label` leads them
    at: str | None = None  # UTC, of one that was made elsewhere; None: now

    def __post_init__(self) -> None:
        if not 0 < len(self.annotator.strip()) <= LONGEST_NAME:
            raise ValueError(f"A name of 1 to {LONGEST_NAME} letters is needed; say who labels.")
        if self.label is not None and self.label not in LABELS:
            raise ValueError(f"“{self.label}” is not a label; use one of {', '.join(LABELS)}.")
        if self.second is not None and self.label is None:
            raise ValueError("A second expression needs a first one; give both.")
        if self.second is not None and (self.second not in LABELS or _no_expression(self.label, self.second)):
            raise ValueError(f"“{self.second}” cannot be the second expression beside “{self.label}”.")


@dataclass(frozen=True)
class Annotation:
    """A judgement as it is kept. `kind` is "label", "skip" or "undo" (then of the judgement `undoes`)."""

    id: int
    request: str
    item: int
    annotator: str
    kind: str
    label: str | None
    second: str | None
    votes: dict[str, int] | None
    undoes: int | None
    suggested: bool
    model: str | None
    probabilities: tuple[float, ...] | None
    at: str  # UTC


def undoing(request: str) -> str:
    """The request of the judgement that takes back `request`."""
    return f"{_UNDO}{request}"


def check_request(request: str) -> None:
    """Raise ValueError, in one sentence, for a request id that a caller may not use."""
    if not 0 < len(request) <= LONGEST_REQUEST or request.startswith(_UNDO):
        raise ValueError(
            f"A request id of 1 to {LONGEST_REQUEST} letters, not beginning with “{_UNDO}”, is needed; make up one for each label."
        )


def find_annotation(connection: sqlite3.Connection, request: str) -> Annotation | None:
    """The judgement made as `request`, if there is one."""
    row = connection.execute("SELECT * FROM judgements WHERE request = ?", (request,)).fetchone()
    return row and annotation_of(row)


def insert(
    connection: sqlite3.Connection, item: int, judgement: Judgement, consent: int | None, undoes: int | None = None
) -> Annotation:
    """Add a judgement on `item`, and set what stands of this person on it."""
    annotator = judgement.annotator.strip()
    model, probabilities = _reading(connection, item, judgement)
    suggested = judgement.suggested
    if suggested is None:
        suggested = _answered_before(connection, item, annotator) and model is not None
    kind = "undo" if undoes else "label" if judgement.label else "skip"
    connection.execute(
        "INSERT INTO judgements (request, item, annotator, kind, label, second, votes, undoes, suggested, model, "
        "probabilities, consent, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (judgement.request, item, annotator, kind, judgement.label, judgement.second,
         judgement.votes and json.dumps(judgement.votes), undoes, suggested, model, probabilities, consent,
         _after_all(connection, item, annotator, judgement.at or now())),
    )  # fmt: skip
    settle(connection, item, annotator)
    return find_annotation(connection, judgement.request)


def annotation_of(row: sqlite3.Row) -> Annotation:
    """The judgement in a row of the table."""
    given = row["probabilities"]
    return Annotation(
        row["id"], row["request"], row["item"], row["annotator"], row["kind"], row["label"], row["second"],
        row["votes"] and json.loads(row["votes"]), row["undoes"], bool(row["suggested"]), row["model"],
        None if given is None else tuple(np.frombuffer(given, np.float32).tolist()), row["at"],
    )  # fmt: skip


def _no_expression(*labels: str | None) -> bool:
    return labels[0] == labels[1] or any(one in (None, CANNOT_TELL, NOT_A_FACE) for one in labels)


def _reading(connection: sqlite3.Connection, item: int, judgement: Judgement) -> tuple[str | None, bytes | None]:
    """Model version and probabilities to keep with a judgement."""
    if judgement.probabilities is not None:
        return judgement.model, np.asarray(judgement.probabilities, np.float32).tobytes()
    row = connection.execute("SELECT model, probabilities FROM scores WHERE item = ?", (item,)).fetchone()
    return (row["model"], row["probabilities"]) if row else (None, None)


def _answered_before(connection: sqlite3.Connection, item: int, annotator: str) -> bool:
    """Whether the person labelled the item before, and so was shown what the model says."""
    query = "SELECT 1 FROM judgements WHERE item = ? AND annotator = ? AND kind = 'label'"
    return connection.execute(query, (item, annotator)).fetchone() is not None


def _after_all(connection: sqlite3.Connection, item: int, annotator: str, at: str) -> str:
    """`at`, or a little after the person's newest judgement on `item`: times say which is the last, on every copy of the app."""
    query = "SELECT max(at) FROM judgements WHERE item = ? AND annotator = ?"
    (newest,) = connection.execute(query, (item, annotator)).fetchone()
    if newest is None or at > newest:
        return at
    try:
        return in_words(dt.datetime.fromisoformat(newest.replace("Z", "+00:00")) + dt.timedelta(milliseconds=1))
    except ValueError:  # a time in words of its own, as somebody's file had it
        return at


def settle(connection: sqlite3.Connection, item: int, annotator: str) -> None:
    """What stands is the person's last judgement that was not taken back: by its time, so that all copies agree."""
    last = connection.execute(
        "SELECT id, label, votes FROM judgements AS j WHERE item = ? AND annotator = ? AND kind <> 'undo' "
        "AND NOT EXISTS (SELECT 1 FROM judgements WHERE undoes = j.id) ORDER BY at DESC, request DESC LIMIT 1", (item, annotator)
    ).fetchone()  # fmt: skip
    if last is None:
        connection.execute("DELETE FROM standing WHERE item = ? AND annotator = ?", (item, annotator))
        return
    connection.execute(
        "INSERT OR REPLACE INTO standing (item, annotator, judgement, label, votes) VALUES (?, ?, ?, ?, ?)",
        (item, annotator, last["id"], last["label"], last["votes"]),
    )
