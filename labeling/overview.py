"""What the labels look like as a whole: `overview`, and the faces about which people part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labeling.agreement import alpha, alpha_interval
from labeling.labels import LABELS
from labeling.store import LabelStore

ENOUGH = 50  # faces of each expression below which training learns little of it
PAIRS = 12  # of labels that people part on, at most


@dataclass(frozen=True)
class Votes:
    """`ids` int64 (N,) of all items, `votes` int (N, 10), how many people give each label, and `probabilities`
    float32 (N, 8), what a model says, NaN where none has read the face."""

    ids: np.ndarray
    votes: np.ndarray
    probabilities: np.ndarray
    pixels: np.ndarray  # bool (N,): its picture is kept

    def parted(self, one: str, other: str) -> np.ndarray:
        """The ids of the faces for which some people say `one` and some `other`, the most disputed first."""
        first, second = self.votes[:, LABELS.index(one)], self.votes[:, LABELS.index(other)]
        rows = np.flatnonzero((first > 0) & (second > 0))
        return self.ids[rows[np.argsort(-np.minimum(first, second)[rows], kind="stable")]]

    def in_words(self, item: int) -> str:
        """The votes on `item`, the commonest label first: "sadness 6, neutral 4"."""
        row = self.votes[np.searchsorted(self.ids, item)]
        return ", ".join(f"{LABELS[place]} {row[place]}" for place in np.argsort(-row, kind="stable") if row[place])


def overview(store: LabelStore, votes: Votes) -> dict:
    """Counts by source and day, agreement with its 95 % interval, the pairs people part on, and what is missing."""
    value = alpha(votes.votes)
    low, high = alpha_interval(votes.votes) if value is not None else (None, None)
    return {
        **_counted(store),
        "alpha": {"value": value, "low": low, "high": high, "items": int((votes.votes.sum(axis=1) > 1).sum())},
        "parting": list(_pairs(votes.votes)),
        "missing": _missing(votes.votes[votes.pixels]),
    }


def _counted(store: LabelStore) -> dict:
    """Faces and labelled ones by source; labels by day; when the last one was saved."""
    sources = """SELECT source, count(*), sum(EXISTS (SELECT 1 FROM standing WHERE item = items.id AND label IS NOT NULL))
                 FROM items GROUP BY source ORDER BY count(*) DESC"""
    days = "SELECT substr(at, 1, 10), count(*) FROM judgements WHERE kind = 'label' GROUP BY 1 ORDER BY 1"
    with store.database.reading() as connection:
        return {
            "by_source": [[*row] for row in connection.execute(sources)],
            "by_day": [[*row] for row in connection.execute(days)],
            "saved_at": connection.execute("SELECT max(at) FROM judgements").fetchone()[0],
            "withdrawn": connection.execute("SELECT count(*) FROM withdrawn").fetchone()[0],
        }


def _pairs(votes: np.ndarray) -> Iterator[list]:
    """[label, other label, faces]: how many faces have votes for both, the commonest first."""
    given = (votes > 0).astype(np.int64)
    together = np.triu(given.T @ given, 1)
    for place in np.argsort(-together, axis=None, kind="stable")[:PAIRS]:
        one, other = divmod(int(place), len(LABELS))
        if together[one, other]:
            yield [LABELS[one], LABELS[other], int(together[one, other])]


def _missing(votes: np.ndarray) -> list[list]:
    """[expression, faces it leads on, how many more make `ENOUGH`] for each of the eight."""
    leads = votes.argmax(axis=1)[votes.sum(axis=1) > 0]
    counts = np.bincount(leads, minlength=len(LABELS))[:8].tolist()
    return [[LABELS[number], count, max(0, ENOUGH - count)] for number, count in enumerate(counts)]
