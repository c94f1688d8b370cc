"""Agreement to keep a face, and its withdrawal: codes, what is recorded, what must be gone."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from label_workspaces import CODE, OTHER_CODE, files_in, says

from labeling.consents import CODE_LENGTH, PURPOSE, code_hash, new_code, purpose
from labeling.items import NewItem, UnknownItem
from labeling.store import LabelStore


@pytest.fixture
def store(tmp_path: Path):
    one = LabelStore(tmp_path)
    yield one
    one.close()


def rows(store: LabelStore, query: str) -> list[tuple]:
    with store.database.reading() as connection:
        return [tuple(row) for row in connection.execute(query)]


def test_a_new_code_is_four_groups_of_four_and_never_the_same():
    codes = [new_code() for _ in range(200)]
    assert all(re.fullmatch(r"([A-HJ-NP-Z2-9]{4}-){3}[A-HJ-NP-Z2-9]{4}", one) for one in codes)
    assert len(set(codes)) == 200 and len({code_hash(one) for one in codes}) == 200


@pytest.mark.parametrize("typed", ["abcd-efgh-jklm-npqr", "ABCDEFGHJKLMNPQR", " abcd efgh\tjklm npqr\n", "ABCD–EFGH–JKLM–NPQR"])
def test_a_code_may_be_typed_in_any_case_and_spacing(typed):
    assert code_hash(typed) == code_hash(CODE)


@pytest.mark.parametrize("code", ["", "-" * 40, CODE[:-1], None, "A" * (CODE_LENGTH - 1)])
def test_a_short_code_is_refused_everywhere_in_a_sentence(store, code):
    uses = [code_hash, store.withdraw, lambda one: store.agree(one, "tests"), lambda one: store.contributed(one, "r1")]
    if code is not None:  # None stands for agreement taken elsewhere
        uses.append(lambda one: store.contribute(NewItem("api", "x"), says("r1"), one, "tests"))
    else:
        uses.remove(uses[2])
    for use in uses:
        with pytest.raises(ValueError, match=r"^A withdrawal code has at least 16 letters and digits; copy all of it\.$"):
            use(code)
    assert rows(store, "SELECT * FROM consents") == rows(store, "SELECT * FROM items") == []


def test_agreement_keeps_the_words_and_the_date_but_not_the_code(store, tmp_path):
    store.agree(CODE, PURPOSE)
    ((kept, purpose, at),) = rows(store, "SELECT code, purpose, agreed_at FROM consents")
    assert kept == code_hash(CODE) and purpose == PURPOSE
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", at)
    everything = b"".join(files_in(tmp_path).values())
    assert CODE.encode() not in everything and CODE.replace("-", "").encode() not in everything


def test_agreeing_again_is_the_same_agreement(store):
    store.agree(CODE, PURPOSE)
    before = rows(store, "SELECT * FROM consents")
    store.agree(CODE.lower(), PURPOSE)
    store.contribute(NewItem("api", "x"), says("r1"), CODE, PURPOSE)
    assert rows(store, "SELECT * FROM consents") == before
    store.agree(OTHER_CODE, PURPOSE)
    assert len(rows(store, "SELECT * FROM consents")) == 2


def test_agreement_taken_elsewhere_is_one_record_for_each_purpose(store):
    for number, purpose in enumerate(["study", "study", "demo"]):
        store.contribute(NewItem("api", "x"), says(f"r{number}"), None, purpose)
    assert rows(store, "SELECT code, purpose FROM consents") == [(None, "study"), (None, "demo")]


def test_the_words_agreed_to_say_what_is_kept_for_what_and_how_to_withdraw():
    assert all(word in PURPOSE for word in ("kept", "label", "improve the model", "withdrawal code", "removed"))


def test_contributed_knows_whose_a_judgement_is(store):
    made = store.contribute(NewItem("api", "x"), says("r1"), CODE, "tests")
    store.judge(made.item, says("r2", "anger", "Bob"))
    assert store.contributed(CODE, "r1") and store.contributed(CODE.lower(), "r1")
    assert not store.contributed(OTHER_CODE, "r1")
    assert not store.contributed(CODE, "r2") and not store.contributed(CODE, "never")


def test_withdrawal_counts_the_faces_and_leaves_id_and_time_alone(store):
    for number in range(3):
        store.contribute(NewItem("api", f"clip {number}"), says(f"r{number}"), CODE, "tests")
    store.contribute(NewItem("api", "theirs"), says("kept"), OTHER_CODE, "tests")
    store.judge(1, says("also gone", "anger", "Bob"))
    store.undo("r1")
    assert store.withdraw(CODE.lower()) == 3
    left = rows(store, "SELECT * FROM withdrawn")
    assert [row[0] for row in left] == [1, 2, 3] and all(len(row) == 2 and row[1].endswith("Z") for row in left)
    assert rows(store, "SELECT request FROM judgements") == [("kept",)]
    assert rows(store, "SELECT item FROM standing") == rows(store, "SELECT id FROM items") == [(4,)]
    assert len(rows(store, "SELECT * FROM consents")) == 1


def test_an_agreement_without_faces_can_be_withdrawn_too(store):
    store.agree(CODE, "tests")
    assert store.withdraw(CODE) == 0
    assert rows(store, "SELECT * FROM consents") == []


@pytest.mark.parametrize("contributed", [True, False])
def test_where_nothing_is_kept_under_a_code_withdrawal_says_so(store, contributed):
    if contributed:
        store.contribute(NewItem("api", "x"), says("r1"), CODE, "tests")
        store.withdraw(CODE)
    with pytest.raises(UnknownItem, match=r"^Nothing is kept under this code; it was mistyped, or all was withdrawn before\.$"):
        store.withdraw(CODE)


def test_the_number_of_a_withdrawn_face_is_not_used_again(store):
    made = store.contribute(NewItem("api", "x"), says("r1"), CODE, "tests")
    store.withdraw(CODE)
    again = store.contribute(NewItem("api", "x"), says("r1"), CODE, "tests")
    assert again.item > made.item and again.id > made.id
    assert store.withdraw(CODE) == 1


def test_plain_sql_deletes_judgements_only_where_the_face_was_withdrawn(store, tmp_path):
    store.contribute(NewItem("api", "x"), says("r1"), CODE, "tests")
    with closing(sqlite3.connect(store.database.path)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="deleted by a withdrawal only"):
            connection.execute("DELETE FROM judgements")
        connection.execute("INSERT INTO withdrawn VALUES (1, '')")
        assert connection.execute("DELETE FROM judgements").rowcount == 1


def test_people_are_told_where_their_face_goes():
    assert purpose() == PURPOSE and "somebody/labels" in purpose("somebody/labels") and purpose("x/y").startswith(PURPOSE)
