"""Whose labels a snapshot holds: newcomers wait, nobody outweighs the rest, many names of one person are worth one."""

from __future__ import annotations

import itertools

import pytest
from calls import assert_sentence
from label_workspaces import CODE, OTHER_CODE, says
from queued import made_up

from labeling import trust
from labeling.consents import code_hash
from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.people import LABELER, OWNER, PUBLIC, TRAINER, Caller
from labeling.readiness import readiness
from labeling.snapshot import SnapshotError, gathered, take
from labeling.splits import side_of
from labeling.store import LabelStore
from labeling.trust import PROVEN, SHARE, Contributor, Newcomers, ceiling, decide, faces_of, put, weighed

_numbers = itertools.count(1)
EVE, ADA, TOM = Caller(LABELER, "user eve", "eve"), Caller(OWNER, "user ada", "ada"), Caller(LABELER, "user tom", "tom")
GUEST = Caller(LABELER, "label key, address 1.1.1.1")
VISITOR = Caller(PUBLIC, "address 6.6.6.6")
HOME = Caller(OWNER, "address 127.0.0.1", at_home=True)


@pytest.fixture
def newcomers(store: LabelStore) -> Newcomers:
    return Newcomers(lambda: store)


def faces(store: LabelStore, count: int, side: str = "train") -> list[int]:
    """So many faces that are no near-duplicates, each on its own, on `side`."""
    numbers = [next(_numbers) for _ in range(count)]
    return store.add(NewItem("set", f"g{number}", made_up(number).png, 16, 16, (0, 0, 16, 16), split=side) for number in numbers)


def say(store: LabelStore, newcomers: Newcomers, caller: Caller | None, item: int, label: str = "fear", name: str = "eve") -> int:
    """`caller` labels `item` as the app does it; the number of the judgement."""
    name = name if caller is None else caller.annotator(name)
    newcomers.admit(caller, name)
    return store.judge(item, Judgement(f"r{next(_numbers)}", name, label)).id


def give(store: LabelStore, code: str | None, name: str = "visitor x", label: str = "fear") -> int:
    """A visitor corrects a face; its item."""
    number = next(_numbers)
    item = NewItem("photo", f"photo:{number}", made_up(number).png, 16, 16, (0, 0, 16, 16), split="train")
    return store.contribute(item, Judgement(f"r{number}", name, label), code, "tests").item


def trained_on(store: LabelStore) -> set[int]:
    return {line["item"] for line in gathered(store)[0]}


def one(store: LabelStore, name: str) -> Contributor:
    (found,) = (each for each in weighed(store).contributors if each.name == name)
    return found


# --- at home ------------------------------------------------------------------------------------


def test_at_home_and_from_imports_everything_counts(store, newcomers):
    items = faces(store, 3)
    say(store, newcomers, HOME, items[0], name="Maria")
    say(store, newcomers, None, items[1], name="Maria")
    list(store.bring([(NewItem("set", "i", made_up(9999).png, 16, 16), [says("import:1", annotator="FER+", votes={"fear": 9})])]))
    assert len(trained_on(store)) == 3 and weighed(store).contributors == ()


# --- visitors -----------------------------------------------------------------------------------


def test_a_visitors_label_is_kept_and_waits_for_an_owner(store, newcomers):
    item = give(store, CODE)
    assert trained_on(store) == set() and one(store, "visitor x").held == 1
    say(store, newcomers, ADA, item, "anger")
    assert gathered(store)[0][0]["votes"] == {"anger": 1.0}, "the owner's own label counts, the visitor's does not"
    say(store, newcomers, ADA, item, "fear")
    assert gathered(store)[0][0]["votes"] == {"fear": 2.0}


def test_two_people_who_are_known_release_it_and_one_does_not(store, newcomers):
    for name in ("tom", "lea"):
        with store.database.writing() as connection:
            put(connection, name, "trusted", "ada")
    item = give(store, CODE)
    say(store, newcomers, TOM, item)
    assert gathered(store)[0][0]["votes"] == {"fear": 1.0}
    say(store, newcomers, Caller(LABELER, "user lea", "lea"), item)
    assert gathered(store)[0][0]["votes"] == {"fear": 3.0}


def test_newcomers_do_not_vouch_for_each_other(store, newcomers):
    item = give(store, CODE)
    for number in range(10):
        say(store, newcomers, Caller(LABELER, f"user sock{number}", f"sock{number}"), item)
    assert trained_on(store) == set() and weighed(store).held == 11


def test_the_owner_releases_a_visitor_by_code_and_nobody_else_with_the_name(store):
    mine, others, uncoded = give(store, CODE), give(store, OTHER_CODE), give(store, None)
    keys = {each.key for each in weighed(store).contributors}
    assert len(keys) == 3
    decide(store, f"visitor x#{code_hash(CODE)[:16]}", True, "ada")
    assert trained_on(store) == {mine}
    decide(store, f"visitor x#{code_hash(CODE)[:16]}", False, "ada")
    assert trained_on(store) == set()
    with pytest.raises(ValueError) as caught:
        decide(store, "visitor x", True, "ada")  # no code: whoever sends under that name
    assert_sentence(str(caught.value))
    assert {mine, others, uncoded}.isdisjoint(trained_on(store))


def test_a_name_does_not_pass_for_one_with_a_code(store):
    give(store, CODE)
    released = f"visitor x#{code_hash(CODE)[:16]}"
    decide(store, released, True, "ada")
    give(store, None, released)
    give(store, OTHER_CODE, released)
    assert len(trained_on(store)) == 1 and weighed(store).held == 2


def test_after_a_withdrawal_nothing_is_left_of_the_code(store):
    give(store, CODE)
    decide(store, f"visitor x#{code_hash(CODE)[:16]}", True, "ada")
    store.withdraw(CODE)
    with store.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM trust").fetchone()[0] == 0


def test_a_decision_about_somebody_who_is_not_here_is_refused_in_a_sentence(store):
    with pytest.raises(ValueError) as caught:
        decide(store, "nobody", True, "ada")
    assert_sentence(str(caught.value))


# --- new names ----------------------------------------------------------------------------------


def test_a_new_name_waits_until_it_was_agreed_with_often_enough(store, newcomers):
    items = faces(store, PROVEN + 5)
    for item in items:
        say(store, newcomers, EVE, item)
    assert trained_on(store) == set() and one(store, "eve").held == PROVEN + 5
    for item in items[: PROVEN - 1]:
        say(store, newcomers, ADA, item)
    assert one(store, "eve").held == 6 and trained_on(store) == set(items[: PROVEN - 1])
    say(store, newcomers, ADA, items[PROVEN - 1])
    assert one(store, "eve").held == 0 and trained_on(store) == set(items)


def test_who_is_mostly_disagreed_with_stays_a_newcomer(store, newcomers):
    items = faces(store, 3 * PROVEN)
    for number, item in enumerate(items):
        say(store, newcomers, EVE, item, "happiness")  # says the commonest always
        say(store, newcomers, ADA, item, "happiness" if number < PROVEN else "sadness")
    found = one(store, "eve")
    assert (found.agreed, found.compared, found.held) == (PROVEN, 3 * PROVEN, 2 * PROVEN)


def test_who_is_released_counts_at_once_and_who_is_held_not_even_where_others_agree(store, newcomers):
    items = faces(store, 2)
    for item in items:
        say(store, newcomers, EVE, item)
    say(store, newcomers, ADA, items[0])
    decide(store, "eve", True, "ada")
    assert trained_on(store) == set(items)
    decide(store, "eve", False, "ada")
    votes = {line["item"]: line["votes"] for line in gathered(store)[0]}
    assert votes == {items[0]: {"fear": 1.0}}, "the owner's own"
    say(store, newcomers, EVE, items[1])
    assert one(store, "eve").standing == "held", "labeling on does not make it new again"


def test_a_name_that_labelled_at_home_keeps_those_labels(store, newcomers):
    before, after = faces(store, 2)
    say(store, newcomers, HOME, before, name="Maria")
    say(store, newcomers, GUEST, after, name="Maria")
    assert trained_on(store) == {before} and one(store, "Maria").held == 1


@pytest.mark.parametrize("caller", [ADA, Caller(TRAINER, "user ada", "ada"), Caller(OWNER, "own key, address 1.1.1.1")])
def test_whoever_may_train_is_no_newcomer(store, newcomers, caller):
    items = faces(store, 60)
    for item in items:
        say(store, newcomers, caller, item, name="ada")
    assert trained_on(store) == set(items) and weighed(store).contributors == ()


def test_nobody_labels_under_the_name_of_an_owner(store, newcomers):
    item, other = faces(store, 2)
    say(store, newcomers, Caller(OWNER, "own key, address 1.1.1.1"), item, name="Maria")
    with pytest.raises(ValueError) as caught:
        say(store, newcomers, GUEST, other, name=" Maria ")
    assert_sentence(str(caught.value))
    assert trained_on(store) == {item}


@pytest.mark.parametrize(
    ("caller", "name"), [(VISITOR, "Maria"), (EVE, "ada"), (Caller(LABELER, "label key, x", is_guest=True), "ada")]
)
def test_a_name_that_the_gate_did_not_give_is_not_admitted(newcomers, caller, name):
    with pytest.raises(ValueError) as caught:
        newcomers.admit(caller, name)
    assert_sentence(str(caught.value))
    newcomers.admit(caller, caller.annotator(name))


# --- taking back --------------------------------------------------------------------------------


def test_a_label_is_taken_back_by_who_gave_it(store, newcomers):
    (item,) = faces(store, 1)
    newcomers.admit(EVE, "eve")
    store.judge(item, says("eves", annotator="eve"))
    assert newcomers.may_undo(EVE, "eves") and newcomers.may_undo(ADA, "eves") and newcomers.may_undo(HOME, "eves")
    assert not newcomers.may_undo(TOM, "eves")
    assert newcomers.may_undo(TOM, "nothing"), "the store says that there is none"


def test_a_guest_takes_back_nothing_that_came_from_home_or_an_import(store, newcomers):
    items = faces(store, 3)
    store.judge(items[0], says("from home", annotator="Maria"))
    list(store.bring([(NewItem("set", "i", made_up(9998).png, 16, 16), [says("import:1", annotator="FER+", votes={"fear": 9})])]))
    newcomers.admit(ADA, "ada")
    store.judge(items[1], says("the owner's", annotator="ada"))
    newcomers.admit(GUEST, "Tom")
    store.judge(items[2], says("a guest's", annotator="Tom"))
    allowed = {request: newcomers.may_undo(GUEST, request) for request in ("from home", "import:1", "the owner's", "a guest's")}
    assert allowed == {"from home": False, "import:1": False, "the owner's": False, "a guest's": True}


# --- the share of one ---------------------------------------------------------------------------


def test_of_one_contributor_no_more_than_a_share_is_learned_from(store, newcomers):
    own, theirs = faces(store, 240), faces(store, 400)
    for item in own:
        say(store, newcomers, ADA, item, "happiness")
    for item in theirs:
        say(store, newcomers, EVE, item)
    decide(store, "eve", True, "ada")
    counted = len(trained_on(store)) - 240
    assert counted == 80 and counted <= SHARE * (240 + counted)
    assert one(store, "eve").over == 320
    assert trained_on(store) == trained_on(store), "always the same ones"


def test_some_labels_are_always_allowed(store, newcomers):
    for item in faces(store, 70):
        say(store, newcomers, EVE, item)
    for item in faces(store, 30, "test"):
        say(store, newcomers, EVE, item)
    decide(store, "eve", True, "ada")
    sides = [line["split"] for line in gathered(store)[0]]
    assert (sides.count("train"), sides.count("test")) == (50, 15)


def test_what_others_agree_with_is_not_cut(store, newcomers):
    items = faces(store, 70)
    for item in items:
        say(store, newcomers, EVE, item)
        say(store, newcomers, ADA, item)
    assert one(store, "eve").over == 0 and all(line["votes"] == {"fear": 2.0} for line in gathered(store)[0])


@pytest.mark.parametrize(("counts", "rest", "most"), [
    ([10], 0, 10), ([1000], 0, 50), ([1000], 150, 50), ([1000], 300, 100), ([1000, 1000], 300, 150), ([1000] * 8, 0, 1000),
    ([60, 1000], 0, 50),
])  # fmt: skip
def test_the_share_is_of_what_is_left_once_it_holds_for_all(counts, rest, most):
    assert ceiling(counts, rest, 50) == most
    kept = [min(count, most) for count in counts]
    assert all(count <= max(50, SHARE * (rest + sum(kept))) for count in kept)


# --- what the screens say, what goes to other copies --------------------------------------------


def test_readiness_and_the_snapshot_say_how_many_wait(store, newcomers, tmp_path):
    give(store, CODE)
    counted = readiness(store)
    assert counted.held == 1 and counted.to_learn == 0 and "1 label of newcomers waits" in counted.words
    with pytest.raises(SnapshotError) as caught:
        take(store, tmp_path / "snapshots")
    assert_sentence(str(caught.value))
    for item in faces(store, 30):
        say(store, newcomers, ADA, item)
    assert readiness(store).as_dict()["held"] == 1 and readiness(store).to_learn == 30
    taken = take(store, tmp_path / "snapshots")
    assert taken.faces["train"] == 30 and taken.as_dict()["held"] == 1


def test_what_was_computed_is_computed_anew_when_anything_changes(store, newcomers):
    items = faces(store, 2)
    assert weighed(store) is weighed(store)
    say(store, newcomers, EVE, items[0])
    assert weighed(store).held == 1 and weighed(store) is weighed(store)
    decide(store, "eve", True, "ada")
    assert weighed(store).held == 0
    decide(store, "eve", False, "ada")
    assert weighed(store).held == 1
    give(store, CODE)
    assert weighed(store).held == 2
    store.withdraw(CODE)
    assert weighed(store).held == 1


@pytest.mark.parametrize(("caller", "name", "waits"), [
    (HOME, "x", False), (None, "x", False), (ADA, "ada", False), (VISITOR, "visitor x", True), (EVE, "eve", True), (GUEST,
    "Tom", True),
])  # fmt: skip
def test_the_page_is_told_what_waits(newcomers, caller, name, waits):
    if caller and not caller.is_visitor:
        newcomers.admit(caller, name)
    assert newcomers.holds(caller, name) is waits


def test_what_a_newcomer_said_can_be_looked_at(store, newcomers):
    first, second = faces(store, 2)
    say(store, newcomers, EVE, first, "fear")
    say(store, newcomers, EVE, second, "anger")
    assert faces_of(store, "eve", 5) == [(second, "anger"), (first, "fear")] and faces_of(store, "nobody", 5) == []


def test_where_it_takes_long_a_screen_is_shown_what_was_found_a_moment_ago(store, newcomers, monkeypatch):
    items = faces(store, 2)
    say(store, newcomers, EVE, items[0])
    clock = iter([0.0, 10.0, 20.0, 300.0, 300.0, 310.0])  # begun, done after ten seconds, asked twice, begun, done
    monkeypatch.setattr(trust, "monotonic", lambda: next(clock))
    assert weighed(store).held == 1
    say(store, newcomers, EVE, items[1])
    assert weighed(store).held == 1
    assert len(gathered(store)[0]) == 0, "what training is given is always as it is now"
    assert weighed(store).held == 2


ROWS = [("new", "1"), ("new", ""), ("trusted", "3"), ("held", "4"), ("new", "9"), ("owner", "2")]


def test_rows_of_several_copies_come_out_the_same_in_any_order(store):
    outcomes = set()
    for number, order in enumerate(itertools.permutations(ROWS)):
        with store.database.writing() as connection:
            for standing, at in order:
                put(connection, f"eve{number}", standing, "x", at)
            row = connection.execute("SELECT standing, at FROM trust WHERE contributor = ?", (f"eve{number}",)).fetchone()
        outcomes.add(tuple(row))
    assert outcomes == {("held", "4")}
    with store.database.writing() as connection:
        for at in ("5", "2", "7"):
            put(connection, "tom", "new", "x", at)
        assert connection.execute("SELECT at FROM trust WHERE contributor = 'tom'").fetchone()[0] == "2"


def test_sides_are_those_of_snapshots(store, newcomers):
    number = next(number for number in itertools.count() if side_of(f"group {number}") == "test")
    (item,) = store.add([NewItem("set", f"group {number}", made_up(5).png, 16, 16, (0, 0, 16, 16))])
    say(store, newcomers, EVE, item)
    decide(store, "eve", True, "ada")
    assert gathered(store)[0][0]["split"] == "test"
