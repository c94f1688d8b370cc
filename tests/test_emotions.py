"""The eight expressions: their order, their names, and the orders of other data sets."""

from __future__ import annotations

import pytest

from fer.emotions import (
    AFFECTNET_ORDER,
    CKPLUS_ORDER,
    CLASSES,
    EXPRESSIONS,
    EXPW_ORDER,
    FER2013_ORDER,
    FERPLUS_COLUMNS,
    RAFDB_ORDER,
    SEVEN_CLASSES,
    SYNONYMS,
    canonical,
    title,
)


def test_the_order_of_the_classes_is_ferplus():
    assert CLASSES == ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
    assert FERPLUS_COLUMNS == (*CLASSES, "unknown", "NF")


def test_the_shipped_model_answers_in_this_order(recognizer):
    assert recognizer.bundle.classes == CLASSES


def test_the_keys_are_one_to_eight_in_order():
    assert [one.key for one in EXPRESSIONS] == list("12345678")


@pytest.mark.parametrize("order", [FER2013_ORDER, EXPW_ORDER, RAFDB_ORDER])
def test_orders_of_seven_hold_all_but_contempt(order):
    assert len(order) == 7 and set(order) == set(SEVEN_CLASSES) == set(CLASSES) - {"contempt"}


@pytest.mark.parametrize("order", [CKPLUS_ORDER, AFFECTNET_ORDER])
def test_orders_of_eight_hold_every_class(order):
    assert len(order) == 8 and set(order) == set(CLASSES)


@pytest.mark.parametrize(
    ("order", "number", "name"),
    [
        (FER2013_ORDER, 0, "anger"),
        (FER2013_ORDER, 3, "happiness"),
        (FER2013_ORDER, 6, "neutral"),
        (CKPLUS_ORDER, 2, "contempt"),
        (CKPLUS_ORDER, 7, "surprise"),
        (RAFDB_ORDER, 4 - 1, "happiness"),
        (RAFDB_ORDER, 7 - 1, "neutral"),
        (AFFECTNET_ORDER, 2, "sadness"),
        (AFFECTNET_ORDER, 7, "contempt"),
    ],
)
def test_numbers_mean_what_the_data_sets_papers_say(order, number, name):
    assert order[number] == name


@pytest.mark.parametrize(
    ("word", "name"),
    [("Happy", "happiness"), (" ANGRY\n", "anger"), ("afraid", "fear"), ("surprised", "surprise"), ("sad", "sadness")],
)
def test_what_people_write_means_a_class(word, name):
    assert canonical(word) == name


def test_every_class_and_every_title_means_itself():
    for one in EXPRESSIONS:
        assert canonical(one.name) == canonical(one.title) == one.name
        assert title(one.name) == one.title
    assert set(SYNONYMS.values()) == set(CLASSES)


@pytest.mark.parametrize("word", ["", "unknown", "NF", "happpy"])
def test_an_unknown_word_is_refused_with_the_known_ones(word):
    with pytest.raises(ValueError, match="neutral, happiness") as caught:
        canonical(word)
    assert word in str(caught.value)
