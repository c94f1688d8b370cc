"""Nothing that was acknowledged is lost when the app is killed; and the check would notice if it were."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from durability import Book, Said, faults, run
from label_workspaces import face, says

from labeling.items import NewItem
from labeling.store import LabelStore


def test_ten_kills_lose_nothing(tmp_path):
    book = run(rounds=10, workspace=tmp_path, longest=1.5)
    endpoints = {book.sent[request].endpoint for request in book.kept}
    assert endpoints == {"label", "skip", "undo", "correct"}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A folder of labels: Ada called the one face happy, then sad, and took that back."""
    with closing(LabelStore(tmp_path / "labels")) as store:
        store.add([NewItem("test", "one", face(), 112, 112, (0, 0, 112, 112))])
        store.judge(1, says("a", "happiness"))
        store.judge(1, says("b", "sadness"))
        store.undo("b")
    return tmp_path / "labels"


def book() -> Book:
    """What Ada knows of `labels`."""
    sent = [
        Said("a", "Ada", "label", (), "label", "happiness", 1), Said("b", "Ada", "label", (), "label", "sadness", 1),
        Said("undo:b", "Ada", "undo", (), "undo", None, 1, "b"),
    ]  # fmt: skip
    return Book({one.request: one for one in sent}, {"a": 1, "b": 2, "undo:b": 3})


def test_what_is_as_it_should_be_has_no_fault(labels):
    assert list(faults(labels, book())) == []


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        ("DELETE FROM judgements WHERE id = 3", "undo:b was acknowledged"),
        ("UPDATE judgements SET label = 'fear' WHERE id = 1", "a is there as"),
        ("UPDATE judgements SET id = 9 WHERE id = 3", "is there as 9"),
        ("UPDATE judgements SET undoes = 1 WHERE id = 3", "undo:b is there as"),
        ("UPDATE standing SET label = 'fear'", "What stands"),
        ("DELETE FROM standing", "What stands"),
        ("UPDATE judgements SET request = 'c' WHERE id = 2", "nobody sent it"),
    ],
)
def test_a_loss_in_the_tables_is_noticed(labels, damage, word):
    with closing(sqlite3.connect(labels / "labels.db", isolation_level=None)) as connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(damage)
    assert any(word in sentence for sentence in faults(labels, book()))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_lost_or_torn_picture_is_noticed(labels, damage):
    (picture,) = labels.glob("images/??/*.png")
    damage(picture)
    assert any("picture of face 1" in sentence for sentence in faults(labels, book()))
