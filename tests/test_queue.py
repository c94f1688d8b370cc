"""The review queue: who is asked about which face, and what the counts say."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from label_workspaces import CODE
from queued import add, counted, made_up, random_judgements, read, say

from labeling import queue as module
from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.labels import LABELS, title
from labeling.queue import CHECK, LEASE_SECONDS, ReviewQueue
from labeling.reasons import MOST, REASONS, WANTED
from labeling.store import LabelStore

ALL = 1000  # more than any test has


@pytest.fixture(autouse=True)
def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces shown again on purpose come by chance; only their own tests ask for them."""
    monkeypatch.setattr(module, "CHECK_SHARE", 0.0)


def asked(queue: ReviewQueue, annotator: str, count: int = 1) -> list[int]:
    return [one.item for one in queue.next(annotator, count)]


def answer(store: LabelStore, queue: ReviewQueue, item: int, annotator: str, label: str | None = "anger") -> str:
    """As the app does it."""
    request = say(store, item, annotator, label)
    queue.returned(item, annotator)
    return request


def offered(queue: ReviewQueue, annotator: str) -> set[int]:
    """All that `annotator` could be asked now; nothing stays held."""
    found = asked(queue, annotator, ALL)
    queue.release(annotator)
    return set(found)


def wait_for(happened, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


# --- who is asked what --------------------------------------------------------------------------


def test_an_empty_store_has_nothing_to_ask(queue):
    assert queue.next("Ada", 5) == [] and queue.waiting("Ada") == 0


def test_a_person_is_asked_about_every_face_once(store, queue):
    items = add(store, 30)
    seen = []
    while found := asked(queue, "Ada"):
        seen += found
        answer(store, queue, found[0], "Ada")
    assert sorted(seen) == items


def test_without_an_answer_the_next_face_is_another_one(store, queue):
    items = add(store, 10)
    assert sorted(asked(queue, "Ada", 4) + asked(queue, "Ada", 4) + asked(queue, "Ada", 4)) == items


def test_two_people_never_hold_the_same_face(store, queue, clock):
    items = add(store, 20)
    read(store, items)
    random, holding = np.random.default_rng(0), {"Ada": set(), "Bob": set(), "Eve": set()}
    for _ in range(120):
        person = str(random.choice(list(holding)))
        if holding[person] and random.random() < 0.6:
            item = holding[person].pop()
            answer(store, queue, item, person, str(random.choice(LABELS)))
        else:
            holding[person] |= set(asked(queue, person, 2))
        clock.now += 0.5
        everything = [item for held in holding.values() for item in held]
        assert len(everything) == len(set(everything))


def test_a_face_handed_out_comes_back_after_two_minutes(store, queue, clock):
    items = add(store, 3)
    assert LEASE_SECONDS == 120
    assert sorted(asked(queue, "Ada", ALL)) == items
    clock.now += 119.9
    assert asked(queue, "Bob", ALL) == [] and queue.waiting("Bob") == 0
    clock.now += 0.2
    assert sorted(asked(queue, "Bob", ALL)) == items


def test_each_lease_runs_from_when_its_face_was_handed_out(store, queue, clock):
    items = add(store, 2)
    (first,) = asked(queue, "Ada")
    clock.now += 60
    asked(queue, "Ada")
    clock.now += 61
    assert asked(queue, "Bob", ALL) == [first] and len(items) == 2


def test_released_faces_come_back_at_once_and_only_ones_own(store, queue):
    items = add(store, 6)
    mine, theirs = asked(queue, "Ada", 3), asked(queue, "Bob", 3)
    queue.release("Ada")
    assert sorted(asked(queue, "Eve", ALL)) == sorted(mine)
    assert sorted(mine + theirs) == items


def test_what_somebody_answers_late_leaves_the_new_holder_its_face(store, queue, clock):
    (item,) = add(store, 1)
    assert asked(queue, "Ada") == [item]
    clock.now += LEASE_SECONDS + 1
    assert asked(queue, "Bob") == [item]
    answer(store, queue, item, "Ada")  # she was at lunch; Bob still has it on his screen
    assert asked(queue, "Eve") == [], "two people hold the same face"


def test_a_skipped_face_does_not_come_back_to_the_same_person(store, queue):
    first, second = add(store, 2)
    answer(store, queue, first, "Ada", None)
    assert offered(queue, "Ada") == {second} and offered(queue, "Bob") == {first, second}


@pytest.mark.parametrize("label", ["anger", None])
def test_an_undone_one_may(store, queue, label):
    (item,) = add(store, 1)
    request = answer(store, queue, item, "Ada", label)
    assert offered(queue, "Ada") == set()
    store.undo(request)
    assert offered(queue, "Ada") == {item}


def test_near_duplicates_come_last(store, queue):
    items = store.add([one for seed in range(8) for one in (made_up(seed), made_up(seed, pixel=9))])
    read(store, items)
    order = asked(queue, "Ada", ALL)
    assert set(order[:8]) == set(items[::2]) and set(order[8:]) == set(items[1::2])


def test_faces_without_pixels_are_never_asked_about(store, queue, monkeypatch):
    (item,) = add(store, 1)
    store.contribute(NewItem("photo", "p"), Judgement("r", "Ada", "fear"), CODE, "training")
    assert offered(queue, "Bob") == offered(queue, "Ada") == {item}
    monkeypatch.setattr(module, "CHECK_SHARE", 1.0)
    monkeypatch.setattr(module, "CHECK_AFTER", 0)
    assert offered(queue, "Ada") == {item}, "the check of how steady labels are asks about a face nobody can see"


# --- when enough is known -----------------------------------------------------------------------


def test_after_two_labels_that_agree_a_face_is_not_asked_about_any_more(store, queue):
    (item,) = add(store, 1)
    assert WANTED == 2
    answer(store, queue, item, "Ada", "fear")
    assert offered(queue, "Bob") == {item}
    answer(store, queue, item, "Bob", "fear")
    assert offered(queue, "Eve") == set() and queue.waiting("Eve") == 0


def test_disagreement_brings_a_face_to_a_third_person_who_settles_it(store, queue):
    (item,) = add(store, 1)
    answer(store, queue, item, "Ada", "fear")
    answer(store, queue, item, "Bob", "surprise")
    (third,) = queue.next("Eve")
    assert (third.item, third.reason) == (item, "People disagree about it.")
    answer(store, queue, item, "Eve", "fear")
    answer(store, queue, item, "Dan", "fear")
    assert offered(queue, "Zoe") == set()


def test_people_who_never_agree_are_not_asked_for_ever(store, queue):
    (item,) = add(store, 1)
    for person, label in zip("ABCDEFGH", LABELS, strict=False):
        if offered(queue, person):
            answer(store, queue, item, person, label)
    assert sum(len(said) for said in counted(store).values()) == MOST


def test_a_label_taken_back_opens_the_face_again(store, queue):
    (item,) = add(store, 1)
    answer(store, queue, item, "Ada", "fear")
    request = answer(store, queue, item, "Bob", "fear")
    assert offered(queue, "Eve") == set()
    store.undo(request)
    assert offered(queue, "Eve") == {item}


def test_a_skip_is_no_vote(store, queue):
    (item,) = add(store, 1)
    for person in ("Ada", "Bob", "Dan"):
        answer(store, queue, item, person, None)
    assert offered(queue, "Eve") == {item}


# --- the consistency check ----------------------------------------------------------------------


def test_a_face_is_shown_again_only_after_enough_labels_and_says_so(store, queue, monkeypatch):
    monkeypatch.setattr(module, "CHECK_AFTER", 5)
    items = add(store, 20)
    for item in items[:5]:
        answer(store, queue, item, "Ada")
    monkeypatch.setattr(module, "CHECK_SHARE", 1.0)
    assert all(one.reason != CHECK for one in queue.next("Ada", 3)), "five labels lie between, and there are only five"
    answer(store, queue, items[5], "Ada")
    first = queue.next("Ada", 3)[0]
    assert (first.item, first.reason) == (items[0], CHECK)
    assert "before" in CHECK and CHECK.endswith(".")


def test_a_face_that_somebody_holds_or_that_was_skipped_is_not_shown_again(store, queue, monkeypatch):
    monkeypatch.setattr(module, "CHECK_AFTER", 0)
    held, skipped = add(store, 2)
    answer(store, queue, held, "Ada")
    answer(store, queue, skipped, "Ada", None)
    assert held in asked(queue, "Bob", ALL)
    monkeypatch.setattr(module, "CHECK_SHARE", 1.0)
    assert asked(queue, "Ada", ALL) == []


def test_about_one_face_in_fifty_is_a_check_however_many_are_asked_for_at_once(store, queue, monkeypatch):
    monkeypatch.setattr(module, "CHECK_AFTER", 0)
    items = add(store, 60)
    for item in items[:20]:
        say(store, item, "Ada")
    monkeypatch.setattr(module, "CHECK_SHARE", 0.1)
    shares = {}
    for ahead in (1, 16):
        reasons = []
        while len(reasons) < 480:
            reasons += [one.reason for one in queue.next("Ada", ahead)]
            queue.release("Ada")
        shares[ahead] = reasons.count(CHECK) / len(reasons)
    assert 0.05 < shares[1] < 0.2 and 0.05 < shares[16] < 0.2, shares


# --- words --------------------------------------------------------------------------------------


def test_the_reasons_are_sentences_that_give_nothing_away(store, queue):
    items = add(store, 60)
    read(store, items)
    random_judgements(store, items, 60)
    reasons = {one.reason for person in ("Ada", "person 0") for one in queue.next(person, ALL)}
    assert len(reasons) > 2 and reasons <= {one.words for one in REASONS}
    for words in (*reasons, *(one.words for one in REASONS), CHECK):
        assert words[0].isupper() and words.endswith(".")
        assert not any(name.lower() in words.lower() for label in LABELS for name in (label, title(label))), words


# --- what changes while it runs -----------------------------------------------------------------


def test_new_faces_are_picked_up(store, queue):
    items = add(store, 2)
    assert offered(queue, "Ada") == set(items)
    more = add(store, 3, first=2)
    assert offered(queue, "Ada") == {*items, *more} and queue.waiting("Ada") == 5


def test_new_readings_change_the_order(store, queue):
    items = add(store, 40)
    words = {one.reason for one in queue.next("Ada", ALL)}
    queue.release("Ada")
    assert REASONS[1].words not in words
    read(store, items)
    assert len({one.reason for one in queue.next("Ada", ALL)}) > len(words)


def test_what_another_process_writes_is_seen(store, queue, tmp_path):
    (item,) = add(store, 1)
    assert offered(queue, "Eve") == {item}
    other = LabelStore(tmp_path / "labels")
    say(other, item, "Ada")
    say(other, item, "Bob")
    other.close()
    assert offered(queue, "Eve") == set()


def test_withdrawn_faces_vanish(store, queue):
    items = add(store, 4)
    given = store.contribute(made_up(99), Judgement("r", "Ada", "fear"), CODE, "training").item
    assert given in asked(queue, "Bob", ALL)
    store.withdraw(CODE)
    queue.release("Bob")
    assert offered(queue, "Bob") == set(items) and queue.waiting("Ada") == 4
    assert queue.statistics("Ada")["mine"]["labels"] == 0


def test_while_people_withdraw_nothing_crashes_and_nothing_gone_is_asked(store, queue, monkeypatch):
    monkeypatch.setattr(module, "CHECK_SHARE", 0.2)
    monkeypatch.setattr(module, "CHECK_AFTER", 0)
    kept = set(add(store, 20))
    codes = [f"CODE-{number:012d}" for number in range(6)]
    for number, code in enumerate(codes):
        for one in range(3):
            face = made_up(100 + 10 * number + one)
            store.contribute(face, Judgement(f"{number}.{one}", f"person {one}", "fear"), code, "training")
    faults: list[BaseException] = []
    over = threading.Event()

    def work(name: str) -> None:
        try:
            while not over.is_set():
                queue.next(name, 5)
                queue.statistics(name)
                queue.waiting(name)
                queue.release(name)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(f"person {number}",)) for number in range(4)]
    for one in threads:
        one.start()
    for number, code in enumerate(codes):
        store.withdraw(code)
        kept |= set(add(store, number % 4, first=300 + 10 * number))
    over.set()
    for one in threads:
        one.join(30)
    assert faults == []
    assert offered(queue, "Zoe") == kept


def test_eight_who_ask_at_once_get_different_faces(store, queue):
    items = add(store, 80)
    read(store, items)
    barrier, found, lock = threading.Barrier(8), [], threading.Lock()

    def work(name: str) -> None:
        barrier.wait()
        for _ in range(5):
            got = asked(queue, name, 2)
            with lock:
                found.extend(got)

    threads = [threading.Thread(target=work, args=(f"person {number}",)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert sorted(found) == items


# --- an order that was computed while something changed -----------------------------------------


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch):
    """What a test appends here happens, once, while an order is being computed; it holds the old arrays."""
    todo, real = [], module.ranking

    def slow(*given):
        while todo:
            todo.pop(0)()
        return real(*given)

    monkeypatch.setattr(module, "ranking", slow)
    return todo


def test_labels_that_come_while_the_order_is_computed_are_not_forgotten(store, queue, meanwhile):
    first, second = add(store, 2)
    meanwhile.append(lambda: (say(store, first, "Ada"), say(store, first, "Bob"), queue.statistics()))
    queue.next("Eve", 0)
    assert offered(queue, "Eve") == {second}, "a face with two labels that agree is asked about again"


def test_faces_withdrawn_while_the_order_is_computed_do_not_shift_it(store, queue, meanwhile):
    store.contribute(made_up(50), Judgement("r", "Ada", "fear"), CODE, "training")
    items = add(store, 1)
    store.contribute(NewItem("photo", "p"), Judgement("s", "Ada", "fear"), None, "training")  # without pixels

    def change() -> None:
        store.withdraw(CODE)
        items.extend(add(store, 1, first=1))  # as many rows as before, but other ones
        queue.statistics()

    meanwhile.append(change)
    queue.next("Eve", 0)
    assert offered(queue, "Eve") == set(items)


# --- many faces: the order is computed beside ----------------------------------------------------


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 0)


def test_of_many_faces_each_person_still_gets_each_once(large, store, queue, clock):
    items = add(store, 40)
    seen: dict[str, list[int]] = {"Ada": [], "Bob": []}
    until = time.monotonic() + 20
    while any(len(said) < 40 for said in seen.values()):
        assert time.monotonic() < until, {name: len(said) for name, said in seen.items()}
        for person, said in seen.items():
            for item in asked(queue, person, 3):
                answer(store, queue, item, person, LABELS[item % 10])
                said.append(item)
        clock.now += 1
    assert sorted(seen["Ada"]) == sorted(seen["Bob"]) == items
    wait_for(lambda: offered(queue, "Eve") == set())


def test_of_many_faces_one_that_changed_waits_for_the_next_order(large, store, queue, clock):
    items = add(store, 10)
    queue.next("Ada", 0)
    say(store, items[0], "Ada")
    say(store, items[0], "Bob")
    more = add(store, 2, first=10)
    clock.now += 10
    wait_for(lambda: offered(queue, "Eve") == {*items[1:], *more})


def test_nobody_waits_for_an_order_that_takes_long(large, store, queue, clock, meanwhile):
    items = add(store, 10)
    queue.next("Ada", 0)
    gate = threading.Event()
    meanwhile.append(lambda: gate.wait(20))
    say(store, items[0], "Bob")
    clock.now += 10
    try:
        started = time.monotonic()
        assert len(asked(queue, "Ada", 5)) == 5
        assert time.monotonic() - started < 5
    finally:
        gate.set()


def test_when_the_order_is_used_up_new_faces_do_not_wait_for_its_age(large, store, queue):
    add(store, 2)
    assert len(asked(queue, "Ada", ALL)) == 2
    add(store, 1, first=2)
    wait_for(lambda: len(asked(queue, "Ada")) == 1)


# --- counts -------------------------------------------------------------------------------------


def test_the_counts_are_those_of_the_judgements(store, queue):
    items = add(store, 25)
    for round_ in range(4):
        random_judgements(store, items, 25, seed=round_)
        truth, counts = counted(store), queue.statistics()
        labels = [label for said in truth.values() for label in said.values() if label != "skip"]
        assert counts["faces"] == 25 and counts["wanted"] == WANTED
        assert counts["by_label"] == {name: labels.count(name) for name in LABELS}
        assert counts["by_annotator"] == {
            name: sum(label != "skip" for label in truth[name].values()) for name in sorted(truth)
        }
        assert counts["labelled"] == len({
            item for said in truth.values() for item, label in said.items() if label != "skip"
        })


def test_the_counts_of_one_person(store, queue):
    items = add(store, 6)
    for item, mine, others in zip(items, ["fear", "fear", "anger", None, "fear"], [["fear"], ["anger", "fear"], [], ["fear"], [None]], strict=False):
        say(store, item, "Ada", mine)
        for number, label in enumerate(others):
            say(store, item, f"other {number}", label)
    mine = queue.statistics("Ada")["mine"]
    assert mine == {"labels": 4, "skipped": 1, "agreement": 0.75, "compared": 2}
    assert queue.statistics("nobody")["mine"] == {"labels": 0, "skipped": 0, "agreement": None, "compared": 0}
    assert "mine" not in queue.statistics()


def test_votes_of_an_import_count_each_and_labels_without_picture_apart(store, queue):
    (item,) = add(store, 1)
    say(store, item, "FER+", "happiness", votes={"happiness": 8, "neutral": 2})
    store.contribute(NewItem("photo", "p"), Judgement("r", "Ada", "fear"), CODE, "training")
    counts = queue.statistics()
    assert (counts["faces"], counts["labelled"], counts["labels_without_picture"]) == (1, 1, 1)
    assert {name: count for name, count in counts["by_label"].items() if count} == {"happiness": 8, "neutral": 2, "fear": 1}
    assert counts["by_annotator"] == {"Ada": 1, "FER+": 1}


def test_an_import_is_not_compared_with_its_own_votes(store, queue):
    first, second = add(store, 2)
    say(store, first, "FER+", "happiness", votes={"happiness": 8, "neutral": 2})
    say(store, second, "FER+", "happiness", votes={"happiness": 5, "neutral": 5})
    assert queue.statistics("FER+")["mine"]["compared"] == 0
    say(store, second, "Ada", "neutral")
    mine = queue.statistics("Ada")["mine"]
    assert (mine["agreement"], mine["compared"]) == (0.5, 1)


def test_the_agreement_is_there_at_once_and_renewed_after_ten_seconds(store, queue, clock):
    items = add(store, 4)
    for item, label in zip(items, LABELS, strict=False):
        say(store, item, "Ada", label)
        say(store, item, "Bob", label)
    wait_for(lambda: queue.statistics()["agreement"] == {"alpha": 1.0, "items": 4})
    say(store, items[0], "Eve", "contempt")
    assert queue.statistics()["agreement"] == {"alpha": 1.0, "items": 4}
    clock.now += 11
    wait_for(lambda: queue.statistics()["agreement"].get("alpha", 1.0) < 1)


class Interrupted:
    """A lock after whose first release something else happens."""

    def __init__(self, then) -> None:
        self._lock, self._todo = threading.Lock(), [then]

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *fault: object) -> None:
        self._lock.release()
        if self._todo:
            self._todo.pop()()


def test_a_withdrawal_while_the_counts_are_taken_does_no_harm(store, queue, monkeypatch):
    add(store, 1)
    given = store.contribute(made_up(99), Judgement("r", "Ada", "fear"), CODE, "training").item
    say(store, given, "Bob", "fear")
    monkeypatch.setattr(queue, "_lock", Interrupted(lambda: (store.withdraw(CODE), queue.waiting("Bob"))))
    assert queue.statistics("Ada")["mine"]["labels"] == 1
    assert queue.statistics("Ada")["mine"]["labels"] == 0
