"""Whether there is enough to learn from: counted as the snapshot and the trainer count, and said in sentences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from label_workspaces import CODE, assert_one_sentence, says
from queued import made_up, random_judgements, say

from fer import comparison, datasets, finetune
from fer.emotions import CLASSES, EXPRESSIONS
from labeling.items import NewItem
from labeling.readiness import HELPS, TO_LEARN, TO_TELL, readiness
from labeling.snapshot import take
from labeling.splits import SIDES
from labeling.store import LabelStore


def on(side: str, seed: int, **more) -> NewItem:
    """A face of noise in a group of its own, on a side of its set's choice."""
    return replace(made_up(seed), split=side, **more)


def labelled(store: LabelStore, side: str, label: str, count: int, first: int = 0) -> list[int]:
    items = store.add(on(side, seed) for seed in range(first, first + count))
    for item in items:
        say(store, item, "Ada", label)
    return items


def enough(store: LabelStore) -> None:
    labelled(store, "train", "fear", TO_LEARN - 1)
    labelled(store, "train", "anger", 1, first=100)


# --- the same figures as everywhere -------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_what_is_counted_is_what_a_trainer_is_given(store, tmp_path, seed):
    random = np.random.default_rng(seed)
    items = store.add(on(SIDES[random.integers(3)], number) for number in range(90))
    random_judgements(store, items, 260, seed)
    counted = readiness(store)
    source = f"snapshot:{take(store, tmp_path / 'snapshots').folder}"
    train = datasets.load(source, "train").for_training()
    held_out = [datasets.load(source, side).for_evaluation() for side in ("val", "test")]
    # A tie among the eight counts for the first of them, as in the trainer's own argmax.
    learn = np.bincount(train.targets.argmax(axis=1), minlength=len(CLASSES))
    test = np.bincount(np.concatenate([part.labels for part in held_out]), minlength=len(CLASSES))
    assert list(counted.learn.values()) == learn.tolist() and list(counted.learn) == list(CLASSES)
    assert list(counted.held_out.values()) == test.tolist()
    assert (counted.to_learn, counted.to_test) == (len(train), sum(map(len, held_out)))
    assert counted.no_expression and counted.undecided, "nothing was tried"
    everything = sum(len(datasets.load(source, side)) for side in SIDES)
    assert counted.to_learn + counted.to_test + counted.no_expression + counted.undecided == everything


def test_the_numbers_that_are_asked_for_are_the_gates_and_the_trainers():
    assert TO_TELL == comparison.ENOUGH and TO_LEARN == finetune.FEWEST


def test_near_copies_of_held_out_faces_are_said_to_be_left_out(store):
    first, copy, other = store.add([on("test", 1), replace(made_up(1, pixel=1), split="train"), on("train", 2)])
    for item in (first, copy, other):
        say(store, item, "Ada", "fear")
    counted = readiness(store)
    assert (counted.left_out, counted.learn["fear"], counted.held_out["fear"], counted.groups) == (1, 1, 1, 2)


def test_a_clip_is_one_group(store):
    for item in store.add(replace(on("train", seed), group="clip") for seed in range(5)):
        say(store, item, "Ada", "fear")
    assert (readiness(store).groups, readiness(store).to_learn) == (1, 5)


def test_labels_without_a_picture_and_withdrawn_faces_do_not_count(store):
    store.contribute(on("train", 1), says("given", "fear"), CODE, "tests")
    store.contribute(NewItem("live", "clip"), says("scores only", "fear"), CODE, "tests")
    assert readiness(store).learn["fear"] == 1
    store.withdraw(CODE)
    assert readiness(store).to_learn == 0


# --- in words -----------------------------------------------------------------------------------


def test_nothing_at_all_is_a_sentence(store):
    counted = readiness(store)
    assert not counted.ready and counted.words.startswith("No face has an expression as its label yet")
    assert counted.missing == () and list(counted.as_dict()["learn"].values()) == [0] * 8


def test_labels_that_are_no_expression_are_nothing_to_learn_from(store):
    labelled(store, "train", "NF", 30)
    labelled(store, "train", "unknown", 30, first=100)
    counted = readiness(store)
    assert (counted.no_expression, counted.ready, counted.to_learn) == (60, False, 0)


@pytest.mark.parametrize("count", [1, 7, TO_LEARN - 1])
def test_too_few_is_a_sentence_that_says_how_many_more(store, count):
    labelled(store, "train", "fear", count)
    words = readiness(store).words
    faces = "1 face" if count == 1 else f"{count} faces"
    assert words == f"Too few to learn from: {faces}, and a run needs {TO_LEARN}; label {TO_LEARN - count} more."


def test_held_out_faces_alone_are_nothing_to_learn_from(store):
    labelled(store, "test", "fear", 70)
    assert readiness(store).words.startswith("Too few to learn from: 0 faces")


def test_one_class_only_is_a_sentence(store):
    labelled(store, "train", "happiness", TO_LEARN + 5)
    counted = readiness(store)
    assert not counted.ready
    assert counted.words == "All faces to learn from show happiness; a run needs two expressions, so label faces that show another."


def test_enough_can_start_and_says_whether_it_can_be_told(store):
    enough(store)
    counted = readiness(store)
    assert counted.ready and counted.words == (
        f"A run can start and learns from {TO_LEARN} faces; 0 held out are too few to tell whether it helps: that takes {TO_TELL}.")
    labelled(store, "val", "fear", TO_TELL - 1, first=200)
    assert "59 held out are too few" in readiness(store).words
    labelled(store, "test", "fear", 1, first=300)
    assert readiness(store).words == f"A run can start: it learns from {TO_LEARN} faces and is tested on {TO_TELL} that it never sees."


def test_one_face_less_cannot_start(store):
    labelled(store, "train", "fear", TO_LEARN - 2)
    labelled(store, "train", "anger", 1, first=100)
    assert not readiness(store).ready


def test_what_is_missing_of_expressions_that_were_begun(store):
    labelled(store, "train", "fear", HELPS - 12)
    labelled(store, "train", "anger", HELPS, first=100)
    labelled(store, "test", "disgust", 3, first=200)
    counted = readiness(store)
    assert counted.missing == (("fear", 12),)
    assert counted.as_dict()["missing_words"] == ["12 more fear before this helps."]


def test_every_sentence_is_one(store):
    said = [readiness(store).words]
    for number, label in enumerate(("fear", "fear", "anger", "anger", "anger")):
        for side in SIDES:
            labelled(store, side, label, 8 if number == 0 else 15, first=100 * number + 20 * SIDES.index(side))
            said.append(readiness(store).words)
    assert len({words.partition(" ")[0] for words in said}) == 4, said
    for words in said:
        assert_one_sentence(ValueError(words))
    assert [one.name for one in EXPRESSIONS] == list(readiness(store).learn)
