"""What can be said about a face: names, titles, keys."""

from __future__ import annotations

import pytest

from fer.emotions import CLASSES, FERPLUS_COLUMNS
from labeling.labels import ANSWERS, CANNOT_TELL, LABELS, NOT_A_FACE, label_called, title


def test_the_labels_are_the_columns_of_ferplus_in_their_order():
    assert LABELS == FERPLUS_COLUMNS and LABELS[:8] == CLASSES
    assert LABELS[8:] == (CANNOT_TELL, NOT_A_FACE) == ("unknown", "NF")


def test_every_label_has_one_button_in_the_same_order():
    assert tuple(one.name for one in ANSWERS) == LABELS
    assert len({one.title for one in ANSWERS}) == 10


def test_the_keys_are_the_digits_one_to_nine_then_zero():
    assert [one.code for one in ANSWERS] == [f"Digit{digit}" for digit in (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)]


@pytest.mark.parametrize(
    ("name", "label"),
    [("happy", "happiness"), (" Joy ", "happiness"), ("ANGER", "anger"), ("cannot tell", CANNOT_TELL),
     ("cannot_tell", CANNOT_TELL), ("Unsure", CANNOT_TELL), ("not_a_face", NOT_A_FACE), ("no face", NOT_A_FACE)],
)  # fmt: skip
def test_a_label_is_found_under_its_other_names(name, label):
    assert label_called(name) == label


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_found_under_its_own_name_and_its_title(label):
    assert label_called(label) == label_called(title(label)) == label


@pytest.mark.parametrize("name", ["", "hungry", None, 3, "x" * 5000])
def test_what_cannot_be_said_is_refused_with_what_can(name):
    with pytest.raises(ValueError, match="is not a label; use one of neutral, .*, cannot tell, not a face.$") as caught:
        label_called(name)
    assert len(str(caught.value)) < 250


def test_titles_are_words_for_the_screen():
    assert [title(one) for one in ("happiness", CANNOT_TELL, NOT_A_FACE)] == ["Happiness", "Cannot tell", "Not a face"]
