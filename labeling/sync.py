"""Labels on the Hub: `Sync` sends what is new in batches, reads what other copies of the app sent, and tells how that stands.

A label is on this disk before anybody is told that it was kept; from there it goes to a private repository within a
minute or two. An app whose disk was wiped reads everything back as it starts. Nothing here stops anybody from labeling.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import secrets
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from labeling import clearance, merge, outbox
from labeling.batches import LARGEST, Batch, DamagedBatch, is_batch
from labeling.database import StoreError
from labeling.merge import Merged
from labeling.meter import Done, SyncState
from labeling.outbox import Sizes
from labeling.repository import Head, Remote, Repository
from labeling.schema import now
from labeling.store import LabelStore
from labeling.withdrawal import finish

log = logging.getLogger(__name__)

HOUR = 3600.0
_NEVER = -float("inf")
TRIES = 3  # of one batch that cannot be fetched, before the others go on without it
MOVED_AGAIN = 5  # times that another copy may be faster before this one waits longer
LONG_COUNT, COUNT_SHARE = 0.05, 0.05  # seconds from which counting what waits is long; its share of the time then


@dataclass(frozen=True)
class Pace:
    """How often the Hub is asked; seconds."""

    first: float = 60.0  # from the first row that waits until it is sent
    apart: float = 90.0  # between two commits
    an_hour: int = 40  # commits, at most
    pull: float = 60.0  # between two looks at what others sent
    look: float = 1.0  # between two looks at what waits here
    retry: float = 5.0  # after the first failure; then twice as long each time
    longest: float = 600.0  # and never longer, but where the Hub asks for it
    moved: float = 1.0  # after another copy was faster
    marker: float = 120.0  # until a clearance that another copy began is taken for given up
    many: int = 200  # batches on the Hub from which small ones are made into one
    sizes: Sizes = field(default_factory=Sizes)


class PublicRepository(ValueError):
    """Everybody could read what is there; the message is a sentence."""

    reason = "public"
    after = None


class Overtaken(ValueError):
    """Another copy has changed the repository meanwhile, or this one is told to stop: from the beginning."""

    reason = "moved"
    after = None


class Sync:
    """Keeps the labels in `store`, those of the folder `workspace`, and those in `repository` the same.

    All methods may be called from any thread, and raise nothing that the Hub or the network does.
    """

    def __init__(
        self, store: LabelStore, repository: Repository, workspace: Path, pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._store, self._repository, self._workspace = store, repository, Path(workspace)
        self._pace, self._clock = pace or Pace(), clock
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._turn = threading.RLock()  # one conversation with the Hub at a time
        self._stopping = self._hurry = self._woken = self._look_now = False
        self._clearing = False  # a clearance was sent, and its marker not yet seen
        self._restored = threading.Event()
        self._problem: str | None = None  # with labels
        self._clearing_problem: str | None = None  # with what was withdrawn
        self._failures = self._overtaken = self._clearing_failures = 0
        self._not_before = self._no_clearing_before = _NEVER  # what the Hub, or a failure, asks for
        self._pulled_at: float | None = None
        self._waiting_since: float | None = None
        self._sent_at = _NEVER
        self._commits: deque[float] = deque(maxlen=self._pace.an_hour)  # when each of the last ones was tried
        self._seen: str | None = None  # the state that was read last
        self._present: Mapping[str, Remote] = {}
        self._damaged: dict[str, float] = {}  # batches that cannot be read, until when they are left alone
        self._unfetched: Counter[str] = Counter()
        self._markers: dict[str, float] = {}
        self._unreadable: set[int] = set()
        self._merged = Merged()
        self._named: str | None = None
        self._counted: tuple[float, float, int] = (_NEVER, 0.0, 0)

    # --- from outside ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin in the background: what is on the Hub is read first."""
        with self._changed:
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Look now: what waits is sent, as far as the pace allows, and what others sent is read."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def restored(self, seconds: float) -> bool:
        """Wait until all that was on the Hub at the start has been read, at most so long; whether it has."""
        return self._restored.wait(seconds)

    def flush(self, seconds: float = 10.0) -> bool:
        """Send all that waits at once, whatever the pace, in at most so many seconds; whether all is on the Hub."""
        until = time.monotonic() + seconds
        with self._changed:
            self._hurry, self._not_before, self._no_clearing_before = True, _NEVER, _NEVER
            self._changed.notify_all()
        if self._thread is None:
            threading.Thread(target=self._hurried, args=(until,), name="sync flush", daemon=True).start()
        try:
            while not self._all_done():
                if time.monotonic() >= until:
                    return False
                time.sleep(0.05)
            return True
        finally:
            self._hurry = False

    def stop(self, seconds: float = 2.0) -> None:
        """Stop; what is under way may take so long. What waits stays on this disk, and is sent after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)
            self._thread = None

    def removed(self, seconds: float) -> bool:
        """Wait until what was withdrawn is deleted on the Hub too, at most so long; whether it is."""
        self.wake()
        until = time.monotonic() + seconds
        while self._removing() or not self._restored.is_set():
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)
        return True

    def state(self) -> SyncState:
        """How the labels stand now. Raises StoreError."""
        finishing = self._own_markers()
        with self._store.database.reading() as connection:
            newest, first = connection.execute(
                "SELECT (SELECT max(at) FROM (SELECT at FROM judgements ORDER BY id DESC LIMIT 100)), "
                "(SELECT max(added_at) FROM (SELECT added_at FROM items ORDER BY id DESC LIMIT 100))"
            ).fetchone()
            on_hub = outbox.noted(connection, "on_hub_at")
            waiting = self._count(connection)
            removing = finishing or bool(clearance.owed(connection))
        damaged = tuple(sorted(list(self._damaged)))
        return SyncState(
            self._repository.name, newest or first, on_hub, waiting, self._trouble(), self._restored.is_set(), removing, damaged
        )

    def once(self) -> Done:
        """Read all that is new on the Hub and send all that waits, now; what that came to. Raises StoreError."""
        before, merged = self._waiting(), self._merged
        with self._turn:
            self._hurry, self._problem, self._clearing_problem = True, None, None
            self._not_before = self._no_clearing_before = _NEVER
            try:
                while not self._stopping:
                    done = self._attempt()
                    if self._problem or self._clearing_problem or self._used_up() or done and self._all_done():
                        break
                    time.sleep(0.0 if done else max(0.0, min(1.0, self._not_before - self._clock())))
            finally:
                self._hurry = False
        came, after = self._merged, self._waiting()
        problem = self._trouble()
        return Done(
            self._repository.name, came.faces - merged.faces, came.labels - merged.labels, came.removed - merged.removed,
            max(0, before - after), after, tuple(sorted(list(self._damaged))), problem,
        )  # fmt: skip

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self._attempt()
            with self._changed:
                if not self._stopping and not self._woken:
                    self._changed.wait(min(self._pace.look, 0.2) if self._hurry else self._pace.look)
                self._look_now, self._woken = self._woken, False

    def _hurried(self, until: float) -> None:
        """Work through a flush where no thread runs."""
        while self._hurry and time.monotonic() < until and not self._all_done():
            self._attempt()
            time.sleep(0.05)

    def _attempt(self) -> bool:
        """Do what is due; whether nothing went wrong. Never raises."""
        with self._turn:
            if self._clock() < self._not_before:
                return False
            try:
                if self._round():
                    self._failures = self._overtaken = 0
                    self._problem = None
                return True
            except Exception as error:
                self._failed(error)
                return False

    def _failed(self, error: Exception) -> None:
        reason = getattr(error, "reason", None)
        self._seen = None  # whatever was under way may have been done
        if reason in ("moved", "absent") and self._overtaken < MOVED_AGAIN:
            self._overtaken += 1
            self._not_before = self._clock() + self._pace.moved * random.uniform(0.2, 1.0)
            return
        self._failures += 1
        self._not_before = self._clock() + self._pause(self._failures, getattr(error, "after", None))
        self._problem = self._words(error, self._problem)

    def _pause(self, failures: int, asked: float | None) -> float:
        """Seconds until it is tried again: longer each time, never sooner than the Hub `asked`, but where time is short."""
        pause = min(self._pace.longest, self._pace.retry * 2 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)
        return min(pause, 1.0) if self._hurry else max(pause, asked or 0.0)

    def _words(self, error: Exception, before: str | None) -> str:
        """What to tell people of `error`; the log is told when it is another than `before`."""
        if getattr(error, "reason", None) is None and not isinstance(error, StoreError):
            words = f"Something unexpected went wrong on the way to the Hub ({type(error).__name__}); the log says more."
            log.error("the labels could not be brought to the Hub", exc_info=error)
            return words
        if str(error) != before:
            log.warning("%s: %s", self._repository.name, error)
        return str(error)

    def _trouble(self) -> str | None:
        """Why something waits, a sentence."""
        if self._problem or self._clearing_problem:
            return self._problem or self._clearing_problem
        if self._unreadable:
            return "A picture is damaged on this disk and does not go to the Hub; the log says which."
        return f"{self._pace.an_hour} commits in an hour are the most; the rest goes a little later." if self._used_up() else None

    def _used_up(self) -> bool:
        """Whether something waits only because this hour had all its commits."""
        return not self._allowed() and not self._all_done()

    def _round(self) -> bool:
        """Everything that is due now; whether the Hub was asked. Raises what the repository raises, and StoreError."""
        pull, send, task = self._pull_is_due(), self._send_is_due(), self._owed()
        if not (pull or send or task or self._markers_are_due()):
            return False
        self._read_all(self._head())
        if self._clear():
            self._read_all(self._head())
        if (send or self._send_is_due()) and self._allowed():
            self._send()
        if self._fold():
            self._read_all(self._head())
        self._finish_clearances()
        return True

    # --- when -----------------------------------------------------------------------------------

    def _pull_is_due(self) -> bool:
        due = self._pulled_at is None or self._clock() >= self._pulled_at + self._pace.pull
        return due or self._hurry or self._look_now or self._seen is None

    def _send_is_due(self) -> bool:
        with self._store.database.reading() as connection:
            empty = outbox.is_empty(connection, self._unreadable)
        if empty:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            # What waited when this process started was judged long ago.
            self._waiting_since = _NEVER if self._pulled_at is None else self._clock()
        due = max(self._waiting_since + self._pace.first, self._sent_at + self._pace.apart)
        return self._hurry or self._clock() >= due

    def _allowed(self) -> bool:
        """Whether another commit is within what an hour allows."""
        return len(self._commits) < self._pace.an_hour or self._commits[0] <= self._clock() - HOUR

    def _owed(self) -> bool:
        with self._store.database.reading() as connection:
            return bool(clearance.owed(connection))

    def _markers_are_due(self) -> bool:
        return any(self._is_due(marker, since) for marker, since in self._markers.items())

    def _is_due(self, marker: str, since: float) -> bool:
        given_up = clearance.is_of(marker, self._origin) or self._clock() >= since + self._pace.marker
        return given_up and self._clock() >= self._no_clearing_before

    def _own_markers(self) -> bool:
        return self._clearing or any(clearance.is_of(one, self._origin) for one in list(self._markers))

    def _removing(self) -> bool:
        return self._owed() or self._own_markers()

    def _all_done(self) -> bool:
        """Whether nothing is left to do on the Hub, but with pictures that are damaged here."""
        if self._own_markers():
            return False
        with self._store.database.reading() as connection:
            return outbox.is_empty(connection, self._unreadable) and not clearance.owed(connection)

    @property
    def _origin(self) -> str:
        """The name of this workspace among the copies; made when it is first asked for."""
        if self._named is None:
            with self._store.database.writing() as connection:
                self._named = outbox.noted(connection, "origin") or secrets.token_hex(4)
                outbox.note(connection, "origin", self._named)
        return self._named

    # --- reading --------------------------------------------------------------------------------

    def _head(self) -> Head:
        """The newest state of the repository, which is made where there is none. Raises PublicRepository."""
        try:
            head = self._repository.head()
        except Exception as error:
            if getattr(error, "reason", None) != "missing":
                raise
            head = self._repository.create()
            log.warning("%s was not on the Hub; it was made, private", self._repository.name)
        if not head.private:
            raise PublicRepository(
                f"{self._repository.name} on the Hub is public, and pictures of people do not go where everybody can see "
                "them; make it private in its settings."
            )
        return head

    def _read_all(self, head: Head) -> None:
        """Keep what other copies sent up to `head`; see what of ours is there."""
        began = now()
        if head.commit != self._seen or any(until <= self._clock() for until in self._damaged.values()):
            present = self._repository.files(head.commit)
            batches = {name: one for name, one in present.items() if is_batch(name)}
            self._markers = {one: self._markers.get(one, self._clock()) for one in clearance.markers(present)}
            self._clearing = False
            with self._store.database.writing() as connection:
                outbox.confirm(connection, {name: one.sha256 for name, one in batches.items()})
                known = outbox.known(connection)
            for name in sorted(batches.keys() - known):
                if self._stopping:
                    raise Overtaken("stopping")
                if self._damaged.get(name, _NEVER) <= self._clock():
                    self._take(name, batches[name], head.commit)
            with self._store.database.writing() as connection:
                back = outbox.missed(connection, batches.keys())
            if back:
                self._waiting_since = _NEVER
                log.warning("%d labels and faces are on %s no more, and go there again", back, self._repository.name)
            self._damaged = {name: until for name, until in self._damaged.items() if name in batches}
            self._present, self._seen = present, head.commit
        self._pulled_at = self._clock()
        self._note_time(began)
        self._restored.set()

    def _take(self, name: str, remote: Remote, commit: str) -> None:
        """Merge the batch `name`. Raises Overtaken where it is gone because the repository has changed."""
        try:
            content = self._fetched(name, remote, commit)
            if content is None:
                return
            sha256 = hashlib.sha256(content).hexdigest()
            if remote.sha256 not in (None, sha256):
                raise DamagedBatch("its content is not what its name on the Hub says")
            merged = merge.apply(self._store, name, sha256, Batch.unpacked(content))
        except DamagedBatch as error:
            self._leave_alone(name, str(error))
            return
        except (sqlite3.IntegrityError, LookupError, TypeError, AttributeError):  # a fault of this program must not stop labels
            log.exception("%s could not be kept", name)
            self._leave_alone(name, "it could not be kept")
            return
        self._damaged.pop(name, None)
        self._merged += merged
        if merged.removed:
            finish(self._workspace, self._store)

    def _fetched(self, name: str, remote: Remote, commit: str) -> bytes | None:
        """The content of a batch; None where it alone cannot be had. Raises DamagedBatch, Overtaken, and as the repository does."""
        if remote.size > LARGEST:
            raise DamagedBatch("it is too large for a batch")
        try:
            content = self._repository.read(name, commit)
        except Exception as error:
            if getattr(error, "reason", None) == "absent":
                if self._repository.head().commit != commit:
                    raise Overtaken(f"{name} is gone") from error
                raise DamagedBatch("it is listed, and not there") from error
            self._unfetched[name] += 1
            if self._unfetched[name] < TRIES:
                raise
            self._leave_alone(name, f"it cannot be fetched: {error}", self._pace.longest)
            return None
        del self._unfetched[name]
        return content

    def _leave_alone(self, name: str, why: str, seconds: float = float("inf")) -> None:
        self._damaged[name] = self._clock() + seconds
        log.warning("%s in %s is left alone: %s", name, self._repository.name, why)

    def _note_time(self, moment: str) -> None:
        """What was on this disk at `moment` is on the Hub, if nothing of it waits."""
        with self._store.database.writing() as connection:
            if not outbox.people_wait(connection):
                outbox.note(connection, "on_hub_at", max(moment, outbox.noted(connection, "on_hub_at") or ""))

    # --- sending --------------------------------------------------------------------------------

    def _send(self) -> None:
        """One commit with what waits."""
        origin = self._origin
        with self._store.database.writing() as connection:
            began = now()
            weigh = partial(self._weigh, connection)
            names = outbox.name_batches(connection, origin, self._pace.sizes, weigh, self._unreadable)
            all_of_people = connection.execute("SELECT 1 FROM outbox WHERE bulk = 0 AND file IS NULL LIMIT 1").fetchone() is None
        if not names:
            return
        going: list[str] = []
        self._commits.append(self._clock())
        self._repository.send("Labels", self._packed(names, going))
        self._sent_at = self._clock()
        whole = all_of_people and going == names
        with self._store.database.writing() as connection:
            outbox.arrived(connection, going)
            if whole:
                outbox.note(connection, "on_hub_at", max(began, outbox.noted(connection, "on_hub_at") or ""))
        self._waiting_since = None if whole else _NEVER

    def _packed(self, names: list[str], going: list[str]) -> Iterator[tuple[str, bytes]]:
        """(name, content) of the batches `names`, one in memory at a time; those that are sent are put into `going`."""
        for name in names:
            with self._store.database.reading() as connection:
                parcel = outbox.parcel(connection, name)
            pictures = self._pictures(parcel)
            lines = self._sendable(name, parcel, pictures)
            if not lines:
                continue
            content = Batch(lines, pictures).packed()
            with self._store.database.writing() as connection:
                rows = connection.execute("SELECT kind, row FROM outbox WHERE file = ?", (name,)).fetchall()
                if {tuple(row) for row in rows} != set(parcel.rows):
                    # Something of it was withdrawn at this very moment.
                    connection.execute("UPDATE outbox SET file = NULL WHERE file = ?", (name,))
                    continue
                outbox.sent(connection, name, hashlib.sha256(content).hexdigest(), parcel.rows)
            going.append(name)
            yield name, content

    def _pictures(self, parcel: outbox.Parcel) -> dict[str, bytes]:
        """The pictures that can be read."""
        found = {}
        for image in parcel.images:
            with contextlib.suppress(OSError, ValueError):
                found[image] = self._store.images.get(image)
        return found

    def _sendable(self, name: str, parcel: outbox.Parcel, pictures: dict[str, bytes]) -> tuple[dict, ...]:
        """The lines of a parcel; none where a picture cannot be read: what hangs on it stays, and the rest goes next time."""
        lost = parcel.images - pictures.keys()
        if not lost:
            return tuple(parcel.lines)
        with self._store.database.writing() as connection:
            for image in lost:
                for (item,) in connection.execute("SELECT id FROM items WHERE image = ?", (image,)).fetchall():
                    self._unreadable.add(item)
                    log.error("the picture of face %d is damaged on this disk; it does not go to the Hub", item)
            connection.execute("UPDATE outbox SET file = NULL WHERE file = ?", (name,))
        return ()

    def _weigh(self, connection: sqlite3.Connection, item: int) -> int:
        """Bytes of the picture of `item`."""
        row = connection.execute("SELECT image FROM items WHERE id = ?", (item,)).fetchone()
        try:
            return self._store.images.path(row["image"]).stat().st_size if row and row["image"] else 0
        except OSError:
            return 0

    # --- withdrawals, and tidying up ------------------------------------------------------------

    def _clear(self) -> bool:
        """Take what was withdrawn out of the files on the Hub; whether there was any."""
        if not self._owed() or not self._allowed():
            return False
        self._commits.append(self._clock())
        self._clearing = True
        clearance.clear(self._store, self._repository, self._seen, self._present, self._origin, self._pace.sizes)
        return True

    def _fold(self) -> bool:
        """Make one batch of many, where there are too many."""
        if sum(map(is_batch, self._present)) <= self._pace.many or not self._allowed() or self._seen is None:
            return False
        head = self._head()
        self._read_all(head)
        self._commits.append(self._clock())
        return clearance.fold(self._repository, head.commit, self._present, self._origin, self._pace.sizes) > 0

    def _finish_clearances(self) -> None:
        """Delete for good what is left of withdrawals; where the Hub refuses, labels go on and this is tried later."""
        due = [marker for marker, since in self._markers.items() if self._is_due(marker, since)]
        if not due or not self._allowed():
            return
        self._commits.append(self._clock())
        try:
            clearance.finish(self._repository, due)
        except Exception as error:
            if getattr(error, "reason", None) in ("moved", "absent"):
                raise
            self._clearing_failures += 1
            pause = self._pause(self._clearing_failures, getattr(error, "after", None))
            self._no_clearing_before = self._clock() + pause
            self._clearing_problem = self._words(error, self._clearing_problem)
            return
        self._clearing_failures, self._clearing_problem = 0, None
        self._markers = {one: since for one, since in self._markers.items() if one not in due}
        self._seen = None

    # --- counting -------------------------------------------------------------------------------

    def _waiting(self) -> int:
        with self._store.database.reading() as connection:
            return outbox.waiting(connection)

    def _count(self, connection: sqlite3.Connection) -> int:
        """How many wait; counted anew unless that took long a moment ago, as while a large import goes out."""
        at, took, count = self._counted
        if took > LONG_COUNT and time.monotonic() < at + took / COUNT_SHARE:
            return count
        began = time.monotonic()
        count = outbox.waiting(connection)
        self._counted = (time.monotonic(), time.monotonic() - began, count)
        return count
