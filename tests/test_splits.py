"""Sides of training and test: one rule for labels and for data sets, the same for ever."""

from __future__ import annotations

from collections import Counter

import pytest

from fer.datasets import SPLITS, split_of
from labeling.splits import SIDES, side_of


@pytest.mark.parametrize(("group", "side"), [
    ("", "val"),
    ("clip 1", "train"),
    ("photo:oath/oath-ceremony.jpg", "train"),
    ("Straße", "train"),
    ("person 7", "test"),
    ("person 14", "val"),
    ("person 17", "val"),
    ("person 21", "test"),
    ("person 23", "test"),
])
def test_a_group_stays_where_it_always_was(group, side):
    assert side_of(group) == side


def test_labels_and_data_sets_follow_the_same_rule():
    assert SIDES == SPLITS
    names = [*map("clip {}".format, range(3000)), "", "Ä ö 漢字", "a/b\\c", "x" * 5000]
    assert [side_of(name) for name in names] == [split_of(name) for name in names]


def test_eight_of_ten_groups_are_trained_on_and_one_each_is_held_out():
    counts = Counter(side_of(f"group {number}") for number in range(20_000))
    assert {side: counts[side] / 20_000 for side in SIDES} == pytest.approx({"train": 0.8, "val": 0.1, "test": 0.1}, abs=0.01)
