"""A folder, a zip or a single file, seen the same way: `open_tree` gives a `Tree` of names and contents.

A zip is read in place and never unpacked, so no name in it can lead anywhere; names that try are refused
all the same, because whoever made them meant harm.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Protocol
from urllib.parse import unquote

from labeling.formats.records import Problem, plain_text
from labeling.judgements import LONGEST_NAME

LARGEST_FILE = 50_000_000  # bytes of one picture; a phone's largest photo has a third of that
LARGEST_TABLE = 2_000_000_000  # bytes of one table or video in a zip, which is read bit by bit
LARGEST_TOTAL = 8_000_000_000  # bytes in a zip once unpacked
MOST_ENTRIES = 2_000_000  # files of a zip
STEEPEST = 100  # bytes that one byte of a zip may become: text stays under 30, zeros come to 1,000
LONGEST_PATH = 4096  # letters
_SMALL = 1_000_000  # bytes; what unpacks to less does no harm however steep


class TreeError(ValueError):
    """A file or a whole tree cannot be read; the message is one sentence."""


class Tree(Protocol):
    """Files by name, in POSIX form and relative to the tree. What a zip must not hold stands in `refused`."""

    name: str  # of the set: its folder or file without the ending
    refused: tuple[Problem, ...]

    def names(self) -> list[str]:
        """All files that are meant to be read, in order."""

    def has(self, name: str) -> bool:
        """Whether there is a file `name` inside the tree."""

    def read(self, name: str) -> bytes:
        """The content of a file of at most `LARGEST_FILE` bytes. Raises TreeError."""

    def open(self, name: str) -> IO[bytes]:
        """A file to be read bit by bit; it can be wound back. Raises TreeError."""


def open_tree(path: Path) -> Tree:
    """What lies at `path`. Raises TreeError where there is nothing, or a zip that is none or holds too much."""
    with _in_sentences(path.name):
        if path.is_dir():
            return Folder(path)
        if not path.exists():
            raise TreeError(f"{path.name or 'The path'} does not exist; check the name and the folder.")
        return Zip(path) if zipfile.is_zipfile(path) else Folder(path.parent, path.name)


def find(tree: Tree, path: str, beside: str = "") -> str | None:
    """The file of `tree` that `path`, written by another program or on another machine, means; None without one.

    `path` may be absolute or the end of an address: its tail is looked for in the folder of the file
    `beside`, then at the top.
    """
    if len(path) > LONGEST_PATH:
        return None
    here = str(PurePosixPath(beside).parent)
    for written in dict.fromkeys((path, unquote(path))):
        parts = [part for part in written.replace("\\", "/").split("/") if part not in ("", ".")]
        for folder in dict.fromkeys((here, "", f"{here}/images", "images")):
            for start in range(len(parts)):
                name = str(PurePosixPath(folder, *parts[start:]))
                if tree.has(name):
                    return name
    return None


class Folder:
    """The files under `root`; with `only`, that one alone is listed, but what lies beside it can be read."""

    refused: tuple[Problem, ...] = ()

    def __init__(self, root: Path, only: str | None = None) -> None:
        self.root, self.only = root, only
        self.name = _set_name(Path(only).stem if only else root.resolve().name)

    def names(self) -> list[str]:
        return [self.only] if self.only else self._names

    @cached_property
    def _names(self) -> list[str]:
        found = []
        for folder, below, files in os.walk(self.root):
            below[:] = sorted(one for one in below if _meant(one))
            relative = Path(folder).relative_to(self.root)
            found += [(relative / one).as_posix() for one in files if _meant(one) and (Path(folder) / one).is_file()]
        return sorted(found)

    def has(self, name: str) -> bool:
        try:
            return _slip(name) is None and (self.root / name).is_file()
        except OSError:  # a name that no file can have, or in a folder that is closed
            return False

    def read(self, name: str) -> bytes:
        with self.open(name) as file, _in_sentences(name):
            if os.fstat(file.fileno()).st_size > LARGEST_FILE:
                raise _too_large(name, LARGEST_FILE)
            return file.read()

    def open(self, name: str) -> IO[bytes]:
        if not self.has(name):
            raise TreeError(f"There is no file {name}.")
        with _in_sentences(name):
            return (self.root / name).open("rb")


class Zip:
    """The entries of the zip at `path`; those that no honest zip of pictures holds are in `refused`."""

    def __init__(self, path: Path) -> None:
        self.name = _set_name(path.stem)
        self._zip = zipfile.ZipFile(path)
        entries = [one for one in self._zip.infolist() if not one.is_dir()]
        if len(entries) > MOST_ENTRIES or sum(one.file_size for one in entries) > LARGEST_TOTAL:
            raise TreeError(
                f"{path.name} unpacks to more than {LARGEST_TOTAL // 10**9} GB or {MOST_ENTRIES} files; "
                "import it in parts."
            )
        doubts = [(one, _doubt(one)) for one in entries]
        self.refused = tuple(Problem(one.filename, doubt) for one, doubt in doubts if doubt)
        self._entries = {one.filename: one for one, doubt in doubts if not doubt}

    def names(self) -> list[str]:
        return sorted(name for name in self._entries if all(map(_meant, name.split("/"))))

    def has(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> bytes:
        with _in_sentences(name), self._open(name, LARGEST_FILE) as file:
            content = file.read(LARGEST_FILE + 1)  # what an entry says of its size need not be true
        if len(content) > LARGEST_FILE:
            raise _too_large(name, LARGEST_FILE)
        return content

    def open(self, name: str) -> IO[bytes]:
        with _in_sentences(name):
            return self._open(name, LARGEST_TABLE)

    def _open(self, name: str, largest: int) -> IO[bytes]:
        if name not in self._entries:
            raise TreeError(f"There is no file {name}.")
        if self._entries[name].file_size > largest:
            raise _too_large(name, largest)
        return self._zip.open(self._entries[name])


def _doubt(entry: zipfile.ZipInfo) -> str | None:
    """Why `entry` is refused, a sentence; None for one that can be read."""
    steep = entry.file_size > _SMALL and entry.file_size > STEEPEST * entry.compress_size
    if slip := _slip(entry.orig_filename) or _slip(entry.filename):
        return slip
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "It is a link, and links in a zip are not followed."
    if entry.flag_bits & 0x1:
        return "It is encrypted; make the zip again without a password."
    return f"It unpacks to more than {STEEPEST} times its size, as no picture does." if steep else None


def _slip(name: str) -> str | None:
    """What is wrong with `name`, a sentence, where it could lead out of its folder; None otherwise."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0] or "\0" in name:
        return "Its name leads out of the folder; it was not read."
    return None


def _set_name(name: str) -> str:
    """`name` as short as an annotator's may be, because a set can stand for the people who labelled it."""
    return plain_text(name)[:LONGEST_NAME].strip() or "import"


def _meant(name: str) -> bool:
    """Whether a file or folder is there for people: not hidden, not what a Mac adds to a zip."""
    return not name.startswith(".") and name != "__MACOSX"


def _too_large(name: str, largest: int) -> TreeError:
    return TreeError(f"{name} is larger than {largest // 10**6} MB.")


@contextmanager
def _in_sentences(name: str) -> Iterator[None]:
    """Turn what the disk and the zip report into a TreeError."""
    try:
        yield
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        cause = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise TreeError(
            f"{name or 'The path'} cannot be read{cause}; it is damaged or closed to this program."
        ) from error
