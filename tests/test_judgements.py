"""What people say: only ever added, once for each request, and one of each person's stands."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from label_workspaces import child, face, said_by, says

from labeling.items import NewItem, UnknownItem
from labeling.judgements import LONGEST_NAME, LONGEST_REQUEST, Judgement
from labeling.labels import CANNOT_TELL, LABELS, NOT_A_FACE
from labeling.store import LabelStore, Score


@pytest.fixture
def store(tmp_path: Path):
    """A store with three faces of which no pixels are kept: 1, 2 and 3."""
    one = LabelStore(tmp_path)
    one.add([NewItem("api", f"clip {number}") for number in range(3)])
    yield one
    one.close()


def standing(store: LabelStore) -> dict[tuple[int, str], str]:
    """What the store says stands: the request of each person's judgement on each item."""
    query = """SELECT s.item, s.annotator, j.request, s.label IS j.label AND s.votes IS j.votes AS same
               FROM standing AS s JOIN judgements AS j ON j.id = s.judgement"""
    with store.database.reading() as connection:
        rows = connection.execute(query).fetchall()
    assert all(row["same"] for row in rows)
    return {(row["item"], row["annotator"]): row["request"] for row in rows}


def recomputed(store: LabelStore, items: range) -> dict[tuple[int, str], str]:
    """What stands, worked out from the judgements alone."""
    found = {}
    for item in items:
        history = store.annotations(item)
        taken_back = {one.undoes for one in history if one.kind == "undo"}
        for one in history:  # the last one wins
            if one.kind != "undo" and one.id not in taken_back:
                found[item, one.annotator] = one.request
    return found


def test_a_judgement_comes_back_as_it_was_made(store):
    made = store.judge(1, says("r1", "fear", " Ada ", second="surprise", suggested=True, model="v1",
                               probabilities=[0.125] * 8, votes={"fear": 3, "NF": 1}))  # fmt: skip
    assert (made.id, made.request, made.item, made.annotator, made.kind) == (1, "r1", 1, "Ada", "label")
    assert (made.label, made.second, made.votes, made.undoes) == ("fear", "surprise", {"fear": 3, "NF": 1}, None)
    assert (made.suggested, made.model, made.probabilities) == (True, "v1", (0.125,) * 8)
    assert made.at.endswith("Z")
    assert store.annotation("r1") == made and store.annotations(1) == [made]


@pytest.mark.parametrize("label", LABELS)
def test_each_of_the_ten_labels_can_be_said(store, label):
    assert store.judge(1, says("r1", label)).label == label


def test_the_same_request_twice_is_one_judgement(store):
    first = store.judge(1, says("r1", "happiness"))
    assert store.judge(1, says("r1", "happiness")) == first
    assert store.judge(2, says("r1", "anger", "Bob")) == first  # whatever comes with it
    assert store.annotations(1) == [first] and store.annotations(2) == []


def test_a_contribution_repeated_is_one_face_and_one_judgement(store):
    first = store.contribute(NewItem("live", "clip", face()), says("r1"), None, "tests")
    assert store.contribute(NewItem("live", "clip", face(1)), says("r1"), None, "tests") == first
    assert len(store.items(range(1, 10))) == 4 and len(list(store.images.names())) == 1


def test_the_same_request_from_eight_threads_at_once_is_one_judgement(store):
    made, together = [], threading.Barrier(8)

    def judge(number: int) -> None:
        together.wait()
        for request in ("r1", "r2", "r3"):
            made.append(store.judge(1, says(request, LABELS[number])))

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 24 and len(set(made)) == 3 == len(store.annotations(1))


def test_the_same_requests_from_two_processes_at_once_are_one_judgement_each(store, tmp_path):
    code = """
import pathlib, time
from labeling.judgements import Judgement
from labeling.store import LabelStore
folder = pathlib.Path(sys.argv[1])
store = LabelStore(folder)
while not (folder / "go").exists(): time.sleep(0.001)
for number in range(30):
    made = store.judge(1, Judgement(f"r{number}", sys.argv[2], "anger"))
    print(made.id, made.annotator)
"""
    processes = [child(code, tmp_path, name) for name in ("Ada", "Bob")]
    (tmp_path / "go").touch()
    one, other = (said_by(process).splitlines() for process in processes)
    assert one == other and len(set(one)) == 30
    assert len(store.annotations(1)) == 30


def test_a_second_label_replaces_what_stands_and_stays_in_the_history(store):
    store.judge(1, says("r1", "happiness"))
    store.judge(1, says("r2", "surprise"))
    assert standing(store) == {(1, "Ada"): "r2"}
    assert [one.label for one in store.annotations(1)] == ["happiness", "surprise"]


def test_what_stands_is_kept_apart_for_each_person_and_face(store):
    store.judge(1, says("r1", "happiness"))
    store.judge(1, says("r2", "anger", "Bob"))
    store.judge(2, says("r3", "fear"))
    assert standing(store) == {(1, "Ada"): "r1", (1, "Bob"): "r2", (2, "Ada"): "r3"}


def test_a_skip_is_a_judgement_without_a_label(store):
    made = store.judge(1, says("r1", None))
    assert (made.kind, made.label) == ("skip", None) and standing(store) == {(1, "Ada"): "r1"}


def test_undo_is_a_new_judgement_and_leaves_nothing_standing(store):
    made = store.judge(1, says("r1", "happiness", suggested=True))
    undone = store.undo("r1")
    assert (undone.kind, undone.undoes, undone.label, undone.item) == ("undo", made.id, None, 1)
    assert (undone.annotator, undone.suggested) == ("Ada", True)
    assert store.annotations(1) == [made, undone] and standing(store) == {}


def test_undo_twice_is_once(store):
    store.judge(1, says("r1"))
    assert store.undo("r1") == store.undo("r1")
    assert len(store.annotations(1)) == 2


def test_undo_brings_back_the_persons_earlier_label(store):
    store.judge(1, says("r1", "happiness"))
    store.judge(1, says("r2", "anger"))
    store.judge(1, says("r3", None))
    store.undo("r3")
    assert standing(store) == {(1, "Ada"): "r2"}
    store.undo("r1")  # not the last one: what stands stays
    assert standing(store) == {(1, "Ada"): "r2"}
    store.undo("r2")
    assert standing(store) == {}


def test_after_an_undo_one_can_label_again(store):
    store.judge(1, says("r1", "happiness"))
    store.undo("r1")
    store.judge(1, says("r2", "happiness"))
    assert standing(store) == {(1, "Ada"): "r2"}


def test_undo_touches_nobody_else(store):
    store.judge(1, says("r1"))
    store.judge(1, says("r2", "anger", "Bob"))
    store.undo("r1")
    assert standing(store) == {(1, "Bob"): "r2"}


def test_what_never_arrived_and_an_undo_cannot_be_taken_back(store):
    undone = store.judge(1, says("r1")) and store.undo("r1")
    for request in ("r9", undone.request):
        with pytest.raises(UnknownItem, match=r"^There is no such label to take back; .*\.$"):
            store.undo(request)
    assert len(store.annotations(1)) == 2


def test_the_longest_request_can_be_taken_back(store):
    store.judge(1, says("r" * LONGEST_REQUEST))
    assert store.undo("r" * LONGEST_REQUEST).kind == "undo"


def test_a_request_that_looks_like_an_undo_does_not_stand_in_for_one(store):
    store.judge(1, says("r1", "happiness"))
    try:
        store.judge(2, says("undo:r1", "anger", "Bob"))
    except ValueError:
        return  # refused: as good
    assert store.undo("r1").kind == "undo"
    assert standing(store) == {(2, "Bob"): "undo:r1"}


def test_a_judgement_on_a_face_that_is_not_here_is_refused(store):
    with pytest.raises(UnknownItem, match="There is no face 99 here"):
        store.judge(99, says("r1"))
    assert store.annotation("r1") is None


@pytest.mark.parametrize("second", ["happiness", "neutral", "contempt"])
def test_a_second_expression_may_stand_beside_the_first(store, second):
    assert store.judge(1, says("r1", "surprise", second=second)).second == second


@pytest.mark.parametrize(
    ("label", "second"),
    [("anger", "anger"), ("anger", CANNOT_TELL), ("anger", NOT_A_FACE), (CANNOT_TELL, "anger"), (NOT_A_FACE, "anger"),
     ("anger", "hungry"), ("anger", "")],
)  # fmt: skip
def test_a_second_expression_needs_a_first_and_another(label, second):
    with pytest.raises(ValueError, match=rf"^“{second}” cannot be the second expression.*\.$") as caught:
        says("r1", label, second=second)
    assert "None" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_id", "annotator", "label"),
    [("", "Ada", "anger"), ("r" * (LONGEST_REQUEST + 1), "Ada", "anger"), ("undo:r", "Ada", "anger"), ("r", "", "anger"),
     ("r", "  ", "anger"), ("r", "A" * (LONGEST_NAME + 1), "anger"), ("r", "Ada", "happy"), ("r", "Ada", "")],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_in_a_sentence(store, request_id, annotator, label):
    with pytest.raises(ValueError, match=r"\.$") as caught:
        store.judge(1, Judgement(request_id, annotator, label))
    assert len(str(caught.value)) < 200


def test_a_second_expression_without_a_first_is_refused():
    with pytest.raises(ValueError, match=r"^A second expression needs a first one; give both\.$"):
        says("r1", None, second="anger")


def test_names_that_differ_in_spaces_around_them_are_one_person(store):
    store.judge(1, says("r1", "anger", "Ada"))
    store.judge(1, says("r2", "fear", "  Ada "))
    assert standing(store) == {(1, "Ada"): "r2"}


def test_a_judgement_takes_along_what_the_model_said_of_the_face(store):
    probabilities = [0.5, 0.25, 0.25, 0, 0, 0, 0, 0]
    store.score([Score(1, "v1", probabilities, [0.0])])
    made = store.judge(1, says("r1"))
    assert (made.model, made.probabilities) == ("v1", tuple(probabilities))
    store.score([Score(1, "v2", [0.125] * 8, [0.0])])
    assert store.annotation("r1") == made  # a later reading changes nothing
    other = store.judge(2, says("r2"))
    assert (other.model, other.probabilities) == (None, None)


def test_who_labelled_a_scored_face_before_has_seen_the_models_answer(store):
    store.score([Score(1, "v1", [0.125] * 8, [0.0])])
    assert [store.judge(1, says(f"r{number}")).suggested for number in range(2)] == [False, True]
    assert not store.judge(1, says("other", annotator="Bob")).suggested
    assert not store.judge(1, says("told", suggested=False)).suggested
    assert [store.judge(2, says(f"unscored {number}")).suggested for number in range(2)] == [False, False]
    store.score([Score(3, "v1", [0.125] * 8, [0.0])])
    assert [store.judge(3, says(f"skip {number}", None)).suggested for number in range(2)] == [False, False]


def test_what_others_say_leaves_out_skips_what_was_taken_back_and_oneself(store):
    for number, (name, label) in enumerate([("Ada", "fear"), ("Bob", "fear"), ("Cem", "anger"), ("Dan", None), ("Eve", "anger")]):
        store.judge(1, says(f"r{number}", label, name))
    store.judge(1, says("changed", "surprise", "Cem"))
    store.undo("r4")
    assert store.said_by_others(1, "Ada") == {"fear": 1, "surprise": 1}
    assert store.said_by_others(1, "Zoe") == {"fear": 2, "surprise": 1} and store.said_by_others(2, "Ada") == {}


def test_the_faces_somebody_labelled_come_oldest_first_without_the_newest(store):
    for number, (item, label) in enumerate([(2, "fear"), (1, "anger"), (3, None)]):
        store.judge(item, says(f"r{number}", label))
    store.judge(3, says("bob", "fear", "Bob"))
    assert [store.labelled_by("Ada", newest) for newest in (0, 1, 2, 9)] == [[2, 1], [2], [], []]
    store.judge(2, says("again", "anger"))
    assert store.labelled_by("Ada") == [1, 2] and store.labelled_by("Zoe") == []


def test_judgements_of_a_face_come_oldest_first(store):
    for number in range(5):
        store.judge(1, says(f"r{number}", annotator=f"person {number % 2}"))
    assert [one.request for one in store.annotations(1)] == [f"r{number}" for number in range(5)]


@pytest.mark.parametrize("seed", range(6))
def test_what_stands_always_follows_from_the_judgements(store, seed):
    drawn = random.Random(seed)
    requests = []
    for step in range(60):
        if requests and drawn.random() < 0.35:
            request = drawn.choice(requests)
            store.undo(request)
        else:
            request = drawn.choice(requests) if requests and drawn.random() < 0.1 else f"r{step}"
            label = drawn.choice([None, "anger", "fear", CANNOT_TELL])
            votes = {label: step} if label and step % 3 == 0 else None
            store.judge(drawn.choice([1, 2, 3]), says(request, label, drawn.choice(["Ada", "Bob"]), votes=votes))
            requests = list(dict.fromkeys([*requests, request]))
        if step % 6 == 5:
            assert standing(store) == recomputed(store, range(1, 4)), (seed, step)
    history = [one for item in (1, 2, 3) for one in store.annotations(item)]
    assert len({one.request for one in history}) == len(history) > len(requests)
