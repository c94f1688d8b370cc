"""The pool: arrays that follow the store, row by row."""

from __future__ import annotations

import numpy as np
from label_workspaces import CODE
from queued import add, counted, made_up, random_judgements, read, say

from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.labels import LABELS
from labeling.pool import NOT_SEEN, SKIPPED, Pool
from labeling.store import LabelStore, Score


def assert_follows(pool: Pool, store: LabelStore) -> None:
    """Votes and answers are what one counts from the judgements."""
    votes = np.zeros((len(pool), len(LABELS)), int)
    for annotator, said in counted(store).items():
        answers = np.full(len(pool), NOT_SEEN)
        for item, label in said.items():
            row = pool.ids.tolist().index(item)
            answers[row] = SKIPPED if label == "skip" else LABELS.index(label)
            votes[row, answers[row]] += label != "skip"
        assert np.array_equal(pool.answers_of(annotator), answers), annotator
    assert np.array_equal(pool.votes, votes)


def test_an_empty_store_is_an_empty_pool(store):
    pool = Pool(store)
    assert len(pool.catch_up()) == 0 and len(pool) == 0 and pool.votes.shape == (0, 10)
    assert len(pool.answers_of("Ada")) == 0 and len(pool.rows([1, 2])) == 0


def test_faces_stand_by_id_with_or_without_pixels_and_twins_are_known(store):
    first, again = store.add([made_up(1), made_up(1, pixel=9)])
    store.contribute(NewItem("photo", "p"), Judgement("r", "Ada", "fear"), CODE, "training")
    pool = Pool(store)
    assert pool.catch_up().tolist() == [0, 1, 2]
    assert pool.ids.tolist() == [first, again, first + 2]
    assert pool.pixels.tolist() == [True, True, False] and pool.twin.tolist() == [False, True, False]


def test_catching_up_reads_only_what_is_new(store):
    items = add(store, 5)
    pool = Pool(store)
    pool.catch_up()
    assert len(pool.catch_up()) == 0
    say(store, items[3], "Ada")
    assert pool.catch_up().tolist() == [3]
    read(store, items[1:3])
    assert pool.catch_up().tolist() == [1, 2]
    add(store, 2, first=5)
    assert pool.catch_up().tolist() == [5, 6]
    assert len(pool.catch_up()) == 0


def test_votes_and_answers_follow_whatever_people_say(store):
    items = add(store, 12)
    pool = Pool(store)
    for round_ in range(6):
        random_judgements(store, items, 20, seed=round_)
        pool.catch_up()
        assert_follows(pool, store)
    fresh = Pool(store)
    fresh.catch_up()
    assert_follows(fresh, store)


def test_an_undone_label_is_as_if_never_given_and_the_one_before_stands_again(store):
    (item,) = add(store, 1)
    pool = Pool(store)
    say(store, item, "Ada", "fear")
    second = say(store, item, "Ada", "surprise")
    pool.catch_up()
    assert pool.answers_of("Ada").tolist() == [LABELS.index("surprise")] and pool.votes.sum() == 1
    store.undo(second)
    pool.catch_up()
    assert pool.answers_of("Ada").tolist() == [LABELS.index("fear")] and pool.votes.sum() == 1


def test_an_import_brings_the_votes_of_several_people(store):
    items = add(store, 2)
    votes = {"happiness": 6, "neutral": 3, LABELS[8]: 1}
    say(store, items[0], "FER+", "happiness", votes=votes)
    say(store, items[0], "Ada", "neutral")
    pool = Pool(store)
    pool.catch_up()
    assert {name: count for name, count in zip(LABELS, pool.votes[0].tolist(), strict=True) if count} == {**votes, "neutral": 4}


def test_a_new_reading_takes_the_place_of_the_old(store):
    items = add(store, 3)
    read(store, items)
    pool = Pool(store)
    pool.catch_up()
    uniform = np.full(8, 0.125, np.float32)
    store.score([Score(items[1], "v2", uniform, np.full(16, 2.0, np.float32))])
    assert pool.catch_up().tolist() == [1]
    assert np.array_equal(pool.probabilities[1], uniform) and (pool.features[1] == 2).all()
    assert np.isfinite(pool.features).all()


def test_features_of_another_network_are_not_mixed_with_the_old(store):
    items = add(store, 3)
    read(store, items, width=16)
    pool = Pool(store)
    pool.catch_up()
    read(store, items[:1], model="v2", width=24)
    pool.catch_up()
    assert pool.features.shape == (3, 24) and np.isfinite(pool.features).all(axis=1).tolist() == [True, False, False]
    assert np.isfinite(pool.probabilities).all()


def test_faces_no_model_has_read_are_nan(store):
    items = add(store, 3)
    read(store, items[:1])
    pool = Pool(store)
    pool.catch_up()
    assert np.isnan(pool.probabilities[1:]).all() and np.isnan(pool.features[1:]).all()


def test_a_withdrawal_takes_the_face_and_what_was_said_about_it(store):
    items = add(store, 3)
    given = store.contribute(made_up(77), Judgement("r", "Ada", "fear"), CODE, "training").item
    say(store, items[0], "Bob", "anger")
    say(store, given, "Bob", "fear")
    read(store, [*items, given])
    pool = Pool(store)
    pool.catch_up()
    assert len(pool) == 4 and pool.votes.sum() == 3
    store.withdraw(CODE)
    assert pool.catch_up().tolist() == [0, 1, 2]
    assert pool.ids.tolist() == items and "Ada" not in pool.answers
    assert_follows(pool, store)
    assert np.isfinite(pool.probabilities).all()


def test_rows_leaves_out_what_is_not_here(store):
    items = add(store, 4)
    pool = Pool(store)
    pool.catch_up()
    assert pool.rows([items[2], 999, 0, items[0]]).tolist() == [2, 0]
    assert pool.rows([]).tolist() == []
