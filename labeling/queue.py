"""Which face to ask about next, of whom, and why: `ReviewQueue`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from labeling.agreement import alpha, with_others
from labeling.labels import LABELS
from labeling.overview import Votes
from labeling.pool import NOT_SEEN, SKIPPED, Pool
from labeling.reasons import WANTED, Faces, Ranking, ranking
from labeling.store import LabelStore

LEASE_SECONDS = 120.0  # an item handed out is not given to anybody else for so long
FRESH_SECONDS = 5.0  # the order is computed anew when it is older than this and something has changed
SMALL = 500  # items up to which the order is computed with every change, at once
AGREEMENT_SECONDS = 10.0  # between two computations of the agreement
CHECK_SHARE = 0.02  # of the items handed out are ones that the person has labelled before
CHECK_AFTER = 50  # labels of the person that lie between, at least

DOUBTFUL = "Its label looks doubtful."
AGAIN = "You labelled this face before, and its label looks doubtful: please look again."
CHECK = "You have labelled this face before; it is shown again to see how steady labels are."


@dataclass(frozen=True)
class Candidate:
    """An item to ask about: `score` 0..1 of the reason, and the `reason` in words, for the person who is asked."""

    item: int
    score: float
    reason: str


class ReviewQueue:
    """Serves several people at once; `clock` returns seconds and is replaced in tests.

    Nobody is given an item twice, but for a stated check of how steady labels are; two people are not
    given the same one at the same time.
    """

    def __init__(
        self, store: LabelStore, clock: Callable[[], float] = time.monotonic, seed: int | None = None
    ) -> None:  # fmt: skip
        self._store = store
        self._pool = Pool(store)
        self._clock = clock
        self._random = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._leases: dict[int, tuple[str, float]] = {}  # item -> who holds it, until when
        self._ranking: Ranking | None = None
        self._ranked_at = -np.inf
        self._age = 0  # of the pool when it was read last: rows of an older one are other items
        self._turn = self._ranked = 0  # changes counted so far, and how many of them the order knows
        self._touched = np.zeros(0, dtype=np.int64)  # by row its last change
        self._ranking_now = threading.Lock()
        self._first: dict[int, str] = {}  # item -> why it goes before all others
        self._agreement: tuple[float, dict] = (-np.inf, {"alpha": None, "items": 0})
        self._agreeing = threading.Lock()

    def next(self, annotator: str, count: int = 1) -> list[Candidate]:
        """Up to `count` items to ask `annotator` about, the most useful first; they are held for two minutes."""
        with self._lock:
            self._follow()
        self._refresh()
        with self._lock:
            self._follow()
            found = self._choose(annotator, count)
        if len(found) < count and self._refresh(whatever=True):
            with self._lock:
                found += self._choose(annotator, count - len(found))
        return found

    def release(self, annotator: str) -> None:
        """Give back what `annotator` holds: the page was opened anew, and knows nothing of it."""
        with self._lock:
            self._leases = {item: lease for item, lease in self._leases.items() if lease[0] != annotator}

    def returned(self, item: int, annotator: str) -> None:
        """`item` was judged by `annotator`, who holds it no longer; by now somebody else may."""
        with self._lock:
            if self._leases.get(item, ("", 0.0))[0] == annotator:
                del self._leases[item]
            self._first.pop(item, None)

    def hold(self, item: int, annotator: str) -> None:
        """`annotator` took back what they said about `item` and has it before them again; unless somebody else does."""
        with self._lock:
            self._leases.setdefault(item, (annotator, self._clock() + LEASE_SECONDS))

    def look_again(self, items: Iterable[int]) -> None:
        """Ask about `items`, whose labels are doubtful, before all others: also those who labelled them, who are told."""
        with self._lock:
            self._first.update(dict.fromkeys(items, DOUBTFUL))

    def votes(self) -> Votes:
        """All items and how many people give each label, as they are now."""
        with self._lock:
            self._follow()
            return Votes(self._pool.ids.copy(), self._pool.votes.copy(), self._pool.probabilities.copy(), self._pool.pixels.copy())

    def waiting(self, annotator: str) -> int:
        """How many items there are still to ask `annotator` about."""
        with self._lock:
            self._follow()
        self._refresh()
        with self._lock:
            return int(self._askable(annotator).sum())

    def statistics(self, annotator: str | None = None, wait: bool = False) -> dict:
        """Counts of everything, now; the agreement is computed beside, and may be some seconds old unless `wait`."""
        with self._lock:
            self._follow()
            counts = self._counts()
            mine = None if annotator is None else self._pool.answers_of(annotator).copy()
            votes = None if annotator is None else self._pool.votes.copy()
            brought = annotator in self._pool.importers
        if mine is not None:
            same, on = (None, 0) if brought else with_others(mine, votes)
            counts["mine"] = {"labels": int((mine >= 0).sum()), "skipped": int((mine == SKIPPED).sum()),
                              "agreement": same and round(same, 4), "compared": on}  # fmt: skip
        return {**counts, "agreement": self._known_agreement(wait)}

    # --- inside ---------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Read what is new in the store."""
        changed = self._pool.catch_up()
        if self._pool.age != self._age:  # a withdrawal: rows have moved
            self._age, self._ranking, self._touched = self._pool.age, None, np.zeros(0, dtype=np.int64)
        if len(changed):
            self._turn += 1
            self._touched = np.concatenate([self._touched, np.zeros(len(self._pool) - len(self._touched), dtype=np.int64)])
            self._touched[changed] = self._turn

    def _refresh(self, whatever: bool = False) -> bool:
        """Compute the order anew where it is needed, in the background where it takes long; whether it is new now."""
        with self._lock:
            stale = self._ranking is None or self._turn > self._ranked
            small = len(self._pool) <= SMALL
            young = self._clock() - self._ranked_at < FRESH_SECONDS
        if not stale or (young and not small and not whatever):
            return False
        if self._ranking is None or small:
            self._rank()
            return True
        if self._ranking_now.acquire(blocking=False):
            threading.Thread(target=self._rank_and_release, name="review-queue", daemon=True).start()
        return False

    def _rank_and_release(self) -> None:
        try:
            self._rank()
        finally:
            self._ranking_now.release()

    def _rank(self) -> None:
        with self._lock:
            pool, age, turn = self._pool, self._age, self._turn
            kept = np.flatnonzero(pool.pixels)
            faces = Faces(pool.probabilities[kept], pool.features[kept], pool.votes[kept], pool.twin[kept])
            seed = int(self._random.integers(2**32))
        fresh = ranking(faces, np.random.default_rng(seed))
        with self._lock:
            if self._age != age or (self._ranking is not None and turn < self._ranked):
                return  # a withdrawal came between, or somebody was faster
            self._ranking = Ranking(kept[fresh.rows], fresh.reasons, fresh.scores)
            self._ranked_at, self._ranked = self._clock(), turn

    def _askable(self, annotator: str, taken: np.ndarray | None = None) -> np.ndarray:
        """bool: which places of the order can be handed to `annotator` now; the rows `taken` are not."""
        if self._ranking is None:  # a withdrawal came between
            return np.zeros(0, dtype=bool)
        order, now = self._ranking.rows, self._clock()
        held = np.zeros(len(self._pool), dtype=bool)
        held[self._pool.rows([item for item, lease in self._leases.items() if lease[1] > now])] = True
        held[[] if taken is None else taken] = True
        return (self._pool.answers_of(annotator)[order] == NOT_SEEN) & ~held[order] & (self._touched[order] <= self._ranked)

    def _choose(self, annotator: str, count: int) -> list[Candidate]:
        now = self._clock()
        self._leases = {item: lease for item, lease in self._leases.items() if lease[1] > now}
        found = self._doubtful(annotator, count) or self._check(annotator, count)
        taken = self._pool.rows([one.item for one in found])
        for place in np.flatnonzero(self._askable(annotator, taken))[: count - len(found)]:
            item = int(self._pool.ids[self._ranking.rows[place]])
            found.append(Candidate(item, float(self._ranking.scores[place]), self._ranking.reason(place).words))
        until = now + LEASE_SECONDS
        self._leases.update({one.item: (annotator, until) for one in found})
        return found

    def _doubtful(self, annotator: str, count: int) -> list[Candidate]:
        """The items to look at again, of those nobody holds; the person's own come with another sentence."""
        rows = self._pool.rows(list(self._first))
        rows = rows[self._pool.pixels[rows]]
        said = self._pool.answers_of(annotator)
        free = [row for row in rows if self._pool.ids[row] not in self._leases][:count]
        return [
            Candidate(int(self._pool.ids[row]), 1.0, AGAIN if said[row] >= 0 else self._first[int(self._pool.ids[row])])
            for row in free
        ]

    def _check(self, annotator: str, count: int) -> list[Candidate]:
        """Now and then an item that the person has labelled before."""
        if self._random.random() >= CHECK_SHARE * count:
            return []
        earlier = self._store.labelled_by(annotator, before_last=CHECK_AFTER)
        seen = self._pool.rows(earlier)
        earlier = [item for item in self._pool.ids[seen[self._pool.pixels[seen]]].tolist() if item not in self._leases]
        return [Candidate(int(self._random.choice(earlier)), 0.0, CHECK)] if earlier else []

    def _counts(self) -> dict:
        pool = self._pool
        labelled = pool.votes.sum(axis=1) > 0
        return {
            "faces": int(pool.pixels.sum()),
            "labelled": int((labelled & pool.pixels).sum()),
            "labels_without_picture": int((labelled & ~pool.pixels).sum()),
            "by_label": dict(zip(LABELS, pool.votes.sum(axis=0).tolist(), strict=True)),
            "by_annotator": {name: int((said >= 0).sum()) for name, said in sorted(pool.answers.items())},
            "wanted": WANTED,
        }

    def _known_agreement(self, wait: bool) -> dict:
        """The agreement as it was computed last; where that is long ago, it is computed again beside this."""
        at, _ = self._agreement
        if self._clock() - at > AGREEMENT_SECONDS and self._agreeing.acquire(blocking=False):
            thread = threading.Thread(target=self._agree, name="agreement", daemon=True)
            thread.start()
            if wait or at == -np.inf:
                thread.join(None if wait else 0.1)  # with few labels the first answer has it already
        return self._agreement[1]

    def _agree(self) -> None:
        try:
            with self._lock:
                votes = self._pool.votes.copy()
            value = alpha(votes)
            self._agreement = (self._clock(), {
                "alpha": None if value is None else round(value, 4), "items": int((votes.sum(axis=1) > 1).sum()),
            })  # fmt: skip
        finally:
            self._agreeing.release()
