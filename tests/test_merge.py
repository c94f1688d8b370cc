"""What other copies sent: kept once, in whatever order it comes, and the same on every copy."""

from __future__ import annotations

import itertools
import random

import pytest
from copies import Copy
from label_workspaces import CODE, OTHER_CODE, face, says
from local_hub import LocalHub

from labeling import outbox
from labeling.batches import Batch, DamagedBatch
from labeling.items import NewItem
from labeling.merge import apply
from labeling.queue import ReviewQueue
from labeling.snapshot import take
from labeling.store import LabelStore


@pytest.fixture
def copies(tmp_path):
    """Three copies that nobody serves: what goes between them is carried by hand."""
    made = [Copy(tmp_path / name, LocalHub()) for name in "abc"]
    yield made
    for one in made:
        one.close()


def outgoing(copy: Copy) -> dict[str, Batch]:
    """What `copy` would send now, as it would read it again; what waited is sent."""
    found = {}
    with copy.store.database.writing() as connection:
        for name in outbox.name_batches(connection, "abcd", copy.sync._pace.sizes, lambda item: 0):
            parcel = outbox.parcel(connection, name)
            pictures = {image: copy.store.images.get(image) for image in parcel.images}
            found[name] = Batch.unpacked(Batch(tuple(parcel.lines), pictures).packed())
            outbox.sent(connection, name, "", parcel.rows)
            outbox.arrived(connection, [name])
    return found


def give(copy: Copy, batches: dict[str, Batch]) -> None:
    for name, batch in batches.items():
        apply(copy.store, name, "", batch)


def waits(copy: Copy) -> bool:
    with copy.store.database.reading() as connection:
        return not outbox.is_empty(connection)


def orphans(copy: Copy) -> int:
    with copy.store.database.reading() as connection:
        return connection.execute("SELECT count(*) FROM orphans").fetchone()[0]


def test_a_face_arrives_with_everything_that_is_known_of_it(copies):
    a, b, _ = copies
    a.gives(0, "r1", CODE, label="fear", second="surprise", model="v1", probabilities=[0.125] * 8, votes={"fear": 2, "NF": 1})
    a.store.judge(a.number("r1"), says("r2", None, "Bob"))
    a.store.undo("r2")
    give(b, outgoing(a))
    here, there = a.store.item(a.number("r1")), b.store.item(b.number("r1"))
    assert {**vars(here), "id": 0} == {**vars(there), "id": 0} and b.store.picture(there) == face(0)
    assert b.said() == a.said() and b.stands() == a.stands() and len(a.said()) == 3
    first, second = a.store.annotation("r1"), b.store.annotation("r1")
    assert (first.suggested, first.model, first.probabilities) == (second.suggested, second.model, second.probabilities)
    assert b.store.agreed(CODE) and b.store.contributed(CODE, "r1") and not waits(b)


def test_the_same_batch_again_changes_nothing(copies):
    a, b, _ = copies
    a.gives(0, "r1", CODE)
    sent = outgoing(a)
    for _ in range(3):
        give(b, sent)
        give(a, sent)
    assert b.said() == a.said() and (a.faces(), b.faces()) == (1, 1) and not waits(a) and not waits(b)
    assert apply(b.store, "batches/again.zip", "", next(iter(sent.values()))).labels == 0


def test_the_queue_of_another_copy_asks_about_it(copies):
    a, b, _ = copies
    queue = ReviewQueue(b.store, seed=0)
    assert queue.next("Bob") == []
    a.gives(0, "r1")
    give(b, outgoing(a))
    (candidate,) = queue.next("Bob")
    assert candidate.item == b.number("r1") and queue.statistics()["by_annotator"] == {"Ada": 1}


def test_the_same_picture_under_the_same_code_is_one_face_whoever_gave_it(copies):
    a, b, c = copies
    a.gives(0, "r1", CODE)
    b.gives(0, "r2", CODE, annotator="Bob")
    b.gives(0, "r3", OTHER_CODE, annotator="Cem")
    from_a, from_b = outgoing(a), outgoing(b)
    give(a, from_b), give(b, from_a), give(c, {**from_b, **from_a})
    assert a.said() == b.said() == c.said() and len(a.said()) == 3
    assert [one.faces() for one in copies] == [2, 2, 2] and a.stands() == b.stands() == c.stands()
    b.store.judge(b.number("r1"), says("r4", "anger", "Dan"))  # b calls the face by its own name
    give(a, more := outgoing(b)), give(c, more)
    assert a.said() == b.said() == c.said() and a.number("r4") == a.number("r1")


def test_labels_that_come_before_their_face_wait_for_it(copies):
    a, b, _ = copies
    a.gives(0, "r1")
    first = outgoing(a)
    a.store.judge(a.number("r1"), says("r2", "anger", "Bob"))
    second = outgoing(a)
    a.store.undo("r2")
    third = outgoing(a)
    give(b, third), give(b, second)
    assert b.said() == set() and orphans(b) == 2
    give(b, first)
    assert b.said() == a.said() and b.stands() == a.stands() and orphans(b) == 0 and not waits(b)


@pytest.mark.parametrize("seed", range(8))
def test_what_stands_is_the_same_on_all_copies_in_whatever_order_the_batches_come(copies, seed):
    drawn = random.Random(seed)
    a, b, c = copies
    a.gives(0, "first", CODE)
    a.gives(1, "second")
    give(b, begun := outgoing(a))
    sent: list[tuple[str, Batch]] = []
    for step in range(30):
        copy = drawn.choice([a, b])
        mine = [row[0] for row in copy.said() if row[3] != "undo"]
        if drawn.random() < 0.25:
            copy.store.undo(drawn.choice(mine))
        else:
            label = drawn.choice([None, "anger", "fear", "unknown"])
            copy.store.judge(copy.number(drawn.choice(["first", "second"])), says(f"{step}", label, drawn.choice(["Ada", "Bob"])))
        if drawn.random() < 0.4:
            sent += outgoing(copy).items()
    sent += [*outgoing(a).items(), *outgoing(b).items()]
    for copy in copies:
        give(copy, begun if copy is c and drawn.random() < 0.5 else {})
        give(copy, dict(drawn.sample(sent, len(sent))))
        give(copy, begun)
    assert a.said() == b.said() == c.said() and len(a.said()) > 20
    assert a.stands() == b.stands() == c.stands()


def test_a_request_that_two_copies_were_given_for_different_labels_is_two_labels(copies):
    a, b, _ = copies
    a.gives(0, "r0")
    give(b, outgoing(a))
    a.store.judge(a.number("r0"), says("1", "anger", "Bob"))
    b.store.judge(b.number("r0"), says("1", "fear", "Cem"))
    b.store.undo("1")
    from_a, from_b = outgoing(a), outgoing(b)
    for _ in range(2):
        give(a, from_b), give(b, from_a)
    assert len(a.said()) == len(b.said()) == 4
    assert {row[2:4] for row in a.stands()} == {row[2:4] for row in b.stands()} == {("Ada", "happiness"), ("Bob", "anger")}


def test_the_same_import_on_two_copies_is_counted_once(copies):
    a, b, _ = copies
    one = NewItem("set", "set/1", face(0), 112, 112, (0, 0, 112, 112), name="1.png")
    faces = [(one, [says("import:1", votes={"fear": 3}, label="fear")])]
    for copy in (a, b):
        list(copy.store.bring(faces))
    from_a, from_b = outgoing(a), outgoing(b)
    give(a, from_b), give(b, from_a)
    assert len(a.said()) == len(b.said()) == 1 and (a.faces(), b.faces()) == (1, 1)


def test_numbers_in_a_wiped_workspace_are_not_those_that_open_pages_remember(copies):
    a, b, _ = copies
    a.gives(0, "r1")
    give(b, outgoing(a))
    assert a.number("r1") == 1 and 10**12 < b.number("r1") < 2**53
    assert b.gives(1, "r2").item == b.number("r1") + 1


def test_near_copies_stay_on_one_side_and_snapshots_can_be_taken(copies, tmp_path):
    a, b, _ = copies
    for index in range(3):
        a.gives(index, f"r{index}")
    give(b, outgoing(a))
    assert take(b.store, tmp_path / "snapshots").faces == take(a.store, tmp_path / "snapshots").faces


def test_what_was_withdrawn_elsewhere_goes_here_too(copies):
    a, b, c = copies
    a.gives(0, "r1", CODE)
    give(b, sent := outgoing(a))
    b.store.judge(b.number("r1"), says("r2", "anger", "Bob"))
    give(a, outgoing(b))
    a.store.withdraw(CODE)
    gone = told(a)
    merged = apply(b.store, "batches/gone.zip", "", gone)
    assert merged.removed == 1 and b.faces() == 0 and b.said() == set() and not b.store.agreed(CODE)
    assert not list(b.store.images.names()) and len(b.store.withdrawn()) == 1
    give(b, sent)  # late, from somebody who had not heard
    assert b.faces() == 0 and b.said() == set() and not waits(b)
    apply(c.store, "batches/gone.zip", "", gone)
    give(c, sent)
    assert c.faces() == 0 and c.said() == set() and not list(c.store.images.names())


def test_what_another_copy_took_under_the_code_without_having_heard_goes_too(copies):
    a, b, _ = copies
    a.gives(0, "r1", CODE)
    give(b, outgoing(a))
    a.store.withdraw(CODE)
    b.gives(1, "r2", CODE)  # another face, and b does not know
    b.store.judge(b.number("r2"), says("r3", "anger", "Bob"))
    give(a, outgoing(b))
    assert a.faces() == 0 and a.said() == set()
    apply(b.store, "batches/gone.zip", "", told(a))
    assert b.faces() == 0 and b.said() == set()


def test_who_agrees_again_under_the_code_is_kept_again(copies):
    a, b, _ = copies
    a.gives(0, "r1", CODE)
    a.store.withdraw(CODE)
    a.gives(1, "r2", CODE)
    sent = outgoing(a)
    apply(b.store, "batches/gone.zip", "", told(a))
    give(b, sent)
    assert {row[0] for row in b.said()} == {"r2"} and b.store.agreed(CODE)


def test_a_label_that_waits_for_a_withdrawn_face_is_forgotten(copies):
    a, b, _ = copies
    a.gives(0, "r1", CODE)
    outgoing(a)
    a.store.judge(a.number("r1"), says("r2", "anger", "Bob"))
    give(b, outgoing(a))
    assert orphans(b) == 1
    a.store.withdraw(CODE)
    apply(b.store, "batches/gone.zip", "", told(a))
    assert orphans(b) == 0


def told(copy: Copy) -> Batch:
    """What `copy` tells others was withdrawn."""
    from labeling.records import of_gone

    with copy.store.database.reading() as connection:
        return Batch(tuple(of_gone(*row) for row in connection.execute("SELECT name, at FROM gone")))


def test_nothing_of_a_batch_is_kept_where_a_part_is_unsound(copies):
    a, b, _ = copies
    a.gives(0, "r1"), a.gives(1, "r2", CODE)
    ((name, batch),) = outgoing(a).items()
    without_agreement = Batch(tuple(one for one in batch.records if one["kind"] != "consent"), batch.pictures)
    with pytest.raises(DamagedBatch, match="an agreement is missing"):
        Batch.unpacked(without_agreement.packed())
    with pytest.raises(DamagedBatch, match="a picture in it cannot be read"):
        apply(b.store, name, "", Batch(batch.records, dict.fromkeys(batch.pictures, b"no picture")))
    assert b.faces() == 0 and b.said() == set() and not list(b.store.images.names())
    give(b, {name: batch})
    assert b.said() == a.said()


def test_how_contributors_stand_is_the_same_on_all_copies(copies):
    from labeling import trust

    for order in itertools.permutations([("new", "2026-01-01T00:00:00.000Z"), ("trusted", "2026-01-02T00:00:00.000Z")]):
        a, b, _ = copies
        for copy, (standing, at) in zip((a, b), order, strict=True):
            with copy.store.database.writing() as connection:
                trust.put(connection, f"Ada {order[0][0]}", standing, "owner", at)
        from_a, from_b = outgoing(a), outgoing(b)
        give(a, from_b), give(b, from_a)
    found = []
    for copy in (a, b):
        with copy.store.database.reading() as connection:
            found.append({tuple(row) for row in connection.execute("SELECT contributor, standing, at FROM trust")})
        assert not waits(copy)
    assert found[0] == found[1] and {row[1] for row in found[0]} == {"trusted"}


def test_a_store_that_was_never_synced_sends_everything_people_first(tmp_path):
    store = LabelStore(tmp_path)
    faces = [NewItem("set", f"{n}", face(n), 112, 112, (0, 0, 112, 112), name=f"{n}.png") for n in range(4)]
    list(store.bring((one, [says(f"import:{n}")]) for n, one in enumerate(faces)))
    store.contribute(NewItem("live", "clip", face(4), 112, 112, (0, 0, 112, 112)), says("mine"), None, "tests")
    store.judge(2, says("on an imported one", "fear", "Bob"))
    with store.database.writing() as connection:
        first, *others = outbox.name_batches(connection, "abcd", outbox.Sizes(faces=2), lambda item: 0)
        sent = [outbox.parcel(connection, name) for name in (first, *others)]
    kinds = [[one.get("request") or one.get("image") for one in parcel.lines if one["kind"] != "consent"] for parcel in sent]
    assert {"mine", "on an imported one"} < {*kinds[0], *kinds[1]}
    early = next(parcel for parcel in sent if any(one.get("request") == "on an imported one" for one in parcel.lines))
    assert store.item(2).image in early.images  # a label never goes before its face
    assert sum(one["kind"] == "item" for parcel in sent for one in parcel.lines) == 5
    store.close()
