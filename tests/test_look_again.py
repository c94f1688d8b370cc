"""Doubtful labels in the review queue: asked about before all others, also of whoever gave them, who is told."""

from __future__ import annotations

import numpy as np
import pytest
from label_workspaces import CODE
from queued import add, made_up, read, say

from labeling import queue as module
from labeling.doubts import doubts
from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.labels import ANSWERS, LABELS
from labeling.queue import AGAIN, DOUBTFUL, LEASE_SECONDS, ReviewQueue
from labeling.store import Score


@pytest.fixture(autouse=True)
def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SHARE", 0.0)


def asked(queue: ReviewQueue, annotator: str, count: int = 1) -> list[tuple[int, str]]:
    return [(one.item, one.reason) for one in queue.next(annotator, count)]


def test_doubtful_faces_come_first_in_their_order_and_whoever_labelled_one_is_told(store, queue):
    items = add(store, 8)
    read(store, items)
    say(store, items[6], "Ada")
    say(store, items[2], "Bob")
    queue.look_again([items[6], items[2]])
    found = queue.next("Ada", 4)
    assert [(one.item, one.reason) for one in found[:2]] == [(items[6], AGAIN), (items[2], DOUBTFUL)]
    assert all(one.reason not in (AGAIN, DOUBTFUL) for one in found[2:]) and len(found) == 4
    assert all(one.score == 1.0 for one in found[:2])
    assert asked(queue, "Bob", 2)[0][1] not in (AGAIN, DOUBTFUL), "Ada holds them"


def test_nobody_is_asked_about_one_face_twice_at_once(store, queue):
    items = add(store, 3)
    queue.look_again([items[1]])
    found = [one.item for one in queue.next("Bob", 5)]
    assert found[0] == items[1] and sorted(found) == items


def test_one_that_was_judged_is_asked_about_no_more(store, queue, clock):
    items = add(store, 3)
    for item in items:
        say(store, item, "Ada")
    queue.look_again(items[:2])
    for item in items[:2]:
        assert asked(queue, "Ada") == [(item, AGAIN)]
        say(store, item, "Ada", "fear")
        queue.returned(item, "Ada")
    clock.now += LEASE_SECONDS + 1
    assert asked(queue, "Ada") == []
    assert all(reason not in (AGAIN, DOUBTFUL) for _, reason in asked(queue, "Bob", 3))


def test_one_that_was_handed_out_and_never_judged_comes_first_for_the_next_person(store, queue, clock):
    items = add(store, 3)
    queue.look_again([items[0]])
    assert asked(queue, "Ada") == [(items[0], DOUBTFUL)]
    clock.now += LEASE_SECONDS + 1
    assert asked(queue, "Bob") == [(items[0], DOUBTFUL)]


def test_one_that_is_given_back_comes_first_again(store, queue):
    items = add(store, 2)
    queue.look_again([items[1]])
    asked(queue, "Ada")
    queue.release("Ada")
    assert asked(queue, "Bob") == [(items[1], DOUBTFUL)]


def test_looking_twice_asks_once(store, queue):
    items = add(store, 2)
    queue.look_again(items[:1])
    queue.look_again(item for item in items[:1])
    assert [item for item, reason in asked(queue, "Ada", 2) if reason == DOUBTFUL] == items[:1]


def test_withdrawn_faces_and_those_without_a_picture_are_passed_over(store, queue):
    given = store.contribute(made_up(5), Judgement("r", "Ada", "fear"), CODE, "tests").item
    (item,) = add(store, 1)
    bare = store.contribute(NewItem("live", "no pixels"), Judgement("s", "Ada", "fear"), None, "tests").item
    queue.look_again([given, bare, item, 999])
    store.withdraw(CODE)
    assert asked(queue, "Bob") == [(item, DOUBTFUL)] and asked(queue, "Eve", 5) == []


def test_the_sentence_names_no_expression():
    for sentence in (AGAIN, DOUBTFUL):
        assert not any(word.lower() in sentence.lower() for word in (*LABELS, *(one.title for one in ANSWERS)))


def test_doubts_of_the_store_go_to_the_front_of_the_queue(store, queue):
    items = add(store, 40)
    random = np.random.default_rng(0)
    for number, item in enumerate(items):
        shares = np.full(8, 0.02)
        shares[number % 4] = 0.86
        store.score([Score(item, "v1", shares.astype(np.float32), random.standard_normal(8).astype(np.float32))])
        say(store, item, "Ada", LABELS[number % 4 if item != items[9] else 3])
    votes = queue.votes()
    found = doubts(votes.votes, votes.probabilities)
    assert [int(votes.ids[one.row]) for one in found] == [items[9]]
    queue.look_again(int(votes.ids[one.row]) for one in found)
    assert asked(queue, "Bob", 2)[0] == (items[9], DOUBTFUL)
