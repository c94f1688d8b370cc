"""The store as a whole: readings of models, withdrawal, and disks and processes that fail half-way."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from label_workspaces import (
    CODE,
    OTHER_CODE,
    assert_one_sentence,
    child,
    chip,
    face,
    files_in,
    fill,
    png,
    read_only,
    said_by,
    says,
    small_disk,
)

from labeling import consents, database, judgements, schema
from labeling.database import NAME, StoreError
from labeling.images import ABANDONED_SECONDS
from labeling.items import Catalogue, NewItem, UnknownItem
from labeling.store import LabelStore, Score


def photo(index: int = 0, group: str = "photo") -> NewItem:
    return NewItem("photo", group, face(index), 112, 112, (0, 0, 112, 112))


def reading(item: int, model: str = "v1", dimensions: int = 64) -> Score:
    """What a model could say of `item`; no two items are alike."""
    drawn = np.random.default_rng(item)
    return Score(item, model, drawn.dirichlet(np.ones(8)).astype(np.float32), drawn.normal(size=dimensions).astype(np.float32))


def count(store: LabelStore, table: str) -> int:
    with store.database.reading() as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def assert_whole(store: LabelStore) -> None:
    """Every row has what it points to, every picture its content, and no file is half-written."""
    with store.database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        orphans = "SELECT id FROM items WHERE consent IS NOT NULL AND id NOT IN (SELECT item FROM judgements)"
        assert connection.execute(orphans).fetchall() == []
        names = [row["image"] for row in connection.execute("SELECT image FROM items WHERE image IS NOT NULL")]
    for name in names:
        assert hashlib.sha256(store.images.get(name)).hexdigest() == name
    assert not list(store.database.path.parent.rglob("*.partial"))


def traces(folder: Path, *secrets: bytes) -> dict[str, list[bytes]]:
    """The files under `folder` in which one of `secrets` is found."""
    found = {name: [one for one in secrets if one in content] for name, content in files_in(folder).items()}
    return {name: ones for name, ones in found.items() if ones}


# --- what models say ----------------------------------------------------------------------------


def test_a_reading_comes_back_and_the_newest_takes_its_place(store):
    store.add([photo()])
    assert store.scored(1) is None
    for model in ("v1", "v2"):
        given = reading(1, model)
        store.score([given])
        kept = store.scored(1)
        assert (kept.item, kept.model) == (1, model)
        assert kept.probabilities.dtype == kept.features.dtype == np.float32
        np.testing.assert_array_equal(kept.probabilities, given.probabilities)
        np.testing.assert_allclose(kept.features, given.features, atol=2e-3)  # kept at half precision
    assert count(store, "scores") == 1


def test_faces_to_be_read_come_newest_first_and_only_those_with_pixels(store):
    store.add([photo(0), photo(1), NewItem("api", "no pixels"), photo(2)])
    store.score([reading(2)])
    assert [one.id for one in store.unscored("v1", 10)] == [4, 1]
    assert [one.id for one in store.unscored("v1", 1)] == [4]
    assert [one.id for one in store.unscored("v2", 10)] == [4, 2, 1]


def test_a_face_withdrawn_meanwhile_is_passed_over_by_the_scorer(store):
    store.contribute(photo(0), says("r1"), CODE, "tests")
    store.add([photo(1)])
    store.withdraw(CODE)
    store.score([reading(1), reading(2)])
    assert store.scored(1) is None and store.scored(2) is not None and count(store, "scores") == 1


# --- pictures -----------------------------------------------------------------------------------


def test_an_altered_picture_is_refused_in_a_sentence(store):
    (number,) = store.add([photo()])
    item = store.item(number)
    store.images.path(item.image).write_bytes(face(1))
    with pytest.raises(StoreError, match="was altered on disk; restore it from a backup") as caught:
        store.picture(item)
    assert "altered" in str(caught.value) and str(caught.value).endswith(".")


def test_a_picture_that_was_removed_by_hand_is_missed_in_a_sentence(store, tmp_path):
    (number,) = store.add([photo()])
    item = store.item(number)
    store.images.path(item.image).unlink()
    with pytest.raises(StoreError) as caught:
        store.picture(item)
    assert_one_sentence(caught.value, tmp_path)


def test_a_sweep_removes_what_a_killed_process_left_and_nothing_else(store):
    store.add([photo(0)])
    left = store.images.put(face(1))  # its row never came
    fresh = store.images.put(face(2))
    for name in store.images.names():
        if name != fresh:
            os.utime(store.images.path(name), (time.time() - ABANDONED_SECONDS - 60,) * 2)
    assert store.sweep() == 1
    assert not store.images.path(left).exists() and store.images.path(fresh).exists()
    assert store.picture(store.item(1)) == face(0)


def test_the_same_picture_from_two_processes_at_once_is_one_item(store, tmp_path):
    (tmp_path / "face.png").write_bytes(face())
    code = """
import pathlib, time
from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.store import LabelStore
folder, who = pathlib.Path(sys.argv[1]), sys.argv[2]
store, content = LabelStore(folder / "labels"), (folder / "face.png").read_bytes()
while not (folder / "go").exists(): time.sleep(0.001)
for number in range(10):
    print(store.contribute(NewItem("api", who, content), Judgement(f"{who} {number}", who, "anger"), None, "tests").item)
"""
    processes = [child(code, tmp_path, name) for name in ("Ada", "Bob")]
    (tmp_path / "go").touch()
    assert [said_by(one).split() for one in processes] == [["1"] * 10] * 2
    assert count(store, "items") == 1 and count(store, "judgements") == 20
    assert_whole(store)


def test_readers_are_not_kept_waiting_by_writers(store):
    store.add([photo()])
    with store.database.writing():
        found = []
        reader = threading.Thread(target=lambda: found.append(store.item(1)))
        reader.start()
        reader.join(timeout=20)
        assert len(found) == 1


# --- withdrawal ---------------------------------------------------------------------------------


def contributed(store: LabelStore, index: int, code: str, name: str) -> list[bytes]:
    """A face with judgements and a reading; the bytes that must be gone after its withdrawal."""
    made = store.contribute(NewItem("live", f"group of {name}", face(index), 112, 112), says(f"first of {name}", annotator=name), code, "tests")
    store.score([reading(made.item)])
    store.judge(made.item, says(f"second of {name}", "anger", annotator=name))
    store.judge(made.item, says(f"Bob on {name}", "fear", annotator="Bob"))
    store.undo(f"second of {name}")
    given = reading(made.item)
    return [
        face(index)[60:], face(index)[2000:2064], given.features.astype(np.float16).tobytes(), given.probabilities.tobytes(),
        f"group of {name}".encode(), f"first of {name}".encode(), f"second of {name}".encode(), f"Bob on {name}".encode(),
        name.encode(), consents.code_hash(code).encode(), hashlib.sha256(face(index)).hexdigest().encode(),
    ]  # fmt: skip


def backed_up(store: LabelStore, number: int) -> None:
    """A backup as migration `number` makes one."""
    with closing(sqlite3.connect(store.database.path)) as connection:
        schema.backup(connection, store.database.path.with_name(f"{NAME}.before-{number}"), schema.version(connection))


def test_a_withdrawal_leaves_no_byte_in_any_file_of_the_workspace(store, tmp_path):
    gone = contributed(store, 0, CODE, "Grace Hopper-Murray")
    kept = contributed(store, 1, OTHER_CODE, "Eileen Collins-Young")
    backed_up(store, 2)
    backed_up(store, 3)
    assert len(traces(tmp_path, *gone)) >= 4  # the picture, the file, two backups: the search can find them
    path = store.images.path(store.item(1).image)
    assert store.withdraw(CODE) == 1
    assert traces(tmp_path, *gone) == {}
    assert not path.exists() and schema.backups(store.database.path) == []
    with pytest.raises(UnknownItem):
        store.item(1)
    assert store.scored(1) is None and store.annotation("Bob on Grace Hopper-Murray") is None and store.annotations(1) == []
    found = {one for ones in traces(tmp_path, *kept).values() for one in ones}
    assert found == set(kept) and store.picture(store.item(2)) == face(1) and store.scored(2) is not None
    assert_whole(store)


@pytest.mark.parametrize("seed", [1, 3])  # where copies were left before
def test_a_withdrawal_among_many_leaves_no_byte_either(store, tmp_path, seed):
    # Enough rows that SQLite moves them between pages, which leaves copies that it takes for free space.
    drawn = random.Random(seed)
    people = [f"person {number} {drawn.randbytes(8).hex()}" for number in range(12)]
    with store.database.writing() as connection:  # one transaction, for speed
        for number in range(1500):
            person = drawn.randrange(12)
            name = (people[person] + "/" + drawn.randbytes(drawn.randint(1, 12)).hex())[:60]
            consent = consents.agree(connection, f"CODE-OF-PERSON-{person:04d}", "tests")
            item = Catalogue(connection).add(connection, NewItem("live", f"group {name}"), None, None, consent)
            for label in drawn.choice([("anger",), ("anger", "fear")]):
                request = f"{label} {number} {name}" + "x" * drawn.randint(0, 90)
                judgements.insert(connection, item, says(request, label, name), consent)
    for person in drawn.sample(range(12), 6):
        assert store.withdraw(f"CODE-OF-PERSON-{person:04d}") > 0
        assert traces(tmp_path, people[person].encode()) == {}
    assert_whole(store)


def test_a_picture_that_another_agreement_needs_is_kept_until_that_is_withdrawn_too(store):
    for number, code in enumerate([CODE, OTHER_CODE]):
        store.contribute(photo(), says(f"r{number}"), code, "tests")
    assert store.withdraw(CODE) == 1
    assert store.picture(store.item(2)) == face() and store.annotation("r1") is not None
    assert store.item(2).twin is None  # it named the one that is gone
    assert store.withdraw(OTHER_CODE) == 1
    assert list(store.images.names()) == []


def test_a_picture_that_an_import_also_brought_is_kept(store):
    store.add([photo()])
    store.contribute(photo(), says("r1"), CODE, "tests")
    store.withdraw(CODE)
    assert store.picture(store.item(1)) == face() and store.annotation("r1") is None


def test_near_duplicates_of_a_withdrawn_face_stay_together(store):
    store.contribute(photo(0, "first"), says("r1"), CODE, "tests")
    store.add([NewItem("photo", "second", png(chip(0, 1))), NewItem("photo", "third", png(chip(0, 2)))])
    store.withdraw(CODE)
    assert [store.item(one).twin for one in (2, 3)] == [None, None]
    assert store.item(2).group == store.item(3).group
    (later,) = store.add([NewItem("photo", "fourth", png(chip(0, -1)))])
    assert store.item(later).twin == 2 and store.item(later).group == store.item(2).group


def test_a_face_contributed_again_after_its_withdrawal_is_a_new_one(store):
    store.contribute(photo(), says("r1"), CODE, "tests")
    store.withdraw(CODE)
    made = store.contribute(photo(), says("r2"), CODE, "tests")
    assert made.item == 2 and store.picture(store.item(2)) == face() and store.item(2).twin is None


# What the child does before it is killed: rows are gone for good, the rest is still to be done.
KILLED = """
import os, signal
from labeling.store import LabelStore
store = LabelStore(sys.argv[1])
store._remove_doomed = lambda: os.kill(os.getpid(), signal.SIGKILL)
store.withdraw(sys.argv[2])
"""


@pytest.mark.parametrize("migrated", [False, True])
def test_a_withdrawal_whose_process_is_killed_is_finished_when_the_store_opens_again(tmp_path, migrated):
    store = LabelStore(tmp_path)
    gone = contributed(store, 0, CODE, "Grace Hopper-Murray")
    contributed(store, 1, OTHER_CODE, "Eileen Collins-Young")
    if migrated:
        backed_up(store, 2)
    store.close()
    killed = child(KILLED, tmp_path, CODE)
    assert killed.wait(timeout=30) == -signal.SIGKILL
    assert len(list((tmp_path / "images").rglob("*.png"))) == 2
    again = LabelStore(tmp_path)
    assert len(list(again.images.names())) == 1 and count(again, "doomed") == 0
    assert again.picture(again.item(2)) == face(1)
    assert_whole(again)
    again.close()
    assert traces(tmp_path, *gone) == {}


def test_a_doomed_picture_that_somebody_contributes_again_is_kept(store, tmp_path):
    store.contribute(photo(), says("r1"), CODE, "tests")
    with store.database.writing() as connection:  # the rows are gone, the process is killed here
        consents.withdraw(connection, CODE)
    assert count(store, "doomed") == 1
    made = store.contribute(photo(), says("r2"), OTHER_CODE, "tests")
    again = LabelStore(tmp_path / "labels")
    assert again.picture(again.item(made.item)) == face() and count(again, "doomed") == 0
    again.close()


def test_a_withdrawal_that_a_reader_held_up_can_be_finished_as_its_sentence_says(store, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.1)
    gone = contributed(store, 0, CODE, "Grace Hopper-Murray")
    with store.database.reading() as connection:
        connection.execute("SELECT * FROM items").fetchall()
        with pytest.raises(StoreError, match="withdraw again to remove the last traces"):
            store.withdraw(CODE)
    store.withdraw(CODE)
    assert traces(tmp_path, *gone) == {}


def test_a_withdrawal_with_another_process_open_leaves_no_byte(store, tmp_path):
    code = """
import time
from labeling.store import LabelStore
store = LabelStore(sys.argv[1])
store.item(1)
print("open", flush=True)
time.sleep(0.5)
"""
    gone = contributed(store, 0, CODE, "Grace Hopper-Murray")
    other = child(code, tmp_path / "labels")
    assert other.stdout.readline() == "open\n"
    store.withdraw(CODE)
    assert traces(tmp_path, *gone) == {}
    assert said_by(other) == ""


def test_on_a_disk_of_another_machine_a_withdrawal_leaves_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "on_network", lambda path: True)
    store = LabelStore(tmp_path)
    gone = contributed(store, 0, CODE, "Grace Hopper-Murray")
    assert not (tmp_path / f"{NAME}-wal").exists()
    store.withdraw(CODE)
    assert traces(tmp_path, *gone) == {}
    store.close()


# --- disks that do not obey ---------------------------------------------------------------------


def every_change(store: LabelStore):
    """One call of every method that writes, with the face 1 and the judgement r1 there."""
    return {
        "add": lambda: store.add([photo(5)]),
        "judge": lambda: store.judge(1, says("r new", "anger")),
        "contribute": lambda: store.contribute(photo(6), says("r new"), OTHER_CODE, "tests"),
        "undo": lambda: store.undo("r1"),
        "score": lambda: store.score([reading(1, "v new", 4000)]),
        "agree": lambda: store.agree(OTHER_CODE, "tests"),
        "withdraw": lambda: store.withdraw(CODE),
    }


CHANGES = ("add", "judge", "contribute", "undo", "score", "agree", "withdraw")


@pytest.mark.parametrize("change", CHANGES)
def test_on_a_full_disk_every_change_is_refused_whole_and_works_once_there_is_room(tmp_path, change):
    disk = tmp_path / "disk"
    with small_disk(disk, "2m"):
        store = LabelStore(disk / "labels")
        store.contribute(photo(0), says("r1"), CODE, "tests")
        ballast = fill(disk)
        filler = 0
        with pytest.raises(StoreError):  # the log has some room left that it wrote before
            while True:
                store.judge(1, says(f"filler {filler}", annotator="Bob"))
                filler += 1
        before = (count(store, "items"), count(store, "judgements"), count(store, "scores"), count(store, "consents"))
        assert before == (1, 1 + filler, 0, 1)
        pictures = set(store.images.names())
        with pytest.raises(StoreError, match="full; free some space") as caught:
            every_change(store)[change]()
        assert_one_sentence(caught.value, disk)
        assert before == (count(store, "items"), count(store, "judgements"), count(store, "scores"), count(store, "consents"))
        assert set(store.images.names()) == pictures and store.picture(store.item(1)) == face(0)
        assert_whole(store)
        ballast.unlink()
        every_change(store)[change]()
        assert_whole(store)
        store.close()


def test_contributions_until_the_disk_is_full_lose_none_that_was_acknowledged(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "2m"):
        store = LabelStore(disk / "labels")
        acknowledged = []
        with pytest.raises(StoreError, match="disk of the workspace is full"):
            for number in range(1000):
                content = png(chip(number % 8).rotate(number // 8 * 5).resize((120, 120)))
                made = store.contribute(NewItem("live", f"clip {number}", content), says(f"r{number}"), CODE, "tests")
                acknowledged.append((made, content))
        assert len(acknowledged) > 10
        store.close()
        moved = tmp_path / "elsewhere"
        shutil.copytree(disk / "labels", moved)  # onto a disk with room
        again = LabelStore(moved)
        for made, content in acknowledged:
            assert again.annotation(made.request) == made
            assert again.picture(again.item(made.item)) == content
        assert count(again, "judgements") == len(acknowledged)
        assert_whole(again)
        again.close()


def test_a_read_only_workspace_is_refused_and_opens_later_with_all_that_was_in_it(tmp_path):
    folder = tmp_path / "labels"
    store = LabelStore(folder)
    made = store.contribute(photo(), says("r1"), CODE, "tests")
    store.close()
    before = files_in(folder)
    with read_only(folder):
        with pytest.raises(StoreError, match="cannot be written; make the workspace writable") as caught:
            LabelStore(folder)
        assert files_in(folder) == before
    assert_one_sentence(caught.value, folder)
    again = LabelStore(folder)
    assert again.annotations(1) == [made] and again.picture(again.item(1)) == face()
    again.close()


def test_a_user_without_rights_may_read_and_is_refused_every_change():
    place = Path(tempfile.mkdtemp())  # below pytest's own folder another user sees nothing at all
    place.chmod(0o755)
    code = """
from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.store import LabelStore, Score, StoreError
store, code = LabelStore(sys.argv[1]), sys.argv[2]
item = store.item(1)
content, new = store.picture(item), Judgement("r new", "Bob", "anger")
print(store.annotation("r1").label)
for change in (
    lambda: store.add([NewItem("photo", "theirs", content)]), lambda: store.judge(1, new),
    lambda: store.contribute(NewItem("photo", "theirs", content), new, code[::-1], "tests"), lambda: store.undo("r1"),
    lambda: store.score([Score(1, "v1", [0.125] * 8, [0.0])]), lambda: store.agree(code[::-1], "tests"),
    lambda: store.withdraw(code),
):
    try:
        change()
        print("was allowed")
    except StoreError as error:
        print(error)
"""
    try:
        store = LabelStore(place)  # stays open: its log lets others read
        store.contribute(photo(), says("r1"), CODE, "tests")
        before = files_in(place)
        label, *said = said_by(child(code, place, CODE, nobody=True)).splitlines()
        assert label == "happiness" and len(said) == 7
        for sentence in said:
            assert_one_sentence(StoreError(sentence), place)
            assert "cannot be written" in sentence
        after = files_in(place)
        assert {**after, f"{NAME}-shm": b""} == {**before, f"{NAME}-shm": b""}  # readers leave their marks in that one
        assert_whole(store)
        store.close()
    finally:
        shutil.rmtree(place)


# --- processes that are killed ------------------------------------------------------------------

WORKER = """
import io, random
from PIL import Image
from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.store import LabelStore
folder, run, count = sys.argv[1], sys.argv[2], 0
store, drawn = LabelStore(folder), random.Random(run)
while True:
    count += 1
    request = f"{run}-{count}"
    file = io.BytesIO()
    Image.frombytes("L", (16, 16), drawn.randbytes(256)).save(file, "PNG")
    if count % 3 == 1:
        item = store.contribute(NewItem("live", run, file.getvalue()), Judgement(request, "Ada", "anger"), None, "tests").item
    else:
        store.judge(item, Judgement(request, f"person {count % 5}", "fear"))
    print(request, flush=True)
    if count % 7 == 0:
        store.undo(request)
        print("undo:" + request, flush=True)
"""


def test_whatever_was_acknowledged_is_there_after_a_kill_and_none_twice(tmp_path):
    drawn = random.Random()  # the instant differs from run to run
    acknowledged: list[str] = []
    for round_ in range(5):
        worker = child(WORKER, tmp_path, f"run{round_}")
        acknowledged.append(worker.stdout.readline().strip())
        time.sleep(drawn.uniform(0, 0.25))
        worker.send_signal(signal.SIGKILL)
        lines = worker.communicate(timeout=30)[0].splitlines(keepends=True)
        acknowledged += [line.strip() for line in lines if line.endswith("\n")]
        store = LabelStore(tmp_path)
        with store.database.reading() as connection:
            kept = [row["request"] for row in connection.execute("SELECT request FROM judgements")]
            pictured = connection.execute("SELECT count(*) FROM items WHERE image IS NOT NULL").fetchone()[0]
        assert set(acknowledged) <= set(kept) and len(set(kept)) == len(kept)
        assert len(kept) <= len(acknowledged) + round_ + 1  # each killed process had one answer to give at most
        assert pictured >= round_ + 1
        # What was half-written when the process died lies unnamed, until a sweep finds it old enough.
        for path in tmp_path.rglob("*.partial"):
            os.utime(path, (0, 0))
        store.sweep()
        assert_whole(store)
        store.close()
    assert len(acknowledged) > 20
