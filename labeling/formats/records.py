"""A face as files carry it: `Record`, with what was `Said` about it; and `Problem`, a part that could not be read."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from labeling.judgements import Judgement
from labeling.labels import LABELS, label_called
from labeling.splits import SIDES

MOST_VOTES = 10_000  # of one label on one face: beyond any survey, and sums of it fit every counter
LANDMARKS = 5
_SIDE_NAMES = {
    **{side: side for side in SIDES}, "training": "train", "valid": "val", "validation": "val", "dev": "val",
    "testing": "test", "publictest": "val", "privatetest": "test",
}  # fmt: skip

Box = tuple[float, float, float, float]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Said:
    """What `annotator` said of a face; `votes` by label where several people answered, and `label` leads them."""

    annotator: str
    label: str
    second: str | None = None
    votes: dict[str, int] | None = None
    at: str | None = None  # UTC, as the store keeps times

    @classmethod
    def read(
        cls, annotator: object, label: object, second: object = None, votes: Mapping | None = None, at: object = None
    ) -> "Said":
        """The same from the words of a file, whose labels may have any of their names. Raises ValueError for others.

        A time that cannot be read is None: the label is worth more than its date.
        """
        said = cls(
            plain_text(annotator).strip(), label_called(label), label_called(second) if second else None,
            votes_in(votes) if votes else None, time_in(at),
        )  # fmt: skip
        said.judgement("to be checked")
        return said

    def judgement(self, request: str) -> Judgement:
        """The same for the store. Raises ValueError where it makes no sense there."""
        return Judgement(request, self.annotator, self.label, self.second, False, votes=self.votes, at=self.at)


@dataclass(frozen=True)
class Record:
    """A picture of a set called `name` there. Nothing `said` about it: it is unlabelled.

    `content` reads the bytes of its file; it raises ValueError or OSError, and is None where only the label
    is known. `box` and `landmarks` are in pixels of the upright picture; without them a `ready_made` face
    fills the frame, and in any other picture faces are still to be found.
    """

    name: str
    content: Callable[[], bytes] | None
    said: tuple[Said, ...] = ()
    group: str | None = None  # one clip, person or photo; None: of its own
    split: str | None = None  # train, val or test where the set says so
    box: Box | None = None
    landmarks: Points | None = None
    ready_made: bool = True

    def votes(self) -> dict[str, int]:
        """How many people gave each label, in the order of `LABELS`."""
        count: Counter[str] = Counter()
        for one in self.said:
            count.update(one.votes or {one.label: 1})
        return {label: count[label] for label in LABELS if count[label]}

    def label(self) -> str | None:
        """The label that leads the votes, the first of equals; None where nobody gave one."""
        return leading(self.votes())


@dataclass(frozen=True)
class Problem:
    """A part of a set that was passed over: its `name` there, and why, in a sentence."""

    name: str
    sentence: str


def leading(votes: Mapping[str, int]) -> str | None:
    """The label with most of `votes`, the first of equals in the order of `LABELS`; None without votes."""
    return max((label for label in LABELS if votes.get(label)), key=lambda label: votes[label], default=None)


def votes_in(votes: Mapping) -> dict[str, int]:
    """Votes by label from a file's words. Raises ValueError unless they are counts of known labels."""
    try:
        counts = {label_called(name): int(count) for name, count in votes.items()}
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError("The votes are not counts by label.") from error
    if not all(0 <= count <= MOST_VOTES for count in counts.values()):
        raise ValueError(f"Votes are counts from 0 to {MOST_VOTES}.")
    return {label: counts[label] for label in LABELS if counts.get(label)}


def box_in(values: Sequence) -> Box:
    """Left, top, right, bottom from a file's words. Raises ValueError unless they enclose something."""
    try:
        left, top, right, bottom = numbers = tuple(_number(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The box {str(values)[:60]} is not four numbers: left, top, right, bottom in pixels."
        ) from error
    if not (left < right and top < bottom):
        raise ValueError(f"The box {numbers} encloses nothing; give left, top, right, bottom in pixels.")
    return numbers


def points_in(values: Sequence) -> Points:
    """Five landmarks, pairs of x and y, from a file's words. Raises ValueError for anything else."""
    try:
        points = tuple((_number(x), _number(y)) for x, y in values)
    except (TypeError, ValueError) as error:
        raise ValueError("The landmarks are not five pairs of numbers.") from error
    if len(points) != LANDMARKS:
        raise ValueError(f"There are {len(points)} landmarks; five are needed: eyes, nose, corners of the mouth.")
    return points


def _number(value: object) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a place in a picture.")
    return number


def plain_text(value: object) -> str:
    """`value` in letters that every file and database takes; names on disk and JSON may hold others."""
    return str(value).encode("utf-8", "replace").decode().replace("\0", "?")


def side_called(name: object) -> str | None:
    """train, val or test under any name that sets use ("validation", "PublicTest"); None for anything else."""
    return _SIDE_NAMES.get(str(name).strip().lower())


def time_in(text: object) -> str | None:
    """A time in any ISO 8601 form as the store keeps it, UTC to the millisecond; None where it cannot be read."""
    try:
        time = dt.datetime.fromisoformat(str(text))
        zoned = time if time.tzinfo else time.replace(tzinfo=dt.timezone.utc)
        return zoned.astimezone(dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return None


def json_in(text: str) -> object:
    """The value that `text` is in JSON. Raises ValueError, in a sentence."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"“{text[:40]}” is not JSON.") from error
