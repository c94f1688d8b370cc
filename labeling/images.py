"""Pictures of faces as files named by their content: ``images/ab/abcd….png``."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

SUFFIX = ".png"
MANY = 8  # files from which one wait for the whole disk is quicker than one for each
ABANDONED_SECONDS = 3600.0  # a file that no row names, older than this, was left by a process that was killed


class ImageFiles:
    """Content-addressed files under `root`. A file is whole or not there, whenever the power fails."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        """Where the file with the SHA-256 `name`, 64 hexadecimal digits, lies. Raises ValueError for another name."""
        if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise ValueError(f"“{name}” is not the name of an image")
        return self.root / name[:2] / (name + SUFFIX)

    def put(self, content: bytes) -> str:
        """Keep `content`; its SHA-256. It is on disk when this returns. Raises OSError."""
        return self.put_all([content])[0]

    def put_all(self, contents: Iterable[bytes]) -> list[str]:
        """Keep several at the cost of one wait for the disk; their SHA-256. Raises OSError, and then keeps none."""
        partials: dict[Path, Path] = {}
        names, placed = [], []
        try:
            for content in contents:
                names.append(hashlib.sha256(content).hexdigest())
                self._begin(names[-1], content, partials)
            _sync(list(partials))
            for partial, path in partials.items():
                os.replace(partial, path)
                placed.append(path)
            _sync_folders({path.parent for path in partials.values()})
        except BaseException:
            for path in placed:
                path.unlink(missing_ok=True)
            raise
        finally:
            for partial in partials:
                partial.unlink(missing_ok=True)
        return names

    def _begin(self, name: str, content: bytes, partials: dict[Path, Path]) -> None:
        path = self.path(name)
        if path.is_file():
            os.utime(path)  # so that `sweep` does not take it for abandoned before its row is there
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{name}.{os.getpid()}.{threading.get_ident()}.partial")
        partials[partial] = path
        partial.write_bytes(content)

    def get(self, name: str) -> bytes:
        """The content called `name`. Raises FileNotFoundError, and ValueError where it was altered."""
        content = self.path(name).read_bytes()
        if hashlib.sha256(content).hexdigest() != name:
            raise ValueError(f"the image {name[:12]}… was altered on disk; restore it from a backup")
        return content

    def delete(self, names: Iterable[str]) -> None:
        """Remove files; names that are not there are passed over."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """The names of all files that are here."""
        return (path.stem for path in self.root.glob(f"??/*{SUFFIX}"))

    def sweep(self, used: set[str]) -> int:
        """Remove what no row names (`used`) and nobody touched for an hour; how many files that were."""
        limit = time.time() - ABANDONED_SECONDS
        files = [path for path in self.root.glob("??/*") if path.suffix != SUFFIX or path.stem not in used]
        abandoned = [path for path in files if _touched(path) < limit]
        for path in abandoned:
            path.unlink(missing_ok=True)
        return len(abandoned)


def _touched(path: Path) -> float:
    """When the file was written or named last, seconds; never, for one that is gone meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _sync(files: list[Path]) -> None:
    """Wait until the contents of `files` are on disk."""
    if len(files) > MANY and hasattr(os, "sync"):
        os.sync()
        return
    for path in files:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _sync_folders(folders: set[Path]) -> None:
    """Make the new names themselves durable."""
    if len(folders) > MANY and hasattr(os, "sync"):
        os.sync()
        return
    for folder in folders:
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """As `_sync_folders`, for one; systems that cannot open a folder need no help."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
