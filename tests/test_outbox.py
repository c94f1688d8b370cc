"""What waits for the Hub: counted, divided into batches with names, and back again when its file is gone."""

from __future__ import annotations

import pytest
from label_workspaces import CODE, face, says

from labeling import outbox
from labeling.items import NewItem
from labeling.outbox import Sizes


def photo(index: int, **more) -> NewItem:
    return NewItem("live", f"clip {index}", face(index), 112, 112, (0, 0, 112, 112), **more)


def name(store, sizes: Sizes | None = None, weight=lambda item: 100, left_out=()) -> list[str]:
    with store.database.writing() as connection:
        return outbox.name_batches(connection, "abcd", sizes or Sizes(), weight, left_out)


def send(store, batch: str) -> None:
    """The batch is on the Hub."""
    with store.database.writing() as connection:
        outbox.sent(connection, batch, "ab" * 32, outbox.parcel(connection, batch).rows)
        outbox.arrived(connection, [batch])


def asked(store, question, *more):
    with store.database.reading() as connection:
        return question(connection, *more)


def kinds(store, batch: str) -> list[str]:
    return [one["kind"] for one in asked(store, outbox.parcel, batch).lines]


def test_labels_and_faces_without_one_are_counted(store):
    assert asked(store, outbox.is_empty) and asked(store, outbox.waiting) == 0
    store.contribute(photo(0), says("r1"), CODE, "tests")
    store.add([photo(1), photo(2)])
    assert asked(store, outbox.waiting) == 3 and asked(store, outbox.people_wait)
    store.judge(2, says("r2"))
    store.undo("r1")
    assert asked(store, outbox.waiting) == 4
    store.agree("ANOTHER-CODE-OF-SIXTEEN", "tests")
    assert asked(store, outbox.waiting) == 4


def test_a_name_that_was_given_is_kept_and_holds_the_same(store):
    store.contribute(photo(0), says("r1"), CODE, "tests")
    (first,) = name(store)
    before = asked(store, outbox.parcel, first)
    store.judge(1, says("r2"))
    both = name(store)
    assert both[0] == first and len(both) == 2 and asked(store, outbox.parcel, first) == before
    assert kinds(store, first) == ["consent", "item", "judgement"] and kinds(store, both[1]) == ["judgement"]
    send(store, first)
    assert asked(store, outbox.waiting) == 1 and name(store) == both[1:]


@pytest.mark.parametrize(
    ("sizes", "most"), [(Sizes(faces=3), 3), (Sizes(bytes=250), 2), (Sizes(faces=3, files=2), 3), (Sizes(faces=2, commit_faces=5), 2)]
)
def test_batches_and_commits_are_no_larger_than_they_may_be(store, sizes, most):
    store.add(photo(0, name=None) if number == 0 else NewItem("api", f"clip {number}") for number in range(8))
    names = name(store, sizes)
    counts = [kinds(store, one).count("item") for one in names]
    assert max(counts) == most and len(names) <= sizes.files
    assert sum(counts) == {3: 8, 2: 8}[most] if sizes.files > 2 and sizes.commit_faces > 5 else sum(counts) in (5, 6)


def test_a_picture_larger_than_a_batch_goes_alone(store):
    store.add([photo(0), photo(1)])
    names = name(store, Sizes(bytes=10))
    assert [kinds(store, one) for one in names] == [["item"], ["item"]]


def test_an_agreement_goes_along_with_every_batch_that_names_it(store):
    store.contribute(photo(0), says("r1"), CODE, "tests")
    (first,) = name(store)
    send(store, first)
    store.contribute(photo(1), says("r2"), CODE, "tests")
    (second,) = name(store)
    assert kinds(store, second) == ["consent", "item", "judgement"]


def test_items_that_cannot_be_sent_are_left_out_and_the_rest_is_not(store):
    store.contribute(photo(0), says("r1"), None, "tests")
    store.contribute(photo(1), says("r2"), None, "tests")
    (only,) = name(store, left_out={1})
    assert [one.get("request") for one in asked(store, outbox.parcel, only).lines][-1] == "r2"
    send(store, only)
    assert not asked(store, outbox.is_empty) and asked(store, outbox.is_empty, {1}) and not asked(store, outbox.is_empty, {2})


def test_what_is_withdrawn_before_it_is_sent_leaves_its_batch(store):
    store.contribute(photo(0), says("r1"), CODE, "tests")
    store.contribute(photo(1), says("r2"), None, "tests")
    (batch,) = name(store)
    store.withdraw(CODE)
    assert [one["kind"] for one in asked(store, outbox.parcel, batch).lines] == ["consent", "item", "judgement"]
    assert asked(store, outbox.waiting) == 1


def test_a_file_no_answer_came_for_is_confirmed_when_it_is_there_as_it_was_sent(store):
    store.contribute(photo(0), says("r1"), None, "tests")
    (batch,) = name(store)
    with store.database.writing() as connection:
        outbox.sent(connection, batch, "ab" * 32, outbox.parcel(connection, batch).rows)
        assert outbox.confirm(connection, {}) == [] == outbox.confirm(connection, {batch: "cd" * 32})
        assert not outbox.is_empty(connection)
        assert outbox.confirm(connection, {batch: "ab" * 32}) == [batch]
        assert outbox.is_empty(connection) and outbox.known(connection) == {batch}


def test_what_was_only_in_a_file_that_is_gone_waits_again(store):
    store.contribute(photo(0), says("r1"), CODE, "tests")
    (first,) = name(store)
    send(store, first)
    store.judge(1, says("r2"))
    (second,) = name(store)
    send(store, second)
    with store.database.writing() as connection:
        assert outbox.missed(connection, {first, second}) == 0 and outbox.is_empty(connection)
        assert outbox.missed(connection, {first}) == 1 and outbox.waiting(connection) == 1
        assert outbox.known(connection) == {first}
    (third,) = name(store)
    send(store, third)
    with store.database.writing() as connection:
        assert outbox.missed(connection, set()) == 4  # agreement, face, two labels
        assert outbox.waiting(connection) == 2


def test_notes_are_kept(store):
    with store.database.writing() as connection:
        assert outbox.noted(connection, "x") is None
        outbox.note(connection, "x", "1"), outbox.note(connection, "x", "2")
        assert outbox.noted(connection, "x") == "2"
