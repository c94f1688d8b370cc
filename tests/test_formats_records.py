"""A record says what files say, in our words."""

from __future__ import annotations

import pytest

from labeling.formats.records import Record, Said, box_in, json_in, points_in, side_called, time_in, votes_in
from labeling.labels import LABELS


def test_labels_go_by_any_of_their_names():
    said = Said.read(
        " Ada ", "Happy", "Surprised", {"Happy": 3, "not a face": 1, "fear": 0}, "2026-01-02T03:04:05+02:00"
    )
    assert said == Said("Ada", "happiness", "surprise", {"happiness": 3, "NF": 1}, "2026-01-02T01:04:05.000Z")
    assert Said.read(7, "cannot tell") == Said("7", "unknown")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("Ada", "confused"), "“confused” is not a label"), (("", "fear"), "name of 1 to 60 letters"),
        (("a" * 61, "fear"), "name of 1 to 60 letters"), (("Ada", "fear", "fear"), "cannot be the second"),
        (("Ada", "NF", "fear"), "cannot be the second"), (("Ada", "fear", None, {"fear": -1}), "counts from 0"),
        (("Ada", "fear", None, {"fear": 10**12}), "counts from 0"),
        (("Ada", "fear", None, {"x": 1}), "“x” is not a label"),
        (("Ada", "fear", None, [1, 2]), "not counts by label"),
        (("Ada", "fear", None, {"fear": None}), "not counts by label"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_sentence(words, match):
    with pytest.raises(ValueError, match=match) as caught:
        Said.read(*words)
    assert str(caught.value).endswith(".")


def test_the_label_of_a_face_leads_all_votes():
    said = (Said("a", "fear"), Said("b", "surprise"), Said("c", "fear", votes={"surprise": 2, "fear": 2}))
    record = Record("x", None, said)
    assert record.votes() == {"surprise": 3, "fear": 3} and list(record.votes()) == ["surprise", "fear"]
    assert record.label() == "surprise", "the first of equals"
    assert Record("x", None).label() is None


def test_sides_go_by_the_names_that_sets_use():
    names = ("train", "Training", "valid", "validation", "PublicTest", "dev", "test", "PrivateTest", "x", None)
    assert [side_called(name) for name in names] == ["train"] * 2 + ["val"] * 4 + ["test"] * 2 + [None] * 2


@pytest.mark.parametrize("text", ["", None, "yesterday", "21/11/2026", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_cannot_be_read_is_none(text):
    assert time_in(text) is None


def test_label_studios_times_are_read():
    assert time_in("2021-03-09T22:16:08.728353Z") == "2021-03-09T22:16:08.728Z"


@pytest.mark.parametrize(
    "values", [(1, 2, 1, 5), (1, 2, 3), ("a", 1, 2, 3), (0, 0, "nan", 4), (0, 0, "inf", 4), (3, 0, 1, 4)]
)
def test_a_box_that_is_none_is_refused(values):
    with pytest.raises(ValueError):
        box_in(values)


@pytest.mark.parametrize(
    "values", [[(1, 2)] * 4, [(1, 2, 3)] * 5, [1, 2, 3, 4, 5], [("a", 1)] * 5, [(0, float("nan"))] * 5]
)
def test_landmarks_that_are_none_are_refused(values):
    with pytest.raises(ValueError):
        points_in(values)


def test_json_that_is_none_is_refused_in_a_sentence():
    for text in ("{", "[" * 100_000):
        with pytest.raises(ValueError, match=r"is not JSON\.$"):
            json_in(text)


def test_votes_come_in_the_order_of_the_labels():
    assert list(votes_in(dict.fromkeys(reversed(LABELS), 1))) == list(LABELS)
