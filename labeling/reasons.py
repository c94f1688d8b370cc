"""Why a face is worth a look: reasons as small pure functions of arrays, and the ranking they make.

A reason maps `Faces` to one float per face, 0..1, 0 where it does not apply. `ranking` weighs them, keeps
look-alikes and crowds of one class apart, and mixes in a random control share. Its words are read before
the labeler answers, so they never say what the model or another person saw.

``python -m fer bench queue`` measures what the order is worth and says how the weights were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fer.emotions import CLASSES, FERPLUS_COLUMNS

WANTED = 2  # people who should label each face
MOST = 5  # people asked at most; a face they still disagree about is simply ambiguous
CLEAR = 0.5  # a contradiction at least this strong reopens a face that has enough votes
CONTROL_SHARE = 0.1  # of the ranking, drawn at random
AGAIN_SHARE = 0.3  # of the ranking, faces with disagreement; an imported set must not fill it with them

ANCHORS = 256  # labelled faces that `far` measures from, at most
CHUNK = 8192  # faces whose distances are in memory at once
DEEP = 300  # places of the ranking that are kept apart from each other; it is made anew long before they are used up
POOL = 2000  # best faces from which those are chosen
LOOK_ALIKE = 0.5  # faces nearer than this are alike; 1 is the usual distance between two faces
ALIKE = 3.0  # taken off the value of a face that equals one before it, less where they differ, 0 from LOOK_ALIKE on
JITTER = 0.3  # random part of a value: the very top of an estimate is mostly its noise (arXiv:2106.12059)
CROWDING = 0.01  # taken off the value of a face for each one before it that the model gives the same class


@dataclass(frozen=True)
class Faces:
    """What is known of N faces, a row each.

    `probabilities` float32 (N, 8) and `features` float32 (N, D) come from the active model and are NaN
    where it has not seen the face. `votes` int (N, 10) counts the people who give each label now, in
    `FERPLUS_COLUMNS` order. `twin` bool (N,) marks near-duplicates of an earlier face of the set.

    Raises ValueError for arrays of other shapes.
    """

    probabilities: np.ndarray
    features: np.ndarray
    votes: np.ndarray
    twin: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.votes)
        shapes = (self.probabilities.shape, self.features.shape[:1], self.votes.shape, self.twin.shape)
        if shapes != ((count, len(CLASSES)), (count,), (count, len(FERPLUS_COLUMNS)), (count,)):
            raise ValueError(f"probabilities, features, votes and twin must have a row per face, got {shapes}")

    def __len__(self) -> int:
        return len(self.votes)

    @cached_property
    def scored(self) -> np.ndarray:
        """bool (N,): the faces the active model has seen."""
        return np.isfinite(self.probabilities).all(axis=1) & np.isfinite(self.features).all(axis=1)

    @cached_property
    def people(self) -> np.ndarray:
        """int (N,): how many people have labelled the face."""
        return self.votes.sum(axis=1)

    @cached_property
    def leaders(self) -> np.ndarray:
        """int (N, 2): votes of the second and of the first label of each face."""
        return np.sort(self.votes, axis=1)[:, -2:]

    @cached_property
    def places(self) -> np.ndarray:
        """float32 (N, D): the features, centred and scaled so that two faces are usually 1 apart; 0 where unscored."""
        seen = self.scored[:, None]
        count = max(1, int(seen.sum()))
        places = np.where(seen, self.features, np.float32(0))
        places -= np.where(seen, places.sum(axis=0) / count, np.float32(0))
        return places / max(float(np.sqrt(2 * np.vdot(places, places) / count)), 1e-9)


@dataclass(frozen=True)
class Reason:
    """Why a face is shown: `name` in files and arrays, `words` for the labeler, one sentence."""

    name: str
    words: str


UNDERLABELLED = Reason("underlabelled", "Fewer people than wanted have given it a label so far.")
UNCERTAIN = Reason("uncertain", "The model hesitates between expressions.")
RARE = Reason("rare", "It may show an expression that has few labels so far.")
FAR = Reason("far", "Few faces like this one have a label so far.")
CONTRADICTED = Reason("contradicted", "A person and the model disagree about it.")
DISPUTED = Reason("disputed", "People disagree about it.")
CONTROL = Reason("control", "Drawn at random, to check the others against.")

REASONS: tuple[Reason, ...] = (UNDERLABELLED, UNCERTAIN, RARE, FAR, CONTRADICTED, DISPUTED, CONTROL)


@dataclass(frozen=True)
class Ranking:
    """The faces to ask about, best first: `rows` int64 (M,) into `Faces`, `reasons` int64 (M,) into `REASONS`,
    and `scores` float32 (M,), how strongly that reason applies, 0..1."""

    rows: np.ndarray
    reasons: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def reason(self, place: int) -> Reason:
        """Why the face at `place` is asked about."""
        return REASONS[self.reasons[place]]


# --- reasons ------------------------------------------------------------------------------------


def underlabelled(faces: Faces, wanted: int = WANTED) -> np.ndarray:
    """The share of the `wanted` votes that is missing: 1 where nobody has labelled the face."""
    return np.clip(1 - faces.people / wanted, 0, 1)


def uncertain(faces: Faces) -> np.ndarray:
    """The model hesitates: mean of its entropy ÷ log 8 and of 1 − the lead of its first class over its second."""
    p = np.where(faces.scored[:, None], faces.probabilities, 0)
    entropy = -(p * np.log(np.maximum(p, 1e-9))).sum(axis=1) / np.log(len(CLASSES))
    second, first = np.sort(p, axis=1)[:, -2:].T
    return np.where(faces.scored, np.clip((entropy + 1 - (first - second)) / 2, 0, 1), 0)


def rare(faces: Faces) -> np.ndarray:
    """How likely the face shows what has few labels: each class counts (fewest + 1) ÷ (its labels + 1)."""
    labels = faces.votes[:, : len(CLASSES)].sum(axis=0)
    wish = (labels.min() + 1) / (labels + 1)
    return np.where(faces.scored, np.clip(np.nan_to_num(faces.probabilities) @ wish, 0, 1), 0)


def far(faces: Faces) -> np.ndarray:
    """Distance to the nearest of at most `ANCHORS` labelled faces; 1 is what two faces usually are apart, or more."""
    anchors = np.flatnonzero(faces.scored & (faces.people > 0))
    if len(anchors) == 0:
        return np.zeros(len(faces))
    anchors = anchors[np.linspace(0, len(anchors) - 1, min(ANCHORS, len(anchors))).astype(int)]
    places = faces.places
    near, length = places[anchors], np.einsum("nd,nd->n", places, places)
    squares = np.empty(len(faces), np.float32)
    for start in range(0, len(faces), CHUNK):
        part = slice(start, start + CHUNK)
        squares[part] = (length[anchors] - 2 * (places[part] @ near.T)).min(axis=1) + length[part]
    return np.where(faces.scored, np.sqrt(np.clip(squares, 0, 1)), 0)


def contradicted(faces: Faces) -> np.ndarray:
    """How far the model puts another class above the people's label; 0 once that label leads by three votes.

    "Cannot tell" and "not a face" are labels the model gives no probability.
    """
    p = np.zeros(faces.votes.shape, np.float32)
    p[:, : len(CLASSES)] = np.where(faces.scored[:, None], faces.probabilities, 0)
    second, first = faces.leaders.T
    theirs = np.where(faces.votes == first[:, None], p, 0).max(axis=1)  # of tied labels, the one the model likes best
    open_ = (first > 0) & (first - second < 3)
    return np.where(open_, np.clip(p.max(axis=1) - theirs, 0, 1), 0)


def disputed(faces: Faces) -> np.ndarray:
    """Votes of the second label ÷ votes of the first; 0 once the first leads by two."""
    second, first = faces.leaders.T
    return np.where(first - second < 2, second / np.maximum(first, 1), 0)


def control(faces: Faces, random: np.random.Generator, share: float = CONTROL_SHARE) -> np.ndarray:
    """1 for a random `share` of the faces, 0 for the others."""
    return (random.random(len(faces)) < share).astype(float)


# --- ranking ------------------------------------------------------------------------------------

# What each reason adds to the value of a face; `control` has a share of the ranking instead.
WEIGHTS = {"underlabelled": 1.0, "uncertain": 1.0, "rare": 1.0, "far": 0.1, "contradicted": 1.0, "disputed": 1.0}
FIRST_LOOK = REASONS.index(CONTRADICTED)  # the reasons before this one apply to faces without a vote
SECOND_LOOK = [REASONS.index(CONTRADICTED), REASONS.index(DISPUTED)]


def ranking(
    faces: Faces, random: np.random.Generator, wanted: int = WANTED, control_share: float = CONTROL_SHARE
) -> Ranking:
    """The faces worth a question, best first, each with the reason that lifts it most above the average face.

    Three streams are interleaved evenly: `control_share` of the places go to random faces, up to `AGAIN_SHARE` to
    faces about which people, or a person and the model, disagree, the rest to all others. Within the first `DEEP`
    places look-alikes and faces of one predicted class keep apart. Near-duplicates come last. Left out are faces
    with `wanted` votes and no clear disagreement, and those `MOST` people have labelled. Without a model the order
    is random among the faces with fewest votes.
    """
    scores = _scores(faces, random, wanted, control_share)
    value = scores @ _weights() + JITTER * random.random(len(faces), dtype=np.float32)
    reasons = _reasons(scores)
    open_ = _open(faces, scores, wanted)
    asked = np.flatnonzero(open_ & ~faces.twin)
    chance = reasons[asked] == REASONS.index(CONTROL)
    again = np.isin(reasons[asked], SECOND_LOOK)
    drawn, second, first = asked[chance], asked[again], asked[~chance & ~again]
    second = second[np.argsort(-value[second])]
    meant = _interleaved([(second, AGAIN_SHARE), (_kept_apart(faces, first, value), 1 - AGAIN_SHARE)])
    asked = _interleaved([(random.permutation(drawn), len(drawn)), (meant, len(meant))])
    twins = np.flatnonzero(open_ & faces.twin)
    rows = np.concatenate([asked, twins[np.argsort(-value[twins])]])
    return Ranking(rows, reasons[rows], scores[rows, reasons[rows]])


def _weights() -> np.ndarray:
    return np.array([WEIGHTS.get(reason.name, 0) for reason in REASONS], np.float32)


def _scores(faces: Faces, random: np.random.Generator, wanted: int, control_share: float) -> np.ndarray:
    """float32 (N, reasons): every reason's score of every face, in the order of `REASONS`."""
    columns = (
        underlabelled(faces, wanted), uncertain(faces), rare(faces), far(faces), contradicted(faces), disputed(faces),
        control(faces, random, control_share) * ~faces.twin,
    )  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float32)


def _open(faces: Faces, scores: np.ndarray, wanted: int) -> np.ndarray:
    """bool (N,): the faces worth another vote."""
    doubt = (scores[:, REASONS.index(DISPUTED)] > 0) | (scores[:, REASONS.index(CONTRADICTED)] >= CLEAR)
    return (faces.people < wanted) | doubt & (faces.people < MOST)


def _reasons(scores: np.ndarray) -> np.ndarray:
    """int64 (N,): chance where drawn, else disagreement if any, else what lifts the face most above the mean."""
    lifted = (scores - scores.mean(axis=0)) * _weights() if len(scores) else scores
    lifted = np.where(scores > 0, lifted, -np.inf)
    reasons = lifted[:, :FIRST_LOOK].argmax(axis=1)
    second = scores[:, SECOND_LOOK]
    reasons = np.where(second.any(axis=1), np.array(SECOND_LOOK)[second.argmax(axis=1)], reasons)
    return np.where(scores[:, REASONS.index(CONTROL)] > 0, REASONS.index(CONTROL), reasons)


def _kept_apart(faces: Faces, rows: np.ndarray, value: np.ndarray) -> np.ndarray:
    """`rows`, best `value` first; the first `DEEP` chosen one by one, so that they are neither alike nor of one class.

    Each chosen face takes from the value of those the model gives the same class, and from that of its look-alikes
    the more, the nearer they are.
    """
    rows = rows[np.argsort(-value[rows])]
    pool = rows[:POOL]
    places = faces.places[pool]
    seen, classes = faces.scored[pool], np.nan_to_num(faces.probabilities[pool]).argmax(axis=1)
    left, alike, chosen = value[pool], np.zeros(len(pool), np.float32), []
    for _ in range(min(DEEP, len(pool))):
        best = int(np.argmax(left - ALIKE * alike))
        chosen.append(best)
        left[best] = -np.inf
        if seen[best]:
            left[seen & (classes == classes[best])] -= CROWDING
            distance = np.sqrt(np.square(places - places[best]).sum(axis=1))
            alike = np.maximum(alike, np.where(seen, 1 - distance / LOOK_ALIKE, 0))
    return np.concatenate([pool[chosen], np.delete(pool, chosen), rows[POOL:]])


def _interleaved(streams: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """The rows of all streams, each in its order and evenly spread, at its share of the places while none has ended."""
    places = [(np.arange(len(rows)) + 0.5) / max(share, 1e-9) for rows, share in streams]
    return np.concatenate([rows for rows, _ in streams])[np.argsort(np.concatenate(places), kind="stable")]
