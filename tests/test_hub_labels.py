"""The repository of labels: what every answer of the Hub means, in a sentence and with a reason. With the real client."""

from __future__ import annotations

import datetime as dt
import time
from email.utils import format_datetime

import pytest
from copies import REPOSITORY
from label_workspaces import assert_one_sentence
from local_hub import OTHER_TOKEN, TOKEN, LocalHub

from fer.hub import LabelHubError, LabelRepository


@pytest.fixture
def hub():
    with LocalHub() as one:
        yield one


@pytest.fixture
def repository(hub):
    one = LabelRepository(REPOSITORY, TOKEN, hub.address)
    one.create()
    return one


def refused(call, *arguments) -> LabelHubError:
    with pytest.raises(LabelHubError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert_one_sentence(Exception(text[0].upper() + text[1:]))
    return caught.value


FILES = [("batches/a.zip", b"large"), ("purge/a.json", b"{}")]


def test_what_is_sent_can_be_listed_and_read(hub, repository):
    before = repository.head()
    commit = repository.send("two", iter(FILES))
    head = repository.head()
    assert head.private and head.commit == commit != before.commit
    files = repository.files(commit)
    assert files["batches/a.zip"].sha256 and files["batches/a.zip"].size == 5 and files["purge/a.json"].sha256 is None
    assert {path: repository.read(path, commit) for path, _ in FILES} == dict(FILES)
    assert "batches/a.zip" not in repository.files(before.commit)


def test_a_tree_of_many_pages_is_listed_whole(hub, repository, monkeypatch):
    import local_hub

    monkeypatch.setattr(local_hub, "PAGE", 3)
    commit = repository.send("many", [(f"batches/{number}.zip", b"%d" % number) for number in range(8)])
    assert len(repository.files(commit)) == 9


def test_each_file_is_in_memory_only_while_it_is_sent(hub, repository):
    import gc

    class Content(bytes):
        alive = 0

        def __del__(self):
            Content.alive -= 1

    most = []

    def files():
        for number in range(4):
            gc.collect()
            most.append(Content.alive)
            Content.alive += 1
            yield f"batches/{number}.zip", Content(b"%d" % number * 100_000)

    repository.send("four", files())
    assert max(most) <= 1 and len(hub.files(REPOSITORY)) == 5


def test_the_same_again_is_no_second_commit(hub, repository):
    repository.send("one", FILES)
    count = len(hub.repository(REPOSITORY).commits)
    assert repository.send("again", FILES) == repository.head().commit
    assert len(hub.repository(REPOSITORY).commits) == count


def test_a_deletion_on_an_old_state_is_refused_as_moved(repository):
    old = repository.send("one", FILES)
    repository.send("two", [("batches/b.zip", b"b")])
    assert refused(repository.send, "gone", (), ["batches/a.zip"], old).reason == "moved"
    assert "batches/a.zip" in repository.files(repository.head().commit)
    repository.send("gone", (), ["batches/a.zip"], repository.head().commit)
    assert "batches/a.zip" not in repository.files(repository.head().commit)


def test_what_is_deleted_for_good_is_gone_at_every_state(hub, repository):
    old = repository.send("one", [*FILES, ("batches/b.zip", b"kept")])
    files = repository.files(old)
    repository.send("gone", (), ["batches/a.zip"], old)
    repository.forget({files["batches/a.zip"].sha256, files["batches/b.zip"].sha256}, {files["batches/b.zip"].sha256})
    repository.squash()
    assert refused(repository.read, "batches/a.zip", old).reason == "absent"
    assert repository.read("batches/b.zip", repository.head().commit) == b"kept" and b"large" not in hub.everything()


@pytest.mark.parametrize(
    ("status", "reason"),
    [(503, "unreachable"), (500, "unreachable"), (504, "unreachable"), (429, "limited"), (403, "refused"), (401, "refused"),
     (412, "moved"), (409, "moved"), (400, "unexpected"), (413, "unexpected")],
)  # fmt: skip
@pytest.mark.parametrize("where", ["/preupload/", "/lfs/objects/batch", "/large/", "/commit/"])
def test_every_refusal_has_a_reason_at_once(hub, repository, status, reason, where):
    hub.fail(1, status, where)
    began = time.monotonic()
    assert refused(repository.send, "x", FILES).reason == reason
    assert time.monotonic() - began < 0.9  # the client alone would wait and try again, out of sight
    repository.send("x", FILES)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7), ({"ratelimit": '"api";r=0;t=55'}, 55), ({"ratelimit": '"api";r=10;t=55'}, None), ({}, None)],
)  # fmt: skip
@pytest.mark.parametrize("where", ["/preupload/", "/commit/"])
def test_how_long_to_wait_is_told(hub, repository, headers, seconds, where):
    hub.fail(1, 429, where, **headers)
    assert refused(repository.send, "x", FILES).after == seconds


def test_a_time_until_which_to_wait_is_understood(hub, repository):
    until = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=50)
    hub.fail(1, 503, "/commit/", **{"Retry-After": format_datetime(until, usegmt=True)})
    assert abs(refused(repository.send, "x", FILES).after - 3000) < 60


def test_no_network_is_told_at_once_by_every_call(hub, repository):
    commit = repository.head().commit
    hub.stop()
    for call in (repository.head, lambda: repository.files(commit), lambda: repository.read("a", commit),
                 lambda: repository.send("x", FILES), repository.squash, lambda: repository.forget({"a"}, set())):  # fmt: skip
        began = time.monotonic()
        assert refused(call).reason == "unreachable" and time.monotonic() - began < 5


def test_a_lost_answer_is_no_network(hub, repository):
    hub.lose_answers(1)
    assert refused(repository.send, "x", FILES).reason == "unreachable"
    assert "batches/a.zip" in hub.files(REPOSITORY)


def test_who_may_not_see_it_may_not_make_it_either(hub, repository):
    other = LabelRepository(REPOSITORY, OTHER_TOKEN, hub.address)
    assert refused(other.head).reason == "missing" and refused(other.create).reason == "refused"
    hub.revoke()
    assert refused(repository.head).reason == "refused" and refused(repository.create).reason == "refused"


def test_a_public_repository_is_told_from_a_private_one(hub, repository, monkeypatch):
    from fer import hub as module

    assert repository.head().private
    hub.repository(REPOSITORY).private = False
    assert not repository.head().private
    # A server on this machine that never told of anything private keeps no account of it; nobody else can read there.
    assert LabelRepository(REPOSITORY, TOKEN, hub.address).head().private
    monkeypatch.setattr(module, "_is_here", lambda endpoint: False)
    assert not LabelRepository(REPOSITORY, TOKEN, hub.address).head().private


@pytest.mark.parametrize(
    ("endpoint", "here"), [("http://127.0.0.1:8000", True), ("http://localhost", True), ("https://huggingface.co", False),
                           ("https://127.0.0.1.evil.example", False), ("http://hub.company.example", False)],
)  # fmt: skip
def test_only_an_address_of_this_machine_is_here(endpoint, here):
    from fer import hub as module

    assert module._is_here(endpoint) is here


def test_an_error_of_ones_own_while_sending_is_not_the_hubs(repository):
    def files():
        yield FILES[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        repository.send("x", files())


@pytest.mark.parametrize("name", ["", "labels", "a/b/c", "a/", "../x", "a b/c"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="write USER/NAME"):
        LabelRepository(name)


def test_importing_it_is_cheap():
    import subprocess
    import sys

    from conftest import ROOT

    code = "import sys, fer.hub; print(*(one for one in ('huggingface_hub', 'torch', 'httpx2') if one in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
