"""Labels that are probably wrong: which are found, in which order, and the reason in words."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

from fer.emotions import CLASSES
from labeling.doubts import FEW, doubts, quality
from labeling.labels import CANNOT_TELL, LABELS, NOT_A_FACE, title



@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.filterwarnings("ignore", "May not flag all label issues")  # cleanlab, of a class with one face
        yield


def said(truth: np.ndarray, seed: int = 0, sure: float = 0.8) -> np.ndarray:
    """What a good model says of faces that show `truth`: float32 (N, 8)."""
    random = np.random.default_rng(seed)
    shares = (1 - sure) * random.dirichlet(np.ones(8), len(truth))
    shares[np.arange(len(truth)), truth] += sure
    return shares.astype(np.float32)


def voted(labels: np.ndarray, people: int = 1) -> np.ndarray:
    return np.eye(len(LABELS), dtype=np.int32)[labels] * people


def flipped(count: int = 400, wrong: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True classes, labels of which `wrong` differ, and which those are."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 8, count)
    places = random.choice(count, wrong, replace=False)
    labels = truth.copy()
    labels[places] = (truth[places] + random.integers(1, 8, wrong)) % 8
    return truth, labels, places


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_were_turned_wrong_are_found(seed):
    truth, labels, places = flipped(seed=seed)
    found = doubts(voted(labels), said(truth, seed))
    rows = [one.row for one in found]
    assert len(set(places) & set(rows)) >= 0.8 * len(places) and len(set(rows)) == len(rows)
    assert len(set(rows) - set(places)) <= 1, "few that are right"
    assert [one.quality for one in found] == sorted(one.quality for one in found)
    for one in found:
        assert CLASSES.index(one.label) == labels[one.row] and 0 <= one.quality <= 1
    assert all(CLASSES.index(one.likely) == truth[one.row] for one in found if one.row in places)


def test_where_nothing_is_wrong_nothing_is_found():
    truth = np.arange(80) % 8
    assert doubts(voted(truth), said(truth)) == []


def test_the_reason_says_label_and_figures_as_they_are():
    truth, labels, _ = flipped()
    shares = said(truth)
    found = doubts(voted(labels), shares)
    assert found
    for one in found:
        words = re.fullmatch(r"The label is (.+); the model gives that (\d+)% and (.+) (\d+)%\.", one.reason)
        assert words[1] == title(one.label).lower() and words[3] == title(one.likely).lower() != words[1]
        assert int(words[2]) == round(100 * float(shares[one.row, CLASSES.index(one.label)] / shares[one.row].sum(dtype=float)))
        assert int(words[4]) == pytest.approx(100 * shares[one.row].max(), abs=0.6)


@pytest.mark.parametrize("count", [0, 1, FEW - 1])
def test_of_few_faces_nothing_is_said(count):
    truth, labels, _ = flipped(count=max(count, 2), wrong=min(count, 1))
    assert doubts(voted(labels)[:count], said(truth)[:count]) == []


def test_of_one_class_alone_nothing_is_said():
    assert doubts(voted(np.full(40, 3)), said(np.full(40, 5))) == []


@pytest.mark.parametrize("absent", [[0], [7], [2, 4, 6]])
def test_classes_that_nobody_gave_are_no_hindrance(absent):
    truth, labels, places = flipped()
    keep = ~np.isin(labels, absent)
    labels, truth = labels[keep], truth[keep]
    found = doubts(voted(labels), said(truth))
    wrong = set(np.flatnonzero((labels != truth) & ~np.isin(truth, absent)))
    assert len(wrong & {one.row for one in found}) >= 0.6 * len(wrong)
    for one in found:
        assert CLASSES.index(one.label) == labels[one.row] != CLASSES.index(one.likely) == truth[one.row]


def test_a_class_of_one_face_is_no_hindrance():
    truth = np.append(np.arange(60) % 3, 7)
    assert doubts(voted(truth), said(truth)) == []
    labels = np.append(np.arange(60) % 3, 7)
    found = doubts(voted(labels), said(np.append(np.arange(60) % 3, 0)))
    assert {one.row for one in found} <= {60}


def test_faces_that_no_model_read_or_nobody_labelled_or_that_show_no_expression_are_passed_over():
    truth, labels, places = flipped()
    votes, shares = voted(labels), said(truth)
    unread, unlabelled, unsure, no_face = places[:4]
    shares[unread] = np.nan
    votes[unlabelled] = 0
    votes[unsure] = np.eye(len(LABELS), dtype=np.int32)[LABELS.index(CANNOT_TELL)]
    votes[no_face] = np.eye(len(LABELS), dtype=np.int32)[LABELS.index(NOT_A_FACE)]
    rows = {one.row for one in doubts(votes, shares)}
    assert rows.isdisjoint(places[:4]) and len(set(places[4:]) & rows) >= 0.7 * len(places[4:])
    before = votes.copy(), shares.copy()
    doubts(votes, shares)
    np.testing.assert_array_equal(before[0], votes)
    np.testing.assert_array_equal(before[1], shares)


def test_nothing_at_all_gives_nothing():
    assert doubts(np.zeros((0, 10), int), np.zeros((0, 8), np.float32)) == []
    assert doubts(np.zeros((50, 10), int), np.full((50, 8), np.nan, np.float32)) == []


def test_the_label_is_what_most_people_say():
    truth, labels, places = flipped()
    votes = voted(truth, people=5) + voted(labels)  # one of six is wrong
    assert not {one.row for one in doubts(votes, said(truth))} & set(places)


def test_shares_that_are_certain_or_rounded_are_taken():
    truth, labels, places = flipped()
    found = doubts(voted(labels), np.eye(8, dtype=np.float32)[truth])
    assert {one.row for one in found} == set(places) and all(one.quality < 1e-6 for one in found)
    assert {one.row for one in doubts(voted(labels), np.round(said(truth), 2))} & set(places)


def test_quality_is_the_share_that_the_model_gives_the_label():
    truth, labels, _ = flipped()
    shares = said(truth).astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(quality(labels, shares), shares[np.arange(len(labels)), labels], atol=1e-6)
