"""What was withdrawn leaves the Hub for good, and many small batches become few: files there are replaced by others.

In one commit on top of a known state the old files go, new ones without what was withdrawn come, other copies are told,
and a marker says which large files are still to be deleted for good. Then those are deleted, the history is squashed, and
the marker goes. Whoever finds a marker finishes the job: the copy that began may have been killed.
"""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from labeling import records
from labeling.batches import Batch, DamagedBatch, is_batch, new_name
from labeling.outbox import Sizes
from labeling.repository import Remote, Repository
from labeling.store import LabelStore

MARKERS = "purge/"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owed:
    """What is to be done on the Hub: files that are `tainted` (name: SHA-256), those of them no answer came for (`unsure`),
    and what other copies must be `told`, (name, time)."""

    tainted: Mapping[str, str]
    unsure: frozenset[str]
    told: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.tainted or self.told)


def owed(connection: sqlite3.Connection) -> Owed:
    """What withdrawals still ask for."""
    rows = connection.execute("SELECT name, sha256, sure FROM files WHERE tainted").fetchall()
    told = connection.execute("SELECT name, at FROM gone WHERE NOT told ORDER BY id").fetchall()
    return Owed(
        {row["name"]: row["sha256"] for row in rows}, frozenset(row["name"] for row in rows if not row["sure"]),
        tuple(tuple(row) for row in told),
    )  # fmt: skip


def clear(
    store: LabelStore, repository: Repository, commit: str, present: Mapping[str, Remote], origin: str, sizes: Sizes
) -> None:
    """Replace on top of `commit`, whose files are `present`, what holds something withdrawn, and tell the other copies.

    Raises what the repository raises; nothing of it is done then, or all.
    """
    with store.database.reading() as connection:
        task = owed(connection)
        gone = {row["name"]: row["at"] for row in connection.execute("SELECT name, at FROM gone")}
    there = list(_within(sorted(set(task.tainted) & set(present)), present, sizes.commit_bytes))
    large = {present[name].sha256 for name in there} | {sha256 for name, sha256 in task.tainted.items() if name in task.unsure}

    def added() -> Iterator[tuple[str, bytes]]:
        for number, name in enumerate(there):
            left = _read(repository, name, commit).without(gone)
            if left.records:
                yield new_name(origin, number), left.packed()
        if task.told:
            yield new_name(origin, len(there)), Batch(tuple(records.of_gone(*one) for one in task.told)).packed()
        if there or task.unsure:
            yield _marker(origin), _marked(large)

    repository.send("Withdrawn", added(), there, commit)
    with store.database.writing() as connection:
        # They may be on the Hub as large files that no commit names; the marker says so now.
        connection.executemany("DELETE FROM files WHERE name = ? AND NOT sure", [(name,) for name in task.unsure])
        connection.executemany("UPDATE gone SET told = 1 WHERE name = ? AND at = ?", task.told)


def fold(repository: Repository, commit: str, present: Mapping[str, Remote], origin: str, sizes: Sizes) -> int:
    """Make one of many small batches, the oldest first, on top of `commit`; how many those were.

    Raises what the repository raises; nothing of it is done then, or all.
    """
    small = [name for name in sorted(present) if is_batch(name) and present[name].size < sizes.bytes // 4]
    chosen = list(_within(small[: sizes.files], present, sizes.bytes))
    read = {name: batch for name in chosen if (batch := _whole(repository, name, commit)) is not None}
    if len(read) < 2:
        return 0

    def added() -> Iterator[tuple[str, bytes]]:
        yield new_name(origin), Batch.of(read.values()).packed()
        yield _marker(origin), _marked(present[name].sha256 for name in read)

    repository.send(f"{len(read)} batches as one", added(), list(read), commit)
    return len(read)


def markers(present: Collection[str]) -> list[str]:
    """The markers of what is still to be deleted for good."""
    return sorted(name for name in present if name.startswith(MARKERS))


def finish(repository: Repository, found: Collection[str]) -> None:
    """Delete for good what the markers `found` name, and the history with it; then the markers go.

    The same again does no harm. Raises what the repository raises.
    """
    head = repository.head().commit
    present = repository.files(head)  # as it is now: what was sent since the last look must stay
    left = sorted(set(found) & set(present))
    if not left:
        return
    large = {one for name in left for one in _large_in(repository.read(name, head))}
    try:
        repository.forget(large, {one.sha256 for one in present.values() if one.sha256})
    finally:
        repository.squash()
    head = repository.head().commit
    left = sorted(set(left) & set(repository.files(head)))
    if left:
        repository.send("Deleted for good", (), left, head)


def is_of(marker: str, origin: str) -> bool:
    """Whether the copy `origin` made that marker."""
    return marker.startswith(f"{MARKERS}{origin}-")


def _marker(origin: str) -> str:
    return f"{MARKERS}{origin}-{secrets.token_hex(8)}.json"


def _marked(large: Iterable[str | None]) -> bytes:
    return json.dumps({"large": sorted(set(large) - {None})}).encode()


def _large_in(marker: bytes) -> set[str]:
    """The large files that a marker names; a damaged one names none."""
    try:
        named = json.loads(marker)["large"]
        return {one for one in named if isinstance(one, str)}
    except (ValueError, KeyError, TypeError):
        return set()


def _within(names: Iterable[str], present: Mapping[str, Remote], most: int) -> Iterator[str]:
    """As many of `names` as have `most` bytes together; one at least."""
    total = 0
    for name in names:
        total += present[name].size
        if total > most and total > present[name].size:
            return
        yield name


def _read(repository: Repository, name: str, commit: str) -> Batch:
    """The batch `name`; an empty one where it is damaged: what it held waits in the outboxes of those who have it."""
    return _whole(repository, name, commit) or Batch(())


def _whole(repository: Repository, name: str, commit: str) -> Batch | None:
    try:
        return Batch.unpacked(repository.read(name, commit))
    except DamagedBatch as error:
        log.warning("%s on the Hub cannot be read: %s", name, error)
        return None
