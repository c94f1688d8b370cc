"""A folder, a zip and a single file are read alike, and a zip that means harm is refused part by part."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from labeling import tree as tree_module
from labeling.tree import TreeError, find, open_tree

FILES = {"a.txt": b"one", "sub/b.txt": b"two", "sub/deep/c.txt": b"three"}


def zipped(path: Path, entries: dict[str, bytes] | list[tuple[zipfile.ZipInfo, bytes]], **more) -> Path:
    pairs = entries.items() if isinstance(entries, dict) else entries
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **more) as archive:
        for name, content in pairs:
            archive.writestr(name, content)
    return path


@pytest.fixture(params=["folder", "zip"])
def files(request, tmp_path):
    """The same files as a folder and as a zip, with what systems add to both."""
    added = {"__MACOSX/a.txt": b"x", ".hidden": b"x", "sub/.DS_Store": b"x"}
    if request.param == "zip":
        return open_tree(zipped(tmp_path / "set.zip", {**FILES, **added}))
    for name, content in {**FILES, **added}.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(content)
    return open_tree(tmp_path / "set")


def test_a_folder_and_a_zip_look_the_same(files):
    assert files.name == "set" and files.names() == list(FILES) and files.refused == ()
    assert {name: files.read(name) for name in files.names()} == FILES
    with files.open("sub/b.txt") as file:
        assert (file.read(1), file.seek(0), file.read()) == (b"t", 0, b"two")


@pytest.mark.parametrize(
    "name", ["nothing.txt", "../set/a.txt", "/etc/passwd", "sub", "", "a.txt\0", "x" * 5000, "C:/a.txt"]
)
def test_names_that_are_not_there_or_lead_out_are_not_read(files, name):
    assert not files.has(name)
    for reads in (files.read, files.open):
        with pytest.raises(TreeError, match=r"^There is no file"):
            reads(name)


def test_a_single_file_is_a_tree_of_its_own_and_sees_what_lies_beside(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"x")
    (tmp_path / "a.png").write_bytes(b"y")
    files = open_tree(tmp_path / "labels.csv")
    assert (files.name, files.names(), files.read("a.png")) == ("labels", ["labels.csv"], b"y")


def test_a_folder_follows_links_to_files_as_caches_of_downloads_need(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "blob").write_bytes(b"x")
    (tmp_path / "set" / "a.png").symlink_to(tmp_path / "blob")
    (tmp_path / "set" / "round").symlink_to(tmp_path / "set")
    assert open_tree(tmp_path / "set").names() == ["a.png"]


def test_what_is_not_there_is_said_in_a_sentence(tmp_path):
    with pytest.raises(TreeError, match=r"^nowhere does not exist; check the name and the folder\.$"):
        open_tree(tmp_path / "nowhere")


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


def test_each_entry_that_means_harm_is_named_and_the_rest_can_be_read(tmp_path):
    bad = [
        "../out.png",
        "a/../../out.png",
        "/etc/passwd",
        "C:\\windows\\a.png",
        "\\\\host\\share\\a.png",
        "a\\..\\..\\b.png",
    ]
    entries = [(zipfile.ZipInfo(name), b"x") for name in bad] + [link("link.png", "/etc/passwd")]
    bomb = zipfile.ZipInfo("bomb.png")
    bomb.compress_type = zipfile.ZIP_DEFLATED
    path = zipped(tmp_path / "evil.zip", [*entries, (bomb, bytes(2_000_000)), (zipfile.ZipInfo("good.png"), b"good")])
    files = open_tree(path)
    assert files.names() == ["good.png"] and files.read("good.png") == b"good"
    assert len(files.refused) == len(bad) + 2
    sentences = {one.name: one.sentence for one in files.refused}
    assert sentences["link.png"] == "It is a link, and links in a zip are not followed."
    assert sentences["bomb.png"] == "It unpacks to more than 100 times its size, as no picture does."
    assert all(sentences[name] == "Its name leads out of the folder; it was not read." for name in bad[:3])
    assert list(tmp_path.iterdir()) == [path]


def test_an_encrypted_entry_is_named(tmp_path):
    path = zipped(tmp_path / "set.zip", {"a.png": b"x", "b.png": b"y"})
    content = bytearray(path.read_bytes())
    flags = content.index(b"PK\x01\x02") + 8  # of the first entry in the directory
    content[flags] |= 1
    path.write_bytes(content)
    files = open_tree(path)
    assert files.names() == ["b.png"]
    assert files.refused[0].sentence == "It is encrypted; make the zip again without a password."


def test_a_picture_that_is_too_large_is_refused(files, monkeypatch):
    monkeypatch.setattr(tree_module, "LARGEST_FILE", 4)
    assert files.read("a.txt") == b"one"
    with pytest.raises(TreeError, match=r"^sub/deep/c.txt is larger than 0 MB\.$"):
        files.read("sub/deep/c.txt")


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_said(tmp_path):
    path = zipped(tmp_path / "set.zip", {"a.png": os.urandom(5000)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 10)
    path.write_bytes(content)
    with pytest.raises(TreeError, match=r"^a.png cannot be read; it is damaged or closed to this program\.$"):
        open_tree(path).read("a.png")


@pytest.mark.parametrize("limit", ["LARGEST_TOTAL", "MOST_ENTRIES"])
def test_a_zip_of_too_much_is_refused_as_a_whole(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(tree_module, limit, 2)
    with pytest.raises(TreeError, match=r"^set.zip unpacks to more than .*; import it in parts\.$"):
        open_tree(zipped(tmp_path / "set.zip", FILES))


def test_damage_in_a_zip_is_a_sentence(tmp_path):
    noise = os.urandom(5000)
    content = bytearray(zipped(tmp_path / "set.zip", {"a.png": noise, "b.png": b"y"}).read_bytes())
    content[content.index(noise[:50]) + 100] ^= 255
    (tmp_path / "bad.zip").write_bytes(content)
    files = open_tree(tmp_path / "bad.zip")
    with pytest.raises(TreeError, match=r"^a.png cannot be read; it is damaged or closed to this program\.$"):
        files.read("a.png")
    assert files.read("b.png") == b"y"


def test_a_zip_cut_off_is_not_taken_for_one(tmp_path):
    whole = zipped(tmp_path / "set.zip", FILES).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    assert open_tree(tmp_path / "cut.zip").names() == ["cut.zip"]  # a file like any other, which no format fits


class InMemory:
    """A tree of names alone."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def has(self, name: str) -> bool:
        return name in self._names


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.png", "set/a.png"), ("./a.png", "set/a.png"), ("images/b.png", "set/images/b.png"),
        ("b.png", "set/images/b.png"),
        ("/home/me/data/set/a.png", "set/a.png"), ("C:\\data\\images\\b.png", "set/images/b.png"),
        ("http://host/data/upload/1/a.png", "set/a.png"), ("with%20space.png", "with space.png"),
        ("100%25.png", "100%25.png"), ("../a.png", "set/a.png"), ("c.png", None), ("", None), ("a" * 5000, None),
    ],
)  # fmt: skip
def test_a_picture_is_found_by_the_tail_of_a_path_from_elsewhere(path, found):
    files = InMemory("set/labels.csv", "set/a.png", "set/images/b.png", "with space.png", "100%25.png")
    assert find(files, path, "set/labels.csv") == found


def test_a_zip_is_never_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile.ZipFile, "extract", None)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    assert open_tree(zipped(tmp_path / "set.zip", FILES)).read("a.txt") == b"one"
    assert [one.name for one in tmp_path.iterdir()] == ["set.zip"]
