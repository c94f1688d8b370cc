"""Replacing a file: the old one or the new one, never half of one."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from fer.files import replace_file, replace_json, replace_text


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old and longer")
    replace_text(path, "new, with ü")
    assert path.read_bytes() == "new, with ü".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path):
    replace_text(tmp_path / "a" / "b" / "note.txt", "x")
    assert (tmp_path / "a" / "b" / "note.txt").read_text() == "x"


def test_after_a_failing_write_the_old_file_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")

    def half(partial: Path) -> None:
        partial.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(path, half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_first_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        replace_text(tmp_path / "note.txt", "half a pair: \ud800")
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_is_not_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "status.json"
    replace_json(path, {"state": "running"})
    with pytest.raises(TypeError):
        replace_json(path, {"state": {1, 2}})
    assert json.loads(path.read_text()) == {"state": "running"} and list(tmp_path.iterdir()) == [path]


def test_json_keeps_its_letters_and_ends_with_a_line_break(tmp_path):
    replace_json(tmp_path / "x.json", {"name": "Jürgen"})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "Jürgen" in text and text.endswith("}\n")


def test_the_old_file_is_whole_while_the_new_one_is_written(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")
    seen = []

    def slow(partial: Path) -> None:
        partial.write_text("n")
        seen.append(path.read_text())
        partial.write_text("new")

    replace_file(path, slow)
    assert seen == ["old"] and path.read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="file permissions are POSIX's")
def test_a_file_that_its_writer_made_private_gets_usual_permissions(tmp_path):
    path = tmp_path / "note.txt"

    def private(partial: Path) -> None:
        partial.write_text("x")
        partial.chmod(0o600)

    before = os.umask(0o027)
    try:
        replace_file(path, private)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_two_threads_that_write_the_same_file_do_not_mix(tmp_path):
    path = tmp_path / "status.json"
    both = threading.Barrier(2, timeout=10)
    failed = []

    def write(text: str) -> None:
        def half_and_half(partial: Path) -> None:
            with partial.open("w") as file:
                file.write(text)
                both.wait()

        try:
            replace_file(path, half_and_half)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in ("a" * 10, "b" * 100_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert path.read_text() in ("a" * 10, "b" * 100_000) and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="the mask of permissions is POSIX's")
def test_threads_that_write_at_once_leave_the_mask_of_permissions_alone(tmp_path, monkeypatch):
    umask, between, done = os.umask, threading.Event(), threading.Event()

    def slowed(mask: int) -> int:
        before = umask(mask)
        if threading.current_thread().name == "first" and not between.is_set():
            between.set()
            done.wait(0.3)  # the second thread runs here, unless something keeps it out
        return before

    def write() -> None:
        replace_text(tmp_path / threading.current_thread().name, "x")

    def write_in_between() -> None:
        between.wait(0.3)
        write()
        done.set()

    before = umask(0o077)
    try:
        monkeypatch.setattr(os, "umask", slowed)
        threads = [threading.Thread(target=write, name="first"), threading.Thread(target=write_in_between, name="second")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("first", "second")] == [0o600, 0o600]
        assert umask(0o077) == 0o077
    finally:
        umask(before)
