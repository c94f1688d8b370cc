"""Rows as lines of JSON, as copies of the app send them to each other: what goes out, and whether what came in is sound.

A line names faces by their uid, judgements by their request, and agreements by what is kept of their code (one
without a code by a hash of its purpose), so that it means the same on every copy.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sqlite3
from collections.abc import Callable
from datetime import datetime

import numpy as np

from labeling.judgements import Judgement
from labeling.labels import LABELS

VERSION = 1  # of the lines; a batch of a later one is left to later versions of this program
_UID, _HASH = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{64}")
_LONGEST = 2000  # letters of a name, a source, a purpose
_STANDINGS = ("new", "held", "trusted", "owner")


class BadRecord(ValueError):
    """A line that this version cannot have written; the message says which and why."""


# --- going out ----------------------------------------------------------------------------------


def consent_name(code: str | None, purpose: str) -> str:
    """What an agreement is called in the lines of other kinds."""
    return code or "purpose:" + hashlib.sha256(purpose.encode()).hexdigest()


def of_consent(row: sqlite3.Row) -> dict:
    """The line of an agreement."""
    return {"kind": "consent", "code": row["code"], "purpose": row["purpose"], "agreed_at": row["agreed_at"]}


def of_item(row: sqlite3.Row, consent: str | None) -> dict:
    """The line of a face, given under `consent`."""
    return {
        "kind": "item", "uid": row["uid"], "image": row["image"], "width": row["width"], "height": row["height"],
        "box": row["box"] and json.loads(row["box"]), "landmarks": row["landmarks"] and json.loads(row["landmarks"]),
        "source": row["source"], "name": row["name"], "split": row["split"], "group": row["group"], "consent": consent,
        "added_at": row["added_at"],
    }  # fmt: skip


def of_judgement(row: sqlite3.Row, consent: str | None) -> dict:
    """The line of a judgement; `row` also has the `uid` of its item and the request it takes back as `undone`."""
    said = row["probabilities"]
    return {
        "kind": "judgement", "request": row["request"], "item": row["uid"], "annotator": row["annotator"],
        "what": row["kind"], "label": row["label"], "second": row["second"],
        "votes": row["votes"] and json.loads(row["votes"]), "undoes": row["undone"], "suggested": bool(row["suggested"]),
        "model": row["model"], "probabilities": None if said is None else np.frombuffer(said, np.float32).tolist(),
        "consent": consent, "at": row["at"],
    }  # fmt: skip


def of_trust(row: sqlite3.Row) -> dict:
    """The line of how a contributor stands."""
    return {"kind": "trust", "contributor": row["contributor"], "standing": row["standing"], "by": row["by"], "at": row["at"]}


def of_gone(name: str, at: str) -> dict:
    """The line of something that was withdrawn."""
    return {"kind": "gone", "name": name, "at": at}


def line(record: dict) -> str:
    """`record` as it is written: the same record is the same line."""
    return json.dumps(dict(sorted(record.items())), ensure_ascii=False, allow_nan=False)


# --- coming in ----------------------------------------------------------------------------------


def read(text: str) -> dict:
    """The record in a line. Raises BadRecord for what no version up to this one writes."""
    try:
        record = json.loads(text)
        check = _CHECKS[record["kind"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadRecord(f"a line is no record ({type(error).__name__})") from error
    for key, sound in check.items():
        if key not in record or not sound(record[key]):
            raise BadRecord(f"“{key}” of a {record['kind']} is missing or wrong")
    if record["kind"] == "judgement":
        _check_judgement(record)
    return record


def _check_judgement(record: dict) -> None:
    takes_back, says = record["undoes"] is not None, record["label"] is not None
    if (record["what"] == "undo") != takes_back or (record["what"] == "label") != says:
        raise BadRecord("a judgement contradicts itself")
    try:
        Judgement(record["request"], record["annotator"], record["label"], record["second"])
    except ValueError as error:
        raise BadRecord(str(error)) from error


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and "\0" not in value and _encodes(value)


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a pair: SQLite would refuse it
        return False
    return True


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e9


def _size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1_000_000


def _time(value: object) -> bool:
    try:
        return _text(value) and datetime.fromisoformat(value.replace("Z", "+00:00")) is not None
    except ValueError:
        return False


def _named(pattern: re.Pattern) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _none_or(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


def _numbers(count: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and len(value) == count and all(map(_number, value))


def _points(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 100 and all(map(_numbers(2), value))


def _votes(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(
        one in LABELS and isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 1_000_000
        for one, count in value.items()
    )  # fmt: skip


def _consent(value: object) -> bool:
    return _text(value) and _HASH.fullmatch(value.removeprefix("purpose:")) is not None


_CHECKS: dict[str, dict[str, Callable[[object], bool]]] = {
    "consent": {"code": _none_or(_named(_HASH)), "purpose": _text, "agreed_at": _text},
    "item": {
        "uid": _named(_UID), "image": _none_or(_named(_HASH)), "width": _none_or(_size), "height": _none_or(_size),
        "box": _none_or(_numbers(4)), "landmarks": _none_or(_points), "source": _text, "name": _none_or(_text),
        "split": lambda value: value in (None, "train", "val", "test"), "group": _text, "consent": _none_or(_consent),
        "added_at": _time,
    },
    "judgement": {
        "request": lambda value: _text(value) and value != "", "item": _named(_UID), "annotator": _text,
        "what": lambda value: value in ("label", "skip", "undo"), "label": _none_or(_text), "second": _none_or(_text),
        "votes": _none_or(_votes), "undoes": _none_or(_text), "suggested": lambda value: isinstance(value, bool),
        "model": _none_or(_text), "probabilities": _none_or(_numbers(8)), "consent": _none_or(_consent), "at": _text,
    },
    "trust": {"contributor": _text, "standing": lambda value: value in _STANDINGS, "by": _text, "at": _text},
    "gone": {"name": lambda value: _named(_UID)(value) or _named(_HASH)(value), "at": _time},
}  # fmt: skip
