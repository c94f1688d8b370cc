"""Agreement: Krippendorff's alpha, and how far one person agrees with the others."""

from __future__ import annotations

from collections import Counter

import krippendorff
import numpy as np
import pytest

from labeling import agreement
from labeling.agreement import alpha, with_others

NONE = -2


def votes_of(table: np.ndarray, labels: int = 10) -> np.ndarray:
    """Votes (N, labels) of a `table` (people, N) of label numbers, negative where a person said nothing."""
    return np.stack([(table == label).sum(axis=0) for label in range(labels)], axis=1)


def people(seed: int, count: int = 5, items: int = 60, missing: float = 0.4, noise: float = 0.3) -> np.ndarray:
    """A table (people, items) of what people said who mostly see the same."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 10, items)
    table = np.where(random.random((count, items)) < noise, random.integers(0, 10, (count, items)), truth)
    return np.where(random.random((count, items)) < missing, NONE, table)


def test_alpha_of_the_published_example_is_the_published_value():
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", data C: four observers, nominal alpha 0.743.
    o = NONE
    table = np.array([
        [1, 2, 3, 3, 2, 1, 4, 1, 2, o, o, o],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, o, 3],
        [o, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, o],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, o],
    ])  # fmt: skip
    assert alpha(votes_of(table)) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_the_raw_answers(seed):
    table = people(seed)
    raw = np.where(table < 0, np.nan, table.astype(float))
    expected = krippendorff.alpha(reliability_data=raw, level_of_measurement="nominal", value_domain=list(range(10)))
    assert alpha(votes_of(table)) == pytest.approx(expected)


def test_alpha_ends_at_one_is_nought_by_chance_and_negative_for_contradiction():
    same = np.tile(np.random.default_rng(0).integers(0, 10, 300), (3, 1))
    assert alpha(votes_of(same)) == 1.0
    assert abs(alpha(votes_of(people(1, items=3000, noise=1.0)))) < 0.03
    assert alpha(votes_of(np.array([[0, 0, 1, 1], [1, 1, 0, 0]]))) < 0


def test_alpha_says_nothing_where_nothing_can_be_said():
    assert alpha(np.zeros((0, 10), int)) is None
    assert alpha(np.eye(10, dtype=int)) is None, "one vote each"
    assert alpha(votes_of(np.zeros((3, 5), int))) is None, "one label only"


def test_items_with_one_vote_change_nothing():
    votes = votes_of(people(2))
    assert alpha(np.concatenate([votes, np.eye(10, dtype=int)])) == alpha(votes)


def test_a_large_set_is_sampled_evenly(monkeypatch):
    votes = votes_of(people(3, items=4001, missing=0.0))
    whole = alpha(votes)
    monkeypatch.setattr(agreement, "SAMPLE", 1000)
    taken = []
    real = krippendorff.alpha
    monkeypatch.setattr(krippendorff, "alpha", lambda value_counts, **more: taken.append(value_counts) or real(value_counts=value_counts, **more))
    assert alpha(votes) == pytest.approx(whole, abs=0.03)
    assert len(taken[0]) <= 1000 and np.array_equal(taken[0][1], votes[5])


# --- one person and the others ------------------------------------------------------------------


def by_hand(table: np.ndarray, one: int) -> tuple[float | None, int]:
    """The mean share of others who said the same, item by item."""
    shares = []
    for item, mine in enumerate(table[one]):
        others = Counter(said for person, said in enumerate(table[:, item]) if person != one and said >= 0)
        if mine >= 0 and others:
            shares.append(others[mine] / others.total())
    return (sum(shares) / len(shares), len(shares)) if shares else (None, 0)


@pytest.mark.parametrize("seed", range(5))
def test_own_agreement_is_what_one_counts_by_hand(seed):
    table = people(seed)
    for one in range(len(table)):
        share, on = with_others(table[one].astype(np.int8), votes_of(table))
        assert on == by_hand(table, one)[1] and share == pytest.approx(by_hand(table, one)[0])


def test_whoever_labels_alone_agrees_with_nobody_yet():
    alone = np.array([3, NONE, -1], np.int8)
    assert with_others(alone, np.eye(10, dtype=int)[[3, 4, 5]]) == (None, 0)
    assert with_others(np.zeros(0, np.int8), np.zeros((0, 10), int)) == (None, 0)


def test_what_a_person_skipped_or_never_saw_does_not_count():
    votes = np.zeros((3, 10), int)
    votes[:, 1] = 3
    assert with_others(np.array([1, NONE, -1], np.int8), votes) == (1.0, 1)


def test_the_votes_of_an_import_are_others_to_a_person():
    votes = np.zeros((1, 10), int)
    votes[0, [1, 4]] = 7, 2 + 1  # an import of nine people, and the person's own vote for the fourth
    share, on = with_others(np.array([4], np.int8), votes)
    assert on == 1 and share == pytest.approx(2 / 9)
