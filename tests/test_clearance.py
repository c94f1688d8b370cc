"""Withdrawal reaches the Hub: old addresses, old states, the server's memory; also when a copy is killed or overtaken half-way."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import pytest
from copies import QUICK, REPOSITORY, Copy, batches, soon
from label_workspaces import CODE, OTHER_CODE, face, says
from local_hub import TOKEN, LocalHub

from labeling import clearance
from labeling.batches import Batch
from labeling.consents import code_hash
from labeling.withdrawal import withdraw


@pytest.fixture
def hub():
    with LocalHub() as one:
        yield one


@pytest.fixture
def copy(tmp_path, hub):
    made: list[Copy] = []

    def make(name: str, pace=QUICK) -> Copy:
        made.append(Copy(tmp_path / name, hub, pace))
        return made[-1]

    yield make
    for one in made:
        one.close()


def status(hub: LocalHub, revision: str, path: str) -> int:
    """What the address of a file at a state answers."""
    address = f"{hub.address}/datasets/{REPOSITORY}/resolve/{revision}/{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def traces(hub: LocalHub, index: int) -> bool:
    """Whether the Hub still holds a part of the face `index`, in whatever file or state."""
    return face(index)[100:300] in hub.everything()


def addresses(hub: LocalHub) -> list[tuple[str, str]]:
    """Every batch at every state that there was."""
    one = hub.repository(REPOSITORY)
    states = [*one.commits, *one.lingering.values()]
    return [(state.oid, name) for state in states for name in state.files if name.startswith("batches/")]


def test_withdrawn_faces_are_nowhere_on_the_hub_and_others_stay(copy, hub):
    a = copy("a")
    a.gives(0, "r1", CODE), a.gives(1, "r2", OTHER_CODE), a.gives(2, "r3")
    a.sync.once()
    a.store.judge(a.number("r1"), says("r4", "anger", "Bob"))
    a.store.judge(a.number("r2"), says("r5", "anger", "Bob"))
    a.sync.once()
    old = addresses(hub)
    assert traces(hub, 0) and all(status(hub, *one) == 200 for one in [*old, *(("main", name) for _, name in old)])
    withdraw(a.folder, a.store, CODE)
    assert a.sync.state().removing and "on its way" in a.sync.state().in_words()
    assert a.sync.once().problem is None and not a.sync.state().removing
    assert all(status(hub, *one) == 404 for one in [*old, *(("main", name) for _, name in old)])
    assert not traces(hub, 0) and traces(hub, 1) and traces(hub, 2)
    everything = hub.everything()
    for secret in (b'"r1"', b'"r4"', code_hash(CODE).encode()):
        assert secret not in everything
    assert b'"r5"' in everything and not clearance.markers(hub.files(REPOSITORY))
    assert len(hub.repository(REPOSITORY).objects) == len(batches(hub))
    b = copy("b")
    assert b.sync.once().labels == 3 and b.said() == a.said() and b.stands() == a.stands() and a.sync.state().waiting == 0


def test_it_goes_out_at_once_whatever_the_pace(copy, hub):
    from labeling.sync import Pace

    a = copy("a", Pace(first=3600, apart=3600, pull=3600, look=0.05))
    a.gives(0, "r1", CODE)
    a.sync.once()
    a.sync.start()
    assert a.sync.restored(10)
    a.store.withdraw(CODE)
    assert a.sync.removed(10) and not traces(hub, 0) and not a.sync.state().removing


def test_another_copy_loses_it_too_with_its_snapshots(copy, hub):
    from labeling.snapshot import take

    a, b = copy("a"), copy("b")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    a.sync.once(), b.sync.once()
    taken = take(b.store, b.folder / "snapshots")
    b.store.judge(b.number("r1"), says("r3", "anger", "Bob"))
    b.sync.once()
    a.store.withdraw(CODE)
    a.sync.once()
    assert b.sync.once().removed == 1 and {row[0] for row in b.said()} == {"r2"}
    assert not list((b.folder / "labels" / "images").rglob(f"{face_name(0)}*")) and (taken.folder / "WITHDRAWN.json").exists()
    assert not traces(hub, 0) and b'"r3"' not in hub.everything()


def face_name(index: int) -> str:
    import hashlib

    return hashlib.sha256(face(index)).hexdigest()


def test_any_copy_that_knows_the_code_can_withdraw(copy, hub):
    a, b = copy("a"), copy("b")
    a.gives(0, "r1", CODE)
    a.sync.once(), b.sync.once()
    assert b.store.withdraw(CODE) == 1
    b.sync.once(), a.sync.once()
    assert a.faces() == b.faces() == 0 and not traces(hub, 0)


def test_a_copy_that_had_not_heard_cannot_bring_it_back(copy, hub):
    a, b = copy("a"), copy("b")
    a.gives(0, "r1", CODE)
    a.sync.once(), b.sync.once()
    hub_of_b, b.repository.head = b.repository.head, lambda: 1 / 0  # b is cut off
    b.store.judge(b.number("r1"), says("late", "anger", "Bob"))
    b.gives(3, "under the same code", CODE)
    a.store.withdraw(CODE)
    a.sync.once()
    b.repository.head = hub_of_b
    parcel = b.store  # b sends before it reads, as it may when both do so at once
    assert parcel is b.store
    b.sync._present, b.sync._seen = {}, "x"
    b.sync._send()
    assert traces(hub, 3) and b'"late"' in hub.everything()
    for one in (a, b, a):
        time.sleep(0.05)
        one.sync.once()
    assert not traces(hub, 0) and not traces(hub, 3) and b'"late"' not in hub.everything()
    assert a.faces() == b.faces() == 0 and not a.sync.state().removing and not b.sync.state().removing


def test_a_restart_after_the_withdrawal_does_not_bring_it_back(copy, hub):
    a = copy("a")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    a.sync.once()
    a.store.withdraw(CODE)
    a.sync.once()
    b = copy("b")  # an empty disk
    b.sync.once()
    assert {row[0] for row in b.said()} == {"r2"}


def test_a_withdrawal_without_a_network_is_kept_for_later(copy, hub):
    a = copy("a")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    a.sync.once()
    hub.stop()
    a.store.withdraw(CODE)
    state = a.sync.once()
    assert state.problem and a.sync.state().removing and not a.sync.removed(0.1)
    a.close()
    hub.start()
    again = copy("a")  # another process
    assert again.sync.state().removing
    again.sync.once()
    assert not traces(hub, 0) and traces(hub, 1) and not again.sync.state().removing


@pytest.mark.parametrize("times", [1, 3])
def test_a_copy_that_was_faster_is_read_and_it_begins_anew(copy, hub, times):
    a = copy("a")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    a.sync.once()
    hub.moved_before_commit = times
    a.store.withdraw(CODE)
    assert a.sync.once().problem is None
    assert hub.moved_before_commit == 0 and not traces(hub, 0) and traces(hub, 1)


def test_labels_that_come_between_are_kept(copy, hub):
    a, b = copy("a"), copy("b")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    a.sync.once(), b.sync.once()
    send = a.repository.send

    def overtaken(message, added=(), deleted=(), parent=None):
        a.repository.send = send
        b.store.judge(b.number("r2"), says("between", "anger", "Bob"))
        b.sync.once()
        return send(message, added, deleted, parent)

    a.repository.send = overtaken
    a.store.withdraw(CODE)
    a.sync.once()
    assert not traces(hub, 0) and b'"between"' in hub.everything()
    assert {row[0] for row in a.said()} == {"r2", "between"}


@pytest.mark.parametrize("step", ["send", "forget", "squash"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_another_copy_finishes_what_a_killed_one_began(copy, hub, step, after):
    a, b = copy("a"), copy("b")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    a.sync.once(), b.sync.once()
    a.store.withdraw(CODE)

    def killed(*arguments, **more):
        if after:
            real(*arguments, **more)
        raise KeyboardInterrupt

    real = getattr(a.repository, step)
    setattr(a.repository, step, killed)
    with pytest.raises(KeyboardInterrupt):
        a.sync.once()
    a.close()
    if step == "send" and not after:  # nobody else can know yet: the same workspace goes on
        copy("a").sync.once()
    else:
        soon(lambda: b.sync.once() and not clearance.markers(hub.files(REPOSITORY)))
    assert not traces(hub, 0) and traces(hub, 1)
    assert not clearance.markers(hub.files(REPOSITORY)) and len(hub.repository(REPOSITORY).commits) <= 2
    b.sync.once()
    assert {row[0] for row in b.said()} == {"r2"}


def test_uploads_that_were_never_committed_are_deleted_too(copy, hub):
    a = copy("a")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    a.repository.create()
    hub.fail(1, 503, "/commit/")
    assert a.sync.once().problem and traces(hub, 0) and batches(hub) == {}
    a.store.withdraw(CODE)
    time.sleep(0.1)
    a.sync.once()
    assert not traces(hub, 0) and traces(hub, 1) and a.sync.state().waiting == 0
    b = copy("b")
    b.sync.once()
    assert {row[0] for row in b.said()} == {"r2"}


def test_what_a_cut_off_upload_left_hours_ago_goes_along_and_what_is_under_way_stays(copy, hub):
    a = copy("a")
    a.gives(0, "r1", CODE)
    a.sync.once()
    stored = hub.repository(REPOSITORY)
    for name, seconds in (("a" * 64, 7 * 3600), ("b" * 64, 5 * 3600)):
        stored.objects[name], stored.pushed[name] = name.encode(), time.time() - seconds
    a.store.withdraw(CODE)
    a.sync.once()
    assert "a" * 64 not in stored.objects and "b" * 64 in stored.objects


def test_a_face_withdrawn_while_it_is_sent_does_not_stay(copy, hub):
    a = copy("a")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    send = a.repository.send

    def meanwhile(message, added=(), deleted=(), parent=None):
        a.repository.send = send
        added = list(added)
        a.store.withdraw(CODE)
        return send(message, added, deleted, parent)

    a.repository.send = meanwhile
    a.sync.once()
    time.sleep(0.05)
    a.sync.once()
    assert not traces(hub, 0) and traces(hub, 1) and not a.sync.state().removing and a.sync.state().waiting == 0


def test_a_refused_deletion_is_told_and_keeps_no_label_from_going(copy, hub):
    a = copy("a")
    a.gives(0, "r1", CODE), a.gives(1, "r2")
    a.sync.once()
    hub.fail(1, 403, "/lfs-files/batch")
    a.store.withdraw(CODE)
    done = a.sync.once()
    assert "may not write" in done.problem and a.sync.state().removing
    a.gives(2, "r3")
    soon(lambda: a.sync.once().problem is None)
    assert a.sync.state().waiting == 0 and not traces(hub, 0) and not a.sync.state().removing


def test_a_marker_that_names_what_is_in_use_deletes_none_of_it(copy, hub):
    a = copy("a")
    a.gives(0, "r1")
    a.sync.once()
    used = sorted(hub.repository(REPOSITORY).objects)
    text = '{"large": ["%s"]}' % '", "'.join(used)
    a.repository.send("by hand", [("purge/x-1.json", text.encode()), ("purge/x-2.json", b"damaged")])
    soon(lambda: a.sync.once() and not clearance.markers(hub.files(REPOSITORY)))
    assert sorted(hub.repository(REPOSITORY).objects) == used and traces(hub, 0)


def test_a_person_who_gave_without_pixels_is_forgotten_too(copy, hub):
    from labeling.items import NewItem

    a = copy("a")
    a.store.contribute(NewItem("live", "clip"), says("secret request"), CODE, "tests")
    a.gives(1, "r2")
    a.sync.once()
    assert b"secret request" in hub.everything()
    a.store.withdraw(CODE)
    a.sync.once()
    assert b"secret request" not in hub.everything() and Batch.unpacked(next(iter(batches(hub).values()))).records


def test_a_withdrawal_with_no_repository_yet_is_told_later(copy, hub):
    a = copy("a")
    a.gives(0, "r1", CODE)
    a.store.withdraw(CODE)
    assert a.sync.once().problem is None and not a.sync.state().removing
    assert not traces(hub, 0)
