"""Lines of JSON between copies: what goes out can be read, and what no version writes is refused."""

from __future__ import annotations

import json

import pytest

from labeling.records import BadRecord, consent_name, line, read

UID, HASH = "ab" * 16, "cd" * 32
ITEM = {"kind": "item", "uid": UID, "image": HASH, "width": 112, "height": 112, "box": [0, 0, 1.5, 2], "landmarks": [[1, 2.5]],
        "source": "live", "name": None, "split": None, "group": "clip", "consent": HASH, "added_at": "2026-11-21T08:00:00.000Z"}  # fmt: skip
JUDGEMENT = {"kind": "judgement", "request": "r1", "item": UID, "annotator": "Ada", "what": "label", "label": "fear",
             "second": "surprise", "votes": {"fear": 3}, "undoes": None, "suggested": False, "model": "v1",
             "probabilities": [0.125] * 8, "consent": None, "at": "2026-11-21T08:00:00.000Z"}  # fmt: skip
CONSENT = {"kind": "consent", "code": HASH, "purpose": "tests", "agreed_at": "2026-11-21T08:00:00.000Z"}
TRUST = {"kind": "trust", "contributor": "Ada#0123", "standing": "held", "by": "owner", "at": ""}
GONE = {"kind": "gone", "name": UID, "at": "2026-11-21T08:00:00.000Z"}


@pytest.mark.parametrize("record", [ITEM, JUDGEMENT, CONSENT, TRUST, GONE], ids=lambda one: one["kind"])
def test_what_was_written_is_read_again(record):
    assert read(line(record)) == record and "\n" not in line(record)


def test_a_line_is_the_same_whatever_the_order():
    assert line(dict(reversed(ITEM.items()))) == line(ITEM)


def test_an_undo_and_a_skip_are_sound():
    for what, undoes in (("skip", None), ("undo", "r0")):
        assert read(line({**JUDGEMENT, "what": what, "undoes": undoes, "label": None, "second": None}))["what"] == what


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "{}", '{"kind": "more"}', '{"kind": ["item"]}', "[" * 5000, '"\\ud800"'])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(BadRecord):
        read(text)


@pytest.mark.parametrize(
    ("record", "key", "value"),
    [
        (ITEM, "uid", "AB" * 16), (ITEM, "uid", 7), (ITEM, "image", "../../etc/passwd"), (ITEM, "image", "ab"),
        (ITEM, "width", 0), (ITEM, "width", True), (ITEM, "width", "112"), (ITEM, "box", [0, 0, 1]), (ITEM, "box", [0, 0, 1, "2"]),
        (ITEM, "box", [0, 0, 1, 1e300]), (ITEM, "landmarks", []), (ITEM, "landmarks", [[1, 2, 3]]), (ITEM, "source", None),
        (ITEM, "source", "x" * 3000), (ITEM, "source", "\ud800"), (ITEM, "split", "best"), (ITEM, "consent", "yes"),
        (ITEM, "added_at", "yesterday"), (JUDGEMENT, "request", ""), (JUDGEMENT, "item", HASH), (JUDGEMENT, "annotator", " "),
        (JUDGEMENT, "what", "more"), (JUDGEMENT, "what", "undo"), (JUDGEMENT, "label", None), (JUDGEMENT, "label", "hungry"),
        (JUDGEMENT, "second", "fear"), (JUDGEMENT, "votes", {}), (JUDGEMENT, "votes", {"hungry": 1}), (JUDGEMENT, "votes", {"fear": -1}),
        (JUDGEMENT, "undoes", "r0"), (JUDGEMENT, "suggested", 1), (JUDGEMENT, "probabilities", [1.0]),
        (JUDGEMENT, "consent", "purpose:x"), (CONSENT, "code", "ABCD"), (TRUST, "standing", "best"), (GONE, "name", "x"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_and_named(record, key, value):
    with pytest.raises(BadRecord):
        read(json.dumps({**record, key: value}))
    with pytest.raises(BadRecord, match=f"“{key}” of a {record['kind']}"):
        read(json.dumps({name: one for name, one in record.items() if name != key}))


def test_an_agreement_without_a_code_is_known_by_its_purpose():
    assert consent_name(HASH, "tests") == HASH
    assert consent_name(None, "tests") == consent_name(None, "tests") != consent_name(None, "other")
    assert read(line({**ITEM, "consent": consent_name(None, "tests")}))
