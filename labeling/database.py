"""The one SQLite file of the labels: `Database` opens it, `StoreError` says in a sentence what is wrong with it.

A connection lives as long as one operation. Writers of this process take turns, so that none of
them meets SQLite's own waiting, which sleeps; other processes are waited for.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from labeling import schema
from labeling.disks import on_network

NAME = "labels.db"
WAIT_SECONDS = 15.0  # for another process that writes


class StoreError(ValueError):
    """The labels cannot be read or written; the message says which file, why, and what to do."""


class Database:
    """``labels.db`` in `folder`, made when it is not there and brought to the newest schema.

    Raises StoreError where the folder cannot be written or the file belongs to a newer version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / NAME
        self._turn = threading.RLock()
        with sentences():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # While one connection has the log open, the others do not fold it into the file as they close.
            self._anchor = self._connect()
            try:
                schema.migrate(self._anchor, self.path)
                self._anchor.execute(f"PRAGMA journal_mode = {'DELETE' if on_network(self.path) else 'WAL'}")
                self._anchor.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the log
            except BaseException:
                self._anchor.close()
                raise

    def close(self) -> None:
        """Let go of the file; the log is folded into it."""
        self._anchor.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one read: it sees one state of the data throughout."""
        with sentences(), closing(self._connect()) as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction: on disk when the block ends, undone when it raises."""
        with self._turn, sentences(), closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def fold(self) -> None:
        """Fold the write-ahead log into the file and empty it, so that nothing deleted lingers there.

        Raises StoreError where a reader holds the log for longer than `WAIT_SECONDS`.
        """
        with self._turn, sentences(), closing(self._connect()) as connection:
            blocked, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if blocked:
            raise StoreError(f"{NAME} is busy with another program; withdraw again to remove the last traces.")

    def rebuild(self) -> None:
        """Write the file anew: when rows move between pages SQLite leaves copies behind, deleted or not."""
        with self._turn, sentences(), closing(self._connect()) as connection:
            connection.execute("VACUUM")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        # FULL: a label that was acknowledged survives a power cut. What is deleted is overwritten.
        for setting in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {setting}")
        return connection


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what SQLite and the disk report into a StoreError, one sentence."""
    try:
        yield
    except schema.NewerSchema as error:
        raise StoreError(str(error)) from error
    except sqlite3.IntegrityError:
        raise  # a fault of this program, not of the disk
    except (sqlite3.DatabaseError, OSError) as error:
        raise StoreError(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    words, number = str(error).lower(), getattr(error, "errno", None)
    # SQLite reports a full disk as an I/O error where it was to enlarge the memory that processes share.
    full = getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
    if full or number in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in words:
        return "The disk of the workspace is full; free some space and try again. Nothing was stored of this."
    if number in (errno.EROFS, errno.EACCES, errno.EPERM) or "readonly" in words or "unable to open" in words:
        return f"{NAME} cannot be written; make the workspace writable or choose another --workspace. Nothing was stored of this."
    if "not a database" in words or "malformed" in words:
        return f"{NAME} in the workspace is damaged; put a backup in its place or choose another --workspace."
    if "locked" in words or "busy" in words:
        return f"{NAME} is busy with another program; try again in a moment. Nothing was stored of this."
    cause = error.strerror if isinstance(error, OSError) else error  # an OSError's own words name folders
    return f"{NAME} in the workspace could not be used ({cause}); look at the disk, then try again."
