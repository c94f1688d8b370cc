"""Pictures as files named by their content: whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from label_workspaces import child, face, fill, files_in, said_by, small_disk

from labeling.images import ABANDONED_SECONDS, ImageFiles


@pytest.fixture
def images(tmp_path: Path) -> ImageFiles:
    return ImageFiles(tmp_path / "images")


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_a_picture_lies_under_the_hash_of_its_content(images):
    name = images.put(face())
    assert name == sha(face())
    assert files_in(images.root) == {f"{name[:2]}/{name}.png": face()}
    assert images.get(name) == face() and list(images.names()) == [name]


def test_the_same_picture_twice_is_one_file(images):
    assert images.put(face()) == images.put(face())
    assert images.put_all([face(), face()]) == [sha(face())] * 2
    assert len(files_in(images.root)) == 1


def test_several_pictures_come_back_in_their_order(images):
    contents = [f"picture {number}".encode() for number in range(20)]  # more than 8 wait for the whole disk
    names = images.put_all(contents)
    assert names == [sha(one) for one in contents] and [images.get(one) for one in names] == contents
    assert sorted(images.names()) == sorted(names)


def test_a_picture_is_on_disk_before_it_has_its_name(images, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda one, other: (steps.append("replace"), replace(one, other))[1])
    images.put(face())
    assert steps == ["fsync", "replace", "fsync"]  # the content, the name, the folder


@pytest.mark.parametrize("content", [b"", b"half of a pic"])
def test_a_picture_that_was_altered_is_refused(images, content):
    name = images.put(face())
    images.path(name).write_bytes(content)
    with pytest.raises(ValueError, match=f"the image {name[:12]}… was altered on disk"):
        images.get(name)


def test_a_picture_that_is_not_there_is_not_found(images):
    with pytest.raises(FileNotFoundError):
        images.get(sha(b"never"))


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "a" * 63, "a" * 65, "A" * 64, "../" + "a" * 61, "a" * 61 + "/..", "g" * 64, "a" * 63 + "\n"]
)  # fmt: skip
def test_names_that_are_no_hash_are_refused_everywhere(images, tmp_path, name):
    (tmp_path / "secret.png").write_bytes(b"keep")
    for use in (images.path, images.get, lambda one: images.delete([one])):
        with pytest.raises(ValueError, match="is not the name of an image"):
            use(name)
    assert (tmp_path / "secret.png").read_bytes() == b"keep"


def test_a_write_that_fails_half_way_leaves_nothing(images, monkeypatch):
    kept = images.put(face())
    write = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        if content == b"third":
            write(path, content[:2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        images.put_all([b"first", b"second", b"third"])
    assert list(files_in(images.root)) == [f"{kept[:2]}/{kept}.png"]


def test_a_disk_that_fails_while_it_is_waited_for_leaves_nothing(images, monkeypatch):
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        images.put_all([b"first", b"second"])
    assert files_in(images.root) == {}


def test_a_name_that_cannot_be_given_keeps_none_of_several(images, monkeypatch):
    replace, given = os.replace, []

    def second_fails(one: Path, other: Path) -> None:
        given.append(other)
        if len(given) == 2:
            raise OSError(errno.EIO, "Input/output error")
        replace(one, other)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OSError, match="Input/output"):
        images.put_all([b"first", b"second", b"third"])
    assert files_in(images.root) == {}


def test_a_full_disk_keeps_what_was_there_and_nothing_of_the_rest(tmp_path):
    with small_disk(tmp_path / "disk"):
        images = ImageFiles(tmp_path / "disk" / "images")
        kept = images.put(face())
        ballast = fill(tmp_path / "disk")
        with pytest.raises(OSError) as caught:  # noqa: PT011
            images.put_all([face(1), face(2)])
        assert caught.value.errno == errno.ENOSPC
        assert list(files_in(images.root)) == [f"{kept[:2]}/{kept}.png"] and images.get(kept) == face()
        ballast.unlink()
        assert images.put_all([face(1), face(2)]) == [sha(face(1)), sha(face(2))]


def test_deleting_passes_over_what_is_not_there(images):
    name = images.put(face())
    images.delete([sha(b"never"), name, name])
    assert files_in(images.root) == {}


def test_a_sweep_removes_only_what_is_old_and_used_by_nothing(images):
    used, old, fresh = images.put_all([b"used", b"old", b"fresh"])
    partials = [images.path(used).with_name(f"{used}.{number}.partial") for number in (1, 2)]
    for partial in partials:
        partial.write_bytes(b"half")
    for path in (images.path(used), images.path(old), partials[0]):
        age(path, ABANDONED_SECONDS + 60)
    assert images.sweep({used}) == 2
    assert sorted(images.names()) == sorted([used, fresh])
    assert not partials[0].exists() and partials[1].exists()
    assert images.sweep({used}) == 0


def test_a_picture_put_again_is_not_swept_before_its_row_is_there(images):
    name = images.put(face())
    age(images.path(name), ABANDONED_SECONDS + 60)
    images.put(face())
    assert images.sweep(set()) == 0 and images.get(name) == face()


def test_a_sweep_where_nothing_was_ever_kept_removes_nothing(images):
    assert images.sweep(set()) == 0 and list(images.names()) == []


def test_threads_and_processes_that_put_the_same_picture_do_not_meet(images):
    code = """
from labeling.images import ImageFiles
images = ImageFiles(sys.argv[1])
for number in range(15):
    images.put(f"picture {number}".encode())
"""
    processes = [child(code, images.root) for _ in range(2)]
    errors = []

    def put() -> None:
        try:
            for number in range(15):
                images.put(f"picture {number}".encode())
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [said_by(one) for one in processes] == ["", ""] and errors == []
    assert {images.get(name) for name in images.names()} == {f"picture {number}".encode() for number in range(15)}
    assert len(files_in(images.root)) == 15
