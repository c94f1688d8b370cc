"""The one SQLite file: how it is opened, what is said when the disk does not obey."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from label_workspaces import LOCAL_DISK, assert_one_sentence, child, files_in, fill, read_only, said_by, small_disk, with_mounts

from labeling import database, schema
from labeling.database import NAME, Database, StoreError

ADD = "INSERT INTO consents (purpose, agreed_at) VALUES (?, '')"


def purposes(one: Database) -> list[str]:
    with one.reading() as connection:
        return [row["purpose"] for row in connection.execute("SELECT purpose FROM consents ORDER BY id")]


def add(one: Database, purpose: str) -> None:
    with one.writing() as connection:
        connection.execute(ADD, (purpose,))


def refused(folder: Path) -> str:
    """The sentence with which `folder` is refused."""
    with pytest.raises(StoreError) as caught:
        Database(folder)
    assert_one_sentence(caught.value, folder)
    return str(caught.value)


def test_a_workspace_is_made_where_there_is_none(tmp_path):
    one = Database(tmp_path / "a" / "labels")
    add(one, "first")
    one.close()
    again = Database(tmp_path / "a" / "labels")
    assert purposes(again) == ["first"]
    again.close()
    assert list(files_in(tmp_path)) == [f"a/labels/{NAME}"]  # the log was folded in


def test_what_fails_inside_a_block_is_undone_as_a_whole(tmp_path):
    one = Database(tmp_path)
    with pytest.raises(RuntimeError), one.writing() as connection:
        connection.execute(ADD, ("half",))
        raise RuntimeError
    assert purposes(one) == []
    add(one, "next")
    assert purposes(one) == ["next"]


def test_a_reader_sees_one_state_throughout(tmp_path):
    one = Database(tmp_path)
    with one.reading() as connection:
        counted = connection.execute("SELECT count(*) FROM consents").fetchone()[0]
        add(one, "meanwhile")
        assert connection.execute("SELECT count(*) FROM consents").fetchone()[0] == counted == 0
    assert purposes(one) == ["meanwhile"]


def test_the_settings_that_durability_and_withdrawal_need_are_on_in_every_connection(tmp_path):
    one = Database(tmp_path)
    for block in (one.reading, one.writing):
        with block() as connection:
            values = [connection.execute(f"PRAGMA {name}").fetchone()[0]
                      for name in ("synchronous", "foreign_keys", "secure_delete")]  # fmt: skip
            assert values == [2, 1, 1]  # 2 is FULL


def test_many_threads_write_in_turn(tmp_path):
    one = Database(tmp_path)
    threads = [threading.Thread(target=add, args=(one, f"thread {number}")) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(purposes(one)) == sorted(f"thread {number}" for number in range(16))


def test_a_second_process_is_waited_for(tmp_path):
    one = Database(tmp_path)
    code = f"""
import time
from labeling.database import Database
one = Database(sys.argv[1])
with one.writing() as connection:
    print("has it", flush=True)
    connection.execute({ADD!r}, ("theirs",))
    time.sleep(0.3)
"""
    other = child(code, tmp_path)
    assert other.stdout.readline() == "has it\n"
    add(one, "ours")
    assert purposes(one) == ["theirs", "ours"] and said_by(other) == ""


def test_a_file_that_another_program_holds_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.1)
    one = Database(tmp_path)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="busy with another program") as caught:
            add(one, "never")
        assert_one_sentence(caught.value)
        assert purposes(one) == []
        other.execute("ROLLBACK")
    add(one, "later")
    assert purposes(one) == ["later"]


@pytest.mark.parametrize("round_", range(3))
def test_several_processes_open_a_fresh_workspace_at_once(tmp_path, round_):
    code = """
import pathlib, time
from labeling.database import Database
folder = pathlib.Path(sys.argv[1])
while not (folder / "go").exists(): time.sleep(0.001)
one = Database(folder / "labels")
with one.writing() as connection:
    connection.execute("INSERT INTO consents (purpose, agreed_at) VALUES (?, '')", (sys.argv[2],))
one.close()
"""
    processes = [child(code, tmp_path, number) for number in range(5)]
    (tmp_path / "go").touch()
    assert [said_by(one) for one in processes] == [""] * 5
    assert sorted(purposes(Database(tmp_path / "labels"))) == list("01234")


def test_a_newer_file_is_refused_and_stays_byte_for_byte(tmp_path):
    one = Database(tmp_path)
    with one.writing() as connection:
        connection.execute("PRAGMA user_version = 99")
    one.close()
    before = files_in(tmp_path)
    assert list(before) == [NAME]
    said = refused(tmp_path)
    assert "newer version of Expression Studio" in said and "schema 99" in said and "Nothing was changed." in said
    assert files_in(tmp_path) == before


def test_an_older_file_opens_and_is_kept_as_it_was(tmp_path, monkeypatch):
    one = Database(tmp_path)
    add(one, "old")
    one.close()
    monkeypatch.setattr(schema.migrate, "__defaults__", ((*schema.MIGRATIONS, "CREATE TABLE more (x);"),))
    again = Database(tmp_path)
    assert purposes(again) == ["old"]
    add(again, "new")
    again.close()
    (backup,) = schema.backups(tmp_path / NAME)
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT purpose FROM consents").fetchall() == [("old",)]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("content", [b"this is not a database" * 100, b"\x00" * 4096, b"SQLite format 3\x00" + b"\xff" * 4080])
def test_a_damaged_file_is_refused_and_stays_as_it_is(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    assert "damaged" in refused(tmp_path)
    assert files_in(tmp_path) == {NAME: content}


def test_a_file_damaged_in_the_middle_is_said_to_be_when_it_is_read(tmp_path):
    one = Database(tmp_path)
    for number in range(200):
        add(one, f"{number} " * 50)
    one.close()
    content = bytearray((tmp_path / NAME).read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(StoreError, match="damaged") as caught:
        purposes(Database(tmp_path))
    assert_one_sentence(caught.value)


def test_a_workspace_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "workspace").write_text("a file")
    refused(tmp_path / "workspace")
    refused(tmp_path / "workspace" / "labels")


def test_a_closed_database_says_so_in_a_sentence_or_opens_again(tmp_path):
    one = Database(tmp_path)
    one.close()
    add(one, "after")
    assert purposes(one) == ["after"]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_read_only_workspace_is_refused_and_nothing_is_lost(tmp_path, fresh):
    folder = tmp_path / "labels"
    folder.mkdir()
    if not fresh:
        one = Database(folder)
        add(one, "kept")
        one.close()
    before = files_in(folder)
    with read_only(folder):
        said = refused(folder)
        assert files_in(folder) == before
    assert "cannot be written" in said and "--workspace" in said
    assert purposes(Database(folder)) == ([] if fresh else ["kept"])


@pytest.mark.parametrize("state", ["fresh", "closed", "open"])
def test_a_user_without_rights_is_refused_and_nothing_is_lost(state):
    place = Path(tempfile.mkdtemp())  # below pytest's own folder another user sees nothing at all
    place.chmod(0o755)
    code = """
from labeling.database import Database, StoreError
try:
    one = Database(sys.argv[1])
    with one.writing() as connection:
        connection.execute("INSERT INTO consents (purpose, agreed_at) VALUES ('theirs', '')")
except StoreError as error:
    print(error)
"""
    try:
        one = None
        if state != "fresh":
            one = Database(place)
            add(one, "kept")
        if state == "closed":
            one.close()
        said = said_by(child(code, place, nobody=True))
        assert_one_sentence(StoreError(said), place)
        assert "cannot be written" in said
        assert purposes(Database(place)) == ([] if state == "fresh" else ["kept"])
    finally:
        shutil.rmtree(place)


def test_on_a_full_disk_nothing_is_lost_and_nothing_is_half_written(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk):
        one = Database(disk / "labels")
        add(one, "before")
        ballast = fill(disk)
        kept = ["before"]
        with pytest.raises(StoreError) as caught:
            for number in range(1000):
                add(one, f"{number} " * 1000)
                kept.append(f"{number} " * 1000)
        assert_one_sentence(caught.value, disk)
        assert "full; free some space" in str(caught.value)
        assert purposes(one) == kept
        one.close()
        assert purposes(Database(disk / "labels")) == kept
        ballast.unlink()
        again = Database(disk / "labels")
        add(again, "after")
        assert purposes(again) == [*kept, "after"]
        with again.reading() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        again.close()


def test_a_workspace_begun_on_a_full_disk_works_once_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk):
        ballast = fill(disk)
        assert "full" in refused(disk / "labels")
        ballast.unlink()
        one = Database(disk / "labels")
        add(one, "first")
        assert purposes(one) == ["first"]
        one.close()


def test_a_backup_that_finds_the_disk_full_leaves_the_old_version_usable(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    with small_disk(disk, "2m"):
        one = Database(disk / "labels")
        for number in range(50):
            add(one, f"{number} " * 1000)
        kept = purposes(one)
        one.close()
        ballast = fill(disk)
        with monkeypatch.context() as newer:
            newer.setattr(schema.migrate, "__defaults__", ((*schema.MIGRATIONS, "CREATE TABLE more (x);"),))
            assert "full" in refused(disk / "labels")
        logs = {f"labels/{NAME}-wal", f"labels/{NAME}-shm"}  # SQLite could not fold them in
        assert set(files_in(disk)) - logs == {"ballast", f"labels/{NAME}"}
        ballast.unlink()
        again = Database(disk / "labels")
        assert purposes(again) == kept
        again.close()


def test_a_fault_of_this_program_is_not_blamed_on_the_disk(tmp_path):
    one = Database(tmp_path)
    with pytest.raises(sqlite3.IntegrityError), one.writing() as connection:
        connection.execute("INSERT INTO consents (purpose, agreed_at) VALUES (NULL, '')")
    assert purposes(one) == []


def test_folding_empties_the_log(tmp_path):
    one = Database(tmp_path)
    add(one, "in the log")
    log = tmp_path / f"{NAME}-wal"
    assert b"in the log" in log.read_bytes()
    one.fold()
    assert log.read_bytes() == b"" and b"in the log" in (tmp_path / NAME).read_bytes()


def test_folding_while_a_reader_holds_the_log_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.1)
    one = Database(tmp_path)
    add(one, "first")
    with one.reading() as connection:
        connection.execute("SELECT * FROM consents").fetchall()
        add(one, "second")
        start = time.monotonic()
        with pytest.raises(StoreError, match="busy with another program") as caught:
            one.fold()
        assert time.monotonic() - start < 5
    assert_one_sentence(caught.value)
    one.fold()


def journal(one: Database) -> str:
    with one.reading() as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_on_a_local_disk_there_is_a_write_ahead_log_on_another_machines_none(tmp_path, monkeypatch):
    here = Database(tmp_path / "local")
    add(here, "x")
    assert journal(here) == "wal" and (tmp_path / "local" / f"{NAME}-wal").exists()
    with_mounts(monkeypatch, LOCAL_DISK + f"nas:/data {tmp_path} nfs4 rw 0 0\n")
    there = Database(tmp_path / "remote")
    add(there, "x")
    there.fold()
    assert journal(there) == "delete" and list(files_in(tmp_path / "remote")) == [NAME]


def test_a_workspace_carried_to_a_disk_of_another_machine_gives_up_its_log(tmp_path, monkeypatch):
    one = Database(tmp_path)
    add(one, "carried")
    one.close()
    with_mounts(monkeypatch, LOCAL_DISK + f"nas:/data {tmp_path} nfs4 rw 0 0\n")
    there = Database(tmp_path)
    assert journal(there) == "delete" and purposes(there) == ["carried"]
