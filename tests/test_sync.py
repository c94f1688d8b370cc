"""Labels on the Hub: sent in time, read back, told truly; whatever the Hub answers. Over HTTP, with the real client."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from pathlib import Path

import pytest
from copies import QUICK, REPOSITORY, Copy, batches, small, soon
from label_workspaces import CODE, OTHER_CODE, assert_one_sentence, child, face, files_in, said_by, says
from local_hub import OTHER_TOKEN, TOKEN, LocalHub

from labeling.items import NewItem
from labeling.labels import LABELS
from labeling.sync import Pace


@pytest.fixture
def hub():
    with LocalHub() as one:
        yield one


@pytest.fixture
def copy(tmp_path, hub):
    """Makes copies of the app by name; each is closed in the end."""
    made: list[Copy] = []

    def make(name: str, pace: Pace = QUICK, token: str = TOKEN) -> Copy:
        made.append(Copy(tmp_path / name, hub, pace, token))
        return made[-1]

    yield make
    for one in made:
        one.close()


# --- there and back -----------------------------------------------------------------------------


def test_labels_go_to_a_private_repository_and_come_back_into_an_empty_workspace(copy, hub):
    a = copy("a")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    a.store.judge(a.number("r2"), says("r3", "anger", "Bob"))
    before = a.sync.state()
    assert (before.waiting, before.on_hub_at, before.removing) == (3, None, False) and "3 waiting" in before.in_words()
    done = a.sync.once()
    assert (done.sent, done.waiting, done.problem) == (3, 0, None)
    state = a.sync.state()
    assert state.waiting == 0 and state.on_hub_at >= state.saved_at == max(row[7] for row in a.said() if row[7])
    assert hub.repository(REPOSITORY).private
    b = copy("b")
    done = b.sync.once()
    assert (done.faces, done.labels, done.sent) == (2, 3, 0)
    assert b.said() == a.said() and b.stands() == a.stands() and b.store.picture(b.store.item(b.number("r1"))) == face(0)
    assert len(batches(hub)) == 1  # what came from the Hub does not go there again


def test_the_thread_sends_by_itself_and_others_read_by_themselves(copy, hub):
    a, b = copy("a"), copy("b")
    for one in (a, b):
        one.sync.start()
        assert one.sync.restored(10)
    a.gives(0, "r1")
    soon(lambda: b.store.annotation("r1"))
    b.store.judge(b.number("r1"), says("r2", "anger", "Bob"))
    soon(lambda: a.store.annotation("r2"))
    soon(lambda: a.sync.state().waiting == b.sync.state().waiting == 0)
    assert a.said() == b.said() and a.stands() == b.stands()


def test_nothing_of_it_lies_outside_the_workspace(copy, hub, tmp_path, monkeypatch):
    home = tmp_path / "home"
    code = f"""
from copies import *
hub = type("Hub", (), {{"address": {hub.address!r}}})
for name, index in (("a", 0), ("b", 1)):
    one = Copy(Path({str(tmp_path)!r}) / name, hub)
    one.gives(index, f"r{{index}}")
    assert one.sync.once().problem is None
    one.close()
"""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.delenv("HF_HOME", raising=False)
    home.mkdir()
    said_by(child(f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}"))
    names = [hashlib.sha256(face(index)).hexdigest() for index in (0, 1)]
    assert all(any(one in name for name in files_in(tmp_path / "b")) for one in names)
    for name, content in files_in(home).items():
        assert face(0)[100:200] not in content and face(1)[100:200] not in content, name


def test_the_database_and_the_features_never_go_there(copy, hub):
    from labeling.store import Score

    a = copy("a")
    number = a.gives(0, "r1").item
    features = [0.123, 4.567] * 32
    a.store.score([Score(number, "v1", [0.125] * 8, features)])
    a.sync.once()
    import numpy as np

    there = hub.everything()
    assert b"SQLite format" not in there and np.asarray(features, np.float16).tobytes()[:16] not in there
    assert all(name.startswith(("batches/", ".git")) for name in hub.files(REPOSITORY))


# --- pace ---------------------------------------------------------------------------------------


def commits(hub: LocalHub) -> int:
    return sum(path.startswith("POST") and "/commit/" in path for path in hub.requests)


def test_what_comes_in_a_minute_goes_in_one_commit_and_commits_are_apart(copy, hub):
    a = copy("a", Pace(first=1.0, apart=2.0, pull=60, look=0.02))
    a.sync.start()
    assert a.sync.restored(10)
    began = time.monotonic()
    for number in range(5):
        a.gives(number, f"r{number}")
        time.sleep(0.05)
    soon(lambda: a.sync.state().waiting == 0)
    assert 1.0 <= time.monotonic() - began < 2.0 and commits(hub) == 1
    sent = time.monotonic()
    a.gives(5, "r5")
    soon(lambda: a.sync.state().waiting == 0)
    assert time.monotonic() - sent >= 1.8 and commits(hub) == 2


def test_an_hour_has_forty_commits_at_most_and_the_state_says_so(copy, hub):
    a = copy("a", Pace(first=0, apart=0, an_hour=3, pull=60, look=0.01))
    a.sync.start()
    for number in range(5):
        a.gives(number, f"r{number}")
        time.sleep(0.3)
    state = soon(lambda: one if (one := a.sync.state()).problem else None)
    assert commits(hub) == 3 and state.waiting == 2 and state.problem.startswith("3 commits in an hour are the most")
    assert Pace().an_hour == 40 and 3600 / Pace().apart <= 40 and Pace().first + 30 >= Pace().apart


def test_what_waited_when_the_app_was_killed_goes_at_once(copy, hub, tmp_path):
    one = copy("a", Pace(first=3600, look=0.02))
    one.sync.start()
    assert one.sync.restored(10)
    one.gives(0, "r1")
    time.sleep(0.3)
    assert one.sync.state().waiting == 1
    one.close()
    again = copy("a", Pace(first=3600, look=0.02))
    again.sync.start()
    soon(lambda: again.sync.state().waiting == 0)


def test_flush_sends_at_once_and_says_whether_all_is_there(copy, hub):
    a = copy("a", Pace(first=3600, apart=3600, look=0.5))
    a.sync.start()
    assert a.sync.restored(10)
    for number in range(2):
        a.gives(number, f"r{number}")
        assert a.sync.flush(10) and a.sync.state().waiting == 0
    hub.stop()
    a.gives(2, "r2")
    began = time.monotonic()
    assert not a.sync.flush(1.0) and time.monotonic() - began < 2.0
    assert a.sync.state().waiting == 1


def test_flush_works_before_the_thread_runs(copy, hub):
    a = copy("a")
    a.gives(0, "r1")
    assert a.sync.flush(10) and len(batches(hub)) == 1


def test_a_large_import_goes_in_several_batches_behind_what_people_give(copy, hub):
    a = copy("a", small(faces=3, commit_bytes=60_000))
    faces = [NewItem("set", f"{n}", face(n), 112, 112, (0, 0, 112, 112), name=f"{n}.png") for n in range(8)]
    list(a.store.bring((one, [says(f"import:{n}")]) for n, one in enumerate(faces)))
    a.gives(0, "mine", CODE)
    done = a.sync.once()
    assert done.waiting == 0 and commits(hub) >= 2 and len(batches(hub)) >= 3
    first = min(batches(hub))
    assert b'"mine"' in batches(hub)[first]
    b = copy("b")
    b.sync.once()
    assert b.said() == a.said() and len(b.said()) == 9


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [503, 500, 429, 403, 400])
@pytest.mark.parametrize("where", ["/preupload/", "/large/", "/commit/", ""])
def test_a_burst_of_refusals_delays_labels_and_loses_none(copy, hub, status, where):
    a = copy("a")
    a.sync.start()
    assert a.sync.restored(10)
    hub.fail(3, status, where)
    a.gives(0, "r1")
    state = soon(lambda: one if (one := a.sync.state()).problem else None)
    assert_one_sentence(Exception(state.problem))
    assert state.waiting == 1
    a.gives(1, "r2")  # nobody is kept from labeling
    state = soon(lambda: one if (one := a.sync.state()).waiting == 0 and one.problem is None else None)
    assert state.on_hub_at >= state.saved_at
    b = copy("b")
    assert b.sync.once().labels == 2 and b.said() == a.said()


def test_the_hub_is_waited_for_as_long_as_it_asks(copy, hub):
    a = copy("a")
    a.sync.start()
    assert a.sync.restored(10)
    hub.fail(1, 429, "/commit/", retry_after=2)
    a.gives(0, "r1")
    state = soon(lambda: one if (one := a.sync.state()).problem else None)
    asked = len(hub.requests)
    assert "asks to wait" in state.problem
    time.sleep(1.2)
    assert len(hub.requests) == asked and a.sync.state().waiting == 1
    soon(lambda: a.sync.state().waiting == 0)


def test_an_answer_that_is_lost_makes_no_second_copy(copy, hub):
    a = copy("a")
    hub.lose_answers(1)
    a.gives(0, "r1")
    assert a.sync.once().problem
    assert len(batches(hub)) == 1 and a.sync.state().waiting == 1
    assert a.sync.once().problem is None and a.sync.state().waiting == 0
    assert len(batches(hub)) == 1
    b = copy("b")
    assert b.sync.once().labels == 1


def test_a_lost_answer_and_a_label_more_arrive_once(copy, hub):
    a = copy("a")
    a.sync.start()
    assert a.sync.restored(10)
    for number in range(6):
        hub.lose_answers(1)
        a.gives(number, f"r{number}")
        soon(lambda: a.sync.state().waiting == 0)
    b = copy("b")
    assert b.sync.once().labels == 6 and b.said() == a.said()


def test_without_a_network_labels_wait_and_arrive_later(copy, hub):
    a = copy("a")
    a.sync.start()
    assert a.sync.restored(10)
    a.gives(0, "r0")
    soon(lambda: a.sync.state().waiting == 0)
    hub.stop()
    for number in range(1, 6):
        a.gives(number, f"r{number}")
    state = soon(lambda: one if (one := a.sync.state()).problem else None)
    assert state.waiting == 5 and "network" in state.problem and state.on_hub_at < state.saved_at
    time.sleep(float(os.environ.get("FER_TEST_OFFLINE_SECONDS", "20")))
    assert a.sync.state().waiting == 5
    hub.start()
    soon(lambda: a.sync.state().waiting == 0 and a.sync.state().problem is None)
    b = copy("b")
    assert b.sync.once().labels == 6 and b.said() == a.said()


def test_an_app_that_starts_without_a_network_labels_and_reads_later(copy, hub):
    a = copy("a")
    a.gives(0, "r1")
    a.sync.once()
    hub.stop()
    b = copy("b")
    b.sync.start()
    assert not b.sync.restored(0.5)
    b.gives(1, "r2")
    state = b.sync.state()
    assert state.problem and not state.restored and state.waiting == 1 and "reading what is on the Hub" in state.in_words()
    hub.start()
    soon(lambda: b.store.annotation("r1") and b.sync.state().waiting == 0)
    assert b.sync.state().restored


def test_a_token_that_is_revoked_is_told_and_labels_go_on_with_another(copy, hub):
    a = copy("a")
    a.sync.start()
    assert a.sync.restored(10)
    user = hub.revoke()
    a.gives(0, "r1")
    state = soon(lambda: one if (one := a.sync.state()).problem else None)
    assert "token" in state.problem and state.waiting == 1
    hub.tokens[TOKEN] = user
    soon(lambda: a.sync.state().waiting == 0 and a.sync.state().problem is None)


def test_a_token_that_may_only_read_is_told(copy, hub):
    a = copy("a")
    a.gives(0, "r1")
    a.sync.once()
    hub.read_only.add(TOKEN)
    a.gives(1, "r2")
    done = a.sync.once()
    assert "may not write" in done.problem and done.waiting == 1


def test_a_repository_that_was_deleted_is_made_anew_and_gets_everything(copy, hub):
    a = copy("a")
    a.sync.start()
    assert a.sync.restored(10)
    for number in range(3):
        a.gives(number, f"r{number}", CODE if number else None)
    soon(lambda: a.sync.state().waiting == 0)
    hub.delete(REPOSITORY)
    a.gives(3, "r3")
    soon(lambda: ("datasets", REPOSITORY) in hub.repositories and a.sync.state().waiting == 0)
    assert hub.repository(REPOSITORY).private
    b = copy("b")
    assert b.sync.once().labels == 4 and b.said() == a.said()


def test_what_others_had_sent_to_a_deleted_repository_is_there_again_once(copy, hub):
    a, b = copy("a"), copy("b")
    a.gives(0, "r1"), b.gives(1, "r2")
    a.sync.once(), b.sync.once(), a.sync.once()
    hub.delete(REPOSITORY)
    b.sync.once(), a.sync.once(), b.sync.once()
    c = copy("c")
    assert c.sync.once().labels == 2 and c.said() == a.said() == b.said()


def test_a_batch_that_somebody_deleted_goes_there_again(copy, hub):
    a = copy("a")
    a.gives(0, "r1")
    a.sync.once()
    a.gives(1, "r2")
    a.sync.once()
    (first, _) = sorted(batches(hub))
    head = a.repository.head()
    a.repository.send("by hand", (), [first], head.commit)
    a.sync.once()
    b = copy("b")
    assert b.sync.once().labels == 2 and b.said() == a.said()


def test_a_repository_that_one_may_not_see_is_not_taken_for_deleted(copy, hub):
    a, b = copy("a"), copy("b", token=OTHER_TOKEN)
    a.gives(0, "r1"), b.gives(1, "r2")
    a.sync.once()
    done = b.sync.once()
    assert done.waiting == 1 and "closed to this token" in done.problem and len(batches(hub)) == 1
    assert_one_sentence(Exception(done.problem[0].upper() + done.problem[1:]))


def test_a_public_repository_gets_no_face(copy, hub):
    a = copy("a")
    a.repository.create()
    hub.repository(REPOSITORY).private = False
    a.gives(0, "r1")
    done = a.sync.once()
    assert done.waiting == 1 and "is public" in done.problem and face(0)[100:200] not in hub.everything()
    hub.repository(REPOSITORY).private = True
    time.sleep(0.1)
    assert a.sync.once().waiting == 0


def test_a_repository_that_becomes_public_gets_nothing_more(copy, hub):
    a = copy("a")
    a.gives(0, "r1")
    a.sync.once()
    hub.repository(REPOSITORY).private = False
    a.gives(1, "r2")
    assert "is public" in a.sync.once().problem and face(1)[100:200] not in hub.everything()


def test_a_damaged_batch_is_named_left_alone_and_stops_nothing(copy, hub):
    a = copy("a")
    for number in range(3):
        a.gives(number, f"r{number}")
        a.sync.once()
    names = sorted(batches(hub))
    stored = hub.repository(REPOSITORY)
    sha256 = stored.head.files[names[1]].sha256
    stored.objects[sha256] = stored.objects[sha256][:-50]
    a.repository.send("by hand", [("batches/00-not-a-zip.zip", b"x"), ("notes.txt", b"hello")])
    b = copy("b")
    done = b.sync.once()
    assert {row[0] for row in b.said()} == {"r0", "r2"} and done.damaged == ("batches/00-not-a-zip.zip", names[1])
    assert b.sync.state().damaged == done.damaged and done.problem is None
    b.gives(3, "r3")
    assert b.sync.once().waiting == 0 and a.sync.once().labels == 1


def test_one_batch_that_cannot_be_fetched_stops_nothing_and_is_tried_again(copy, hub):
    a = copy("a")
    for number in range(3):
        a.gives(number, f"r{number}")
        a.sync.once()
    (_, middle, _) = sorted(batches(hub))
    b = copy("b")
    read = b.repository.read
    b.repository.read = lambda name, commit: 1 / 0 if name == middle else read(name, commit)
    b.gives(3, "r3")
    b.sync.start()
    soon(lambda: b.sync.state().waiting == 0)
    assert b.sync.state().damaged == (middle,) and {row[0] for row in b.said()} == {"r0", "r2", "r3"}
    b.repository.read = read
    soon(lambda: b.store.annotation("r1"))
    soon(lambda: b.sync.state().damaged == ())


def test_a_picture_that_is_damaged_here_holds_back_its_face_only(copy, hub):
    a = copy("a")
    a.gives(0, "r1"), a.gives(1, "r2")
    path = a.store.images.path(a.store.item(a.number("r1")).image)
    whole = path.read_bytes()
    path.write_bytes(b"damaged")
    done = a.sync.once()
    assert done.waiting == 1 and "damaged on this disk" in done.problem
    b = copy("b")
    b.sync.once()
    assert {row[0] for row in b.said()} == {"r2"}
    a.close()
    path.write_bytes(whole)
    assert copy("a").sync.once().waiting == 0


def test_a_fault_in_the_client_is_logged_told_and_stops_nothing(copy, hub, monkeypatch, caplog):
    a = copy("a")
    monkeypatch.setattr(a.repository, "files", lambda commit: 1 / 0)
    a.sync.start()
    a.gives(0, "r1")
    state = soon(lambda: one if (one := a.sync.state()).problem else None)
    assert "ZeroDivisionError" in state.problem and "Traceback" in caplog.text
    monkeypatch.undo()
    soon(lambda: a.sync.state().waiting == 0)


# --- several at once ----------------------------------------------------------------------------

LABELS_EACH = 1000
PERSON = """
import pathlib, time
sys.path.insert(0, sys.argv[1])
from copies import *
from label_workspaces import says
one = Copy(pathlib.Path(sys.argv[2]), type("Hub", (), {"address": sys.argv[3]}))
name, count = sys.argv[4], int(sys.argv[5])
one.sync.start()
assert one.sync.restored(30)
items = [one.gives(index, f"{name}-face-{index}", annotator=name).item for index in range(8)]
for number in range(count - 8):
    one.store.judge(items[number % 8], says(f"{name}-{number}", annotator=name))
assert one.sync.flush(60), one.sync.state()
(one.folder / "done").touch()
while not (one.folder.parent / "all done").exists(): time.sleep(0.05)
assert one.sync.once().problem is None
one.close()
"""


def test_two_processes_with_a_thousand_labels_each_have_two_thousand_both(copy, hub, tmp_path):
    processes = [
        child(PERSON, Path(__file__).parent, tmp_path / name, hub.address, name, LABELS_EACH) for name in ("Ada", "Bob")
    ]
    ready = [tmp_path / name / "done" for name in ("Ada", "Bob")]
    soon(lambda: all(path.exists() for path in ready) or any(one.poll() for one in processes), 120)
    (tmp_path / "all done").touch()
    for one in processes:
        said_by(one)
    a, b = copy("Ada"), copy("Bob")
    assert len(a.said()) == len(b.said()) == 2 * LABELS_EACH and a.said() == b.said() and a.stands() == b.stands()
    assert a.sync.state().waiting == b.sync.state().waiting == 0
    c = copy("c")
    assert c.sync.once().labels == 2 * LABELS_EACH and c.said() == a.said()


def test_two_processes_on_one_workspace_send_nothing_twice(copy, hub):
    a, again = copy("a"), copy("a")
    for number in range(4):
        a.gives(number, f"r{number}")
        together = [threading.Thread(target=one.sync.once) for one in (a, again)]
        for one in together:
            one.start()
        for one in together:
            one.join()
    a.sync.once()
    b = copy("b")
    assert b.sync.once().labels == 4 and b.said() == a.said() and a.sync.state().waiting == 0


def test_many_small_batches_become_few_and_say_the_same(copy, hub):
    a = copy("a", Pace(**{**vars(QUICK), "many": 10}))
    number = a.gives(0, "r0", CODE).item
    a.gives(1, "other", OTHER_CODE)
    for count in range(1, 13):
        a.store.judge(number, says(f"r{count}", LABELS[count % 8], f"person {count % 3}"))
        a.sync.once()
    a.sync.once()
    assert len(batches(hub)) <= 3 and not [name for name in hub.files(REPOSITORY) if name.startswith("purge/")]
    assert len(hub.repository(REPOSITORY).objects) == len(batches(hub))  # nor do the old ones lie about
    assert a.sync.state().waiting == 0
    b = copy("b")
    assert b.sync.once().labels == 14 and b.said() == a.said() and b.stands() == a.stands()


def test_the_state_is_plain_json_and_words(copy, hub):
    a = copy("a")
    a.gives(0, "r1")
    state = a.sync.state()
    assert json.loads(json.dumps(state.as_dict()))["words"] == state.in_words()
    assert state.in_words().startswith("on this disk ") and " · on the Hub not yet · 1 waiting" in state.in_words()


def test_asking_for_the_state_is_cheap_while_much_waits(copy, hub):
    a = copy("a")
    items = a.store.add(NewItem("api", f"clip {n}") for n in range(3000))
    with a.store.database.writing() as connection:
        connection.executemany(
            "INSERT INTO judgements (request, item, annotator, kind, label, suggested, at) "
            "VALUES (?, ?, 'Ada', 'label', 'fear', 0, '2026')",
            [(f"r{n}-{m}", item) for n, item in enumerate(items) for m in range(7)],
        )  # fmt: skip
    assert a.sync.state().waiting == 21_000
    began = time.monotonic()
    for _ in range(50):
        a.sync.state()
    assert time.monotonic() - began < 1.0


def test_it_works_on_a_disk_of_another_machine_too(copy, hub, monkeypatch):
    from labeling import database

    monkeypatch.setattr(database, "on_network", lambda path: True)  # no write-ahead log: a reader keeps writers out
    a = copy("a")
    a.sync.start()
    assert a.sync.restored(10)
    for number in range(6):
        a.gives(number, f"r{number}", CODE if number % 2 else None)
        a.sync.state()
    soon(lambda: a.sync.state().waiting == 0)
    a.store.withdraw(CODE)
    assert a.sync.removed(10) and a.sync.state().waiting == 0
    b = copy("b")
    assert b.sync.once().labels == 3 and b.said() == a.said()
