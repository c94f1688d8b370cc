"""Whether there is enough to learn from: `readiness`, counted as a snapshot taken now would be, before one is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from labeling.labels import ANSWERS, CANNOT_TELL, LABELS, NOT_A_FACE
from labeling.labels import title as titled
from labeling.snapshot import gathered
from labeling.store import LabelStore
from labeling.trust import weighed

EXPRESSIONS = tuple(one.name for one in ANSWERS if one.name not in (CANNOT_TELL, NOT_A_FACE))
TO_LEARN = 20  # faces to learn from below which no run starts
# Faces of one expression below which they do not help: of fewer, each single face is more than a twentieth of what is
# learned of it, so one wrong label shows.
HELPS = 20
# Held-out faces without which the gate says "not enough to tell": as fer.comparison has it; a test holds the two together.
TO_TELL = 60


@dataclass(frozen=True)
class Readiness:
    """What a run started now would be given. `learn` and `held_out` count faces by expression, each by its most votes."""

    learn: dict[str, int]  # faces to learn from
    held_out: dict[str, int]  # faces kept aside to test on, never learned from
    groups: int  # clips, people and photos that these faces come from
    left_out: int  # near copies of, or in one group with, held-out faces: not learned from
    no_expression: int  # labelled only as cannot tell or not a face
    undecided: int  # held out, but no expression has more than half of the votes: not tested on
    missing: tuple[tuple[str, int], ...]  # expression, how many more faces before it helps
    held: int = 0  # labels of newcomers that wait for a second opinion: not learned from, not tested on
    over: int = 0  # labels above the share of one contributor: neither

    @property
    def to_learn(self) -> int:
        """Faces to learn from."""
        return sum(self.learn.values())

    @property
    def to_test(self) -> int:
        """Faces to test on."""
        return sum(self.held_out.values())

    @property
    def ready(self) -> bool:
        """Whether a run can start."""
        return self.to_learn >= TO_LEARN and self._expressions > 1

    @property
    def _expressions(self) -> int:
        return sum(count > 0 for count in self.learn.values())

    @property
    def words(self) -> str:
        """Whether a run can start, and what it would be worth, in one sentence; another one where labels wait."""
        return " ".join([self._verdict, *self._waiting()])

    @property
    def _verdict(self) -> str:
        if not self.to_learn and not self.to_test:
            if self.held:
                return "No face has an expression as its label yet that counts."
            return "No face has an expression as its label yet; correct faces on the Try tab, label some, or import labelled ones."
        if self.to_learn < TO_LEARN:
            return f"Too few to learn from: {_faces(self.to_learn)}, and a run needs {TO_LEARN}; label {TO_LEARN - self.to_learn} more."
        if self._expressions < 2:
            (only,) = (name for name, count in self.learn.items() if count)
            return f"All faces to learn from show {titled(only).lower()}; a run needs two expressions, so label faces that show another."
        if self.to_test < TO_TELL:
            return (
                f"A run can start and learns from {_faces(self.to_learn)}; {self.to_test} held out "
                f"{'is' if self.to_test == 1 else 'are'} too few to tell whether it helps: that takes {TO_TELL}."
            )
        return f"A run can start: it learns from {_faces(self.to_learn)} and is tested on {self.to_test} that it never sees."

    def _waiting(self) -> Iterable[str]:
        if self.held:
            yield f"{_labels(self.held)} of newcomers {'waits' if self.held == 1 else 'wait'} for a second opinion (Data tab)."
        if self.over:
            yield f"{_labels(self.over)} {'is' if self.over == 1 else 'are'} left out because one contributor gave too large a share."

    def as_dict(self) -> dict:
        """Plain JSON values."""
        counts = {"to_learn": self.to_learn, "to_test": self.to_test, "to_tell": TO_TELL}
        return {**asdict(self), **counts, "ready": self.ready, "words": self.words, "missing_words": list(self.missing_words())}

    def missing_words(self) -> Iterable[str]:
        """What is missing, a sentence for each expression of which there are some faces, but too few to help."""
        for name, more in self.missing:
            yield f"{more} more {titled(name).lower()} before this helps."


def readiness(store: LabelStore) -> Readiness:
    """Counts everything a snapshot taken now would hold. Raises StoreError when the disk does not obey."""
    lines, left_out = gathered(store)
    learn, held_out = dict.fromkeys(EXPRESSIONS, 0), dict.fromkeys(EXPRESSIONS, 0)
    groups, no_expression, undecided = set(), 0, 0
    for line in lines:
        leading, decided = _leading(line["votes"])
        if leading not in learn:
            no_expression += 1
        elif line["split"] == "train":
            learn[leading] += 1
            groups.add(line["group"])
        elif decided:
            held_out[leading] += 1
            groups.add(line["group"])
        else:
            undecided += 1
    found = weighed(store)
    return Readiness(
        learn, held_out, len(groups), left_out, no_expression, undecided, tuple(_missing(learn)), found.held, found.over
    )  # fmt: skip


def _leading(votes: dict[str, float]) -> tuple[str, bool]:
    """The label with most votes, the first in the order of labels where several have, and whether it has more than half."""
    leading = max(LABELS, key=lambda name: votes.get(name, 0.0))
    return leading, votes.get(leading, 0.0) > sum(votes.values()) / 2


def _missing(learn: dict[str, int]) -> Iterable[tuple[str, int]]:
    for name, count in learn.items():
        if 0 < count < HELPS:
            yield name, HELPS - count


def _labels(count: int) -> str:
    return f"{count:,} label{'' if count == 1 else 's'}"


def _faces(count: int) -> str:
    return f"{count:,} {'face' if count == 1 else 'faces'}"
