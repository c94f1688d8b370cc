"""The tables as numbered migrations, with a backup before each; what the tables themselves forbid."""

from __future__ import annotations

import re
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import ROOT
from label_workspaces import child, files_in, said_by, says

from labeling import schema
from labeling.database import NAME
from labeling.items import NewItem
from labeling.store import LabelStore

FIRST = "CREATE TABLE notes (text TEXT);"
SECOND = """
ALTER TABLE notes ADD COLUMN colour TEXT;
CREATE TRIGGER grey AFTER INSERT ON notes BEGIN
    UPDATE notes SET colour = 'grey; or so';
END;
UPDATE notes SET colour = 'red'
"""
BROKEN = "ALTER TABLE notes ADD COLUMN colour TEXT; UPDATE notes SET colour = 'red'; SELECT 1 FROM nowhere;"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


def opened(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, isolation_level=None))


def made(path: Path, *migrations: str) -> None:
    with opened(path) as connection:
        schema.migrate(connection, path, migrations)


def notes(path: Path) -> tuple[int, list[tuple]]:
    """The version of the file and its rows."""
    with opened(path) as connection:
        return schema.version(connection), connection.execute("SELECT * FROM notes").fetchall()


def noted(path: Path) -> None:
    """A file of version 1 with one row."""
    made(path, FIRST)
    with opened(path) as connection:
        connection.execute("INSERT INTO notes VALUES ('kept')")


def test_a_new_file_gets_all_migrations_and_their_number(path):
    made(path, *schema.MIGRATIONS)
    with opened(path) as connection:
        assert schema.version(connection) == len(schema.MIGRATIONS)
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"consents", "items", "judgements", "standing", "scores", "withdrawn", "doomed", "outbox", "gone", "trust"} <= tables


def test_before_the_first_migration_there_is_nothing_to_keep(path):
    made(path, FIRST)
    assert list(files_in(path.parent)) == [NAME] and schema.backups(path) == []


def test_an_older_file_is_brought_on_and_kept_as_it_was(path):
    noted(path)
    made(path, FIRST, SECOND)
    assert notes(path) == (2, [("kept", "red")])
    (backup,) = schema.backups(path)
    assert backup.name == "labels.db.before-2" and notes(backup) == (1, [("kept",)])


def test_a_new_file_needs_no_backups(path):
    made(path, FIRST, SECOND, "CREATE TABLE third (x);")
    assert list(files_in(path.parent)) == [NAME]


def test_there_is_one_backup_before_each_migration_of_an_older_file(path):
    noted(path)
    made(path, FIRST, SECOND, "CREATE TABLE third (x);")
    assert [one.name for one in schema.backups(path)] == ["labels.db.before-2", "labels.db.before-3"]
    assert [notes(one)[0] for one in schema.backups(path)] == [1, 2]


def test_a_file_that_is_up_to_date_is_left_alone(path):
    noted(path)
    before = files_in(path.parent)
    made(path, FIRST)
    assert files_in(path.parent) == before


def test_a_migration_may_hold_triggers_and_semicolons_in_words(path):
    made(path, FIRST, SECOND)
    with opened(path) as connection:
        connection.execute("INSERT INTO notes (text) VALUES ('new')")
    assert notes(path)[1] == [("new", "grey; or so")]


def test_a_migration_that_fails_leaves_the_version_before_and_a_backup_that_works(path):
    noted(path)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        made(path, FIRST, BROKEN, "CREATE TABLE third (x);")
    assert notes(path) == (1, [("kept",)])
    assert [one.name for one in schema.backups(path)] == ["labels.db.before-2"]
    assert notes(schema.backups(path)[0]) == (1, [("kept",)])
    assert not list(path.parent.glob("*.partial"))
    made(path, FIRST, SECOND)  # and the next, repaired version goes on from there
    assert notes(path) == (2, [("kept", "red")])


def test_a_first_migration_that_fails_leaves_an_empty_file(path):
    with pytest.raises(sqlite3.OperationalError):
        made(path, FIRST + BROKEN)
    with opened(path) as connection:
        assert schema.version(connection) == 0
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_backup_that_cannot_be_made_stops_the_migration(path):
    noted(path)
    path.with_name("labels.db.before-2").mkdir()
    with pytest.raises(OSError, match="labels.db.before-2"):
        made(path, FIRST, SECOND)
    assert notes(path) == (1, [("kept",)])
    assert not list(path.parent.glob("*.partial"))


def test_a_backup_that_was_begun_before_a_kill_does_not_stand_in_the_way(path):
    noted(path)
    path.with_name(f"labels.db.before-2.{os.getpid()}.partial").write_bytes(b"half")
    made(path, FIRST, SECOND)
    assert [one.name for one in schema.backups(path)] == ["labels.db.before-2"]
    assert notes(schema.backups(path)[0]) == (1, [("kept",)])


def test_a_newer_file_is_refused_in_a_sentence_and_not_touched(path):
    noted(path)
    with opened(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    before = files_in(path.parent)
    with pytest.raises(schema.NewerSchema, match=r"^labels.db was written by a newer version .*schema 7, this one knows 1"):
        made(path, FIRST)
    assert files_in(path.parent) == before


def test_a_backup_is_of_the_version_before_even_when_another_process_was_faster(path, monkeypatch):
    noted(path)
    backup = schema.backup

    def slowly(connection: sqlite3.Connection, target: Path, number: int) -> None:
        monkeypatch.setattr(schema, "backup", backup)
        made(path, FIRST, SECOND)  # the other process, from start to end
        backup(connection, target, number)

    monkeypatch.setattr(schema, "backup", slowly)
    made(path, FIRST, SECOND)
    assert notes(path) == (2, [("kept", "red")])
    assert notes(schema.backups(path)[0]) == (1, [("kept",)])


def test_processes_that_migrate_at_once_end_with_one_migration_and_a_good_backup(path):
    noted(path)
    code = f"""
import sqlite3, pathlib, time
from labeling import schema
path = pathlib.Path(sys.argv[1])
while not (path.parent / "go").exists(): time.sleep(0.001)
connection = sqlite3.connect(path, isolation_level=None, timeout=15)
schema.migrate(connection, path, ({FIRST!r}, {SECOND!r}))
print(schema.version(connection))
"""
    processes = [child(code, path) for _ in range(4)]
    (path.parent / "go").touch()
    assert [said_by(one) for one in processes] == ["2"] * 4
    assert notes(path) == (2, [("kept", "red")]) and notes(schema.backups(path)[0]) == (1, [("kept",)])
    assert not list(path.parent.glob("*.partial"))


def test_times_are_utc_to_the_millisecond_and_sort_as_text():
    times = [schema.now() for _ in range(50)]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one) for one in times)
    assert times == sorted(times)


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A store with two judgements on one item, the second by another person; its file."""
    store = LabelStore(tmp_path)
    first = store.contribute(NewItem("api", "clip"), says("r1"), None, "tests")
    store.judge(first.item, says("r2", "anger", "Bob"))
    store.close()
    return tmp_path / NAME


@pytest.mark.parametrize(
    "statement",
    ["UPDATE judgements SET label = 'anger' WHERE request = 'r1'",
     "UPDATE judgements SET annotator = annotator",
     "DELETE FROM judgements WHERE request = 'r1'",
     "DELETE FROM judgements",
     "INSERT OR REPLACE INTO judgements (id, request, item, annotator, kind, label, suggested, at) "
     "VALUES (1, 'r1', 1, 'Ada', 'label', 'anger', 0, '')",
     "INSERT INTO judgements (request, item, annotator, kind, suggested, at) VALUES ('r1', 1, 'Ada', 'skip', 0, '')",
     "INSERT INTO judgements (request, item, annotator, kind, suggested, at) VALUES ('r3', 1, 'Ada', 'maybe', 0, '')"],
)  # fmt: skip
def test_plain_sql_can_neither_change_nor_delete_a_judgement(judged, statement):
    with opened(judged) as connection:
        before = connection.execute("SELECT * FROM judgements").fetchall()
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)
        assert connection.execute("SELECT * FROM judgements").fetchall() == before and len(before) == 2


def test_faces_of_an_older_file_get_names_and_everything_waits_to_go_to_the_hub(tmp_path):
    place = shutil.copytree(ROOT / "tests" / "workspaces" / "schema-1" / "labels", tmp_path / "labels")
    LabelStore(place).close()
    with opened(place / NAME) as connection:
        uids = [row[0] for row in connection.execute("SELECT uid FROM items")]
        assert len(set(uids)) == len(uids) == 3 and all(re.fullmatch("[0-9a-f]{32}", one) for one in uids)
        for kind in ("consent", "item", "judgement"):
            rows = connection.execute(f"SELECT id FROM {kind}s ORDER BY id").fetchall()
            assert rows == connection.execute("SELECT row FROM outbox WHERE kind = ? ORDER BY row", (kind,)).fetchall() != []
        assert connection.execute("SELECT count(*) FROM outbox WHERE bulk").fetchone() == (2,)  # the imported face and its votes


def test_whoever_adds_a_face_without_a_name_for_it_gets_one(judged):
    with opened(judged) as connection:
        connection.execute("INSERT INTO items (source, \"group\", added_at) VALUES ('x', 'x', '')")
        (uid,) = connection.execute("SELECT uid FROM items ORDER BY id DESC LIMIT 1").fetchone()
    assert re.fullmatch("[0-9a-f]{32}", uid)
