"""Two models on the same faces: `Comparison`, and `verdict`, which says whether the newer one may take over.

    comparison = compare("corrections", labels, before, after, CLASSES)
    print(comparison.in_words())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

ENOUGH = 60  # held-out corrections: a true rise of 20 points then passes P_LIMIT three times in four; with 40, less than half
RISE = 0.03  # share of the held-out corrections, 0..1, by which the rightly read ones must rise
# Probability, of the exact test after McNemar (1947, Psychometrika 12:153). Strict, for people try again: ten tries share 5 %.
P_LIMIT = 0.005
FALL = 0.005  # share of the base benchmark, 0..1, that may be lost
ROUNDS = 10_000  # resamplings of the faces behind an interval


class ComparisonError(ValueError):
    """Two models cannot be compared on what was given; the message is one sentence."""


@dataclass(frozen=True)
class Comparison:
    """What changed from one model to another on the `n` faces called `name`. All shares are 0..1.

    `change` is the difference of the accuracies. Intervals are 95 % bootstrap intervals over faces, that of the change
    paired: both models on the same resampled faces. `mended` counts faces read wrongly before and rightly after,
    `broken` the opposite; `p` is how often so many or more of them would be mended if each were a coin's toss
    (`mcnemar`). `per_class` holds, for the classes that occur, {n, recall_before, recall_after, f1_before, f1_after};
    macro-F1 averages over them.
    """

    name: str
    n: int
    accuracy_before: float
    accuracy_after: float
    interval_before: tuple[float, float]
    interval_after: tuple[float, float]
    change: float
    change_interval: tuple[float, float]
    mended: int
    broken: int
    p: float
    per_class: dict[str, dict[str, float]]
    macro_f1_before: float
    macro_f1_after: float

    def as_dict(self) -> dict:
        """Plain JSON values."""
        values = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict) -> "Comparison":
        """What `as_dict` gave. Raises ComparisonError where something is missing."""
        try:
            given = {one.name: values[one.name] for one in fields(cls)}
            intervals = {key: tuple(map(float, given[key])) for key in given if "interval" in key}
        except (KeyError, TypeError, ValueError) as error:
            raise ComparisonError(f"this is no comparison of two models ({error})") from error
        return cls(**{**given, **intervals})

    def in_words(self) -> str:
        """The comparison as a small table."""
        low, high = self.change_interval
        lines = [
            f"{self.name}: {self.n} faces",
            f"accuracy {self.accuracy_before:.4f} before, {self.accuracy_after:.4f} after: {points(self.change)} "
            f"[{points(low, '')}, {points(high, '')}], {self.mended} mended, {self.broken} broken, p {_p(self.p)}",
            f"macro-F1 {self.macro_f1_before:.4f} before, {self.macro_f1_after:.4f} after",
            f"{'':12}{'recall before':>14}{'after':>8}{'F1 before':>11}{'after':>8}{'n':>6}",
        ]
        for name, one in self.per_class.items():
            lines.append(
                f"{name:12}{one['recall_before']:14.3f}{one['recall_after']:8.3f}"
                f"{one['f1_before']:11.3f}{one['f1_after']:8.3f}{one['n']:6d}"
            )
        return "\n".join(lines)


def compare(name: str, labels: np.ndarray, before: np.ndarray, after: np.ndarray, classes: Sequence[str]) -> Comparison:
    """How two models read the faces with the classes `labels` int (N,), 0..K-1.

    `before` and `after` are probabilities float (N, K), or predicted classes int (N,).
    Raises ComparisonError where there is no face, or something does not fit the `classes`.
    """
    if len(labels) == 0:
        raise ComparisonError(f"there is no face of {name} to compare the models on")
    labels = _classes_of(np.ravel(labels), len(labels), len(classes), "the labels")
    said = [
        _classes_of(answers, len(labels), len(classes), f"the answers of the model {when}")
        for when, answers in (("before", before), ("after", after))
    ]
    right = [labels == one for one in said]
    mended, broken = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    intervals = _intervals(int((right[0] & right[1]).sum()), mended, broken, len(labels))
    scores = [_class_scores(labels, one, len(classes)) for one in said]
    occur = np.flatnonzero(scores[0][0])
    return Comparison(
        name, len(labels), float(right[0].mean()), float(right[1].mean()), intervals[0], intervals[1],
        (mended - broken) / len(labels), intervals[2], mended, broken, mcnemar(mended, broken),
        {
            classes[i]: {
                "n": int(scores[0][0][i]),
                "recall_before": float(scores[0][1][i]), "recall_after": float(scores[1][1][i]),
                "f1_before": float(scores[0][2][i]), "f1_after": float(scores[1][2][i]),
            }
            for i in occur
        },
        *(float(f1[occur].mean()) for _, _, f1 in scores),
    )  # fmt: skip


def mcnemar(mended: int, broken: int) -> float:
    """P(X >= mended) for X ~ Binomial(mended + broken, 1/2): McNemar's test, one-sided and exact (1947).

    1.0 where nothing changed. Raises ComparisonError for counts below 0.
    """
    if mended < 0 or broken < 0:
        raise ComparisonError(f"{mended} mended and {broken} broken faces cannot be counted")
    tosses = mended + broken
    term = total = 1  # whole numbers: binomial coefficients from C(n, n) downwards, so nothing is rounded
    for k in range(tosses, mended, -1):
        term = term * k // (tosses - k + 1)
        total += term
    return total / 2**tosses


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a new model: `code` is "better", "not better", "forgets" or "not enough to tell";
    `promote` whether it may take over; `words` why, in one sentence for people who do not know the gate."""

    code: str
    promote: bool
    words: str

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)


def verdict(corrections: Comparison | None, base: Comparison | None) -> Verdict:
    """Whether the new model may take over, from held-out `corrections` and from the `base` benchmark, on which the old
    model was measured when it was made. Without a benchmark nobody knows what was forgotten: then never."""
    held_out = corrections.n if corrections else 0
    if held_out < ENOUGH:
        are = "correction is" if held_out == 1 else "corrections are"
        words = f"Not enough to tell: {held_out or 'no'} {are} held out, {ENOUGH} are needed."
        return Verdict("not enough to tell", False, words)
    read = (
        f"of {held_out} held-out corrections {_right(corrections.accuracy_after, held_out)} are read rightly, "
        f"{_right(corrections.accuracy_before, held_out)} before ({points(corrections.change)}, p {_p(corrections.p)})"
    )
    if base is None:
        words = f"Not enough to tell: {read}, but without a base benchmark nobody sees what was forgotten."
        return Verdict("not enough to tell", False, words)
    moved = f"the base benchmark moved by {points(base.change)}"
    if base.change < -FALL:
        fell = f"the base benchmark moved by {points(base.change, digits=2)}, and may fall by {100 * FALL:.1f} at most"
        return Verdict("forgets", False, f"It forgets: {fell}; {read}.")
    missed = _missed(corrections)
    if missed:
        return Verdict("not better", False, f"Not better: {read}; {missed}; {moved}.")
    return Verdict("better", True, f"Better: {read}, and {moved}.")


def side_by_side(reports: Sequence[dict]) -> str:
    """Reports of ``python -m fer evaluate``, as JSON gives them, as a table with one line for each.

    Raises ComparisonError for something else.
    """
    names = ("accuracy", "macro_f1", "macro_f1_50", "ece", "nll")
    try:
        labels = [f"{one['model']} on {one['data']} {one['split']}" for one in reports]
        rows = [(label, int(one["n"]), [float(one[key]) for key in names]) for label, one in zip(labels, reports, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise ComparisonError(f"that is no report of evaluate (it lacks {error}); make one with evaluate --out DIR") from error
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'':{width}}{'n':>7}" + "".join(f"{name:>13}" for name in names)]
    lines += [f"{name:{width}}{n:7d}" + "".join(f"{value:13.4f}" for value in values) for name, n, values in rows]
    return "\n".join(lines)


def points(share: float, unit: str = " points", digits: int = 1) -> str:
    """A difference of two shares, in points of a hundred: "+19.2 points"; never "−0.0"."""
    rounded = round(100 * share, digits) or 0.0
    return f"{rounded:+.{digits}f}".replace("-", "−") + unit


def _missed(corrections: Comparison) -> str:
    """What the corrections lack to count as better, in words; "" where nothing is lacking."""
    if corrections.change < RISE:
        return f"a rise of {100 * RISE:.0f} points is asked for"
    if corrections.p > P_LIMIT:
        return f"that may be chance, for p must be {P_LIMIT} or less"
    return ""


def _right(accuracy: float, n: int) -> int:
    return round(accuracy * n)


def _p(p: float) -> str:
    return "below 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def _classes_of(answers: np.ndarray, n: int, classes: int, whose: str) -> np.ndarray:
    """Class numbers int (N,) of probabilities (N, K) or class numbers (N,). Raises ComparisonError."""
    answers = np.asarray(answers)
    if answers.ndim == 2 and answers.shape == (n, classes):
        if not np.isfinite(answers).all():
            raise ComparisonError(f"{whose} are not all numbers")
        return answers.argmax(axis=1)
    if answers.shape != (n,) or not np.issubdtype(answers.dtype, np.integer):
        raise ComparisonError(f"{whose} have the shape {answers.shape} of {answers.dtype}, for {n} faces of {classes} classes")
    if not (0 <= answers.min() and answers.max() < classes):
        raise ComparisonError(f"{whose} go from {answers.min()} to {answers.max()}, but there are {classes} classes")
    return answers.astype(np.int64)


def _intervals(both: int, mended: int, broken: int, n: int) -> list[tuple[float, float]]:
    """95 % intervals of the accuracy before, after, and of their difference, from the same resamplings.

    Only four kinds of faces matter, so a resampling is a draw of their counts; the seed is fixed.
    """
    shares = np.array([both, mended, broken, n - both - mended - broken]) / n
    drawn = np.random.default_rng(0).multinomial(n, shares, size=ROUNDS) / n
    measured = (drawn[:, 0] + drawn[:, 2], drawn[:, 0] + drawn[:, 1], drawn[:, 1] - drawn[:, 2])
    return [tuple(np.quantile(one, (0.025, 0.975)).tolist()) for one in measured]


def _class_scores(labels: np.ndarray, said: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces, recall and F1 of each class, each (K,); 0 where nothing was said or nothing is there."""
    there, called = np.bincount(labels, minlength=classes), np.bincount(said, minlength=classes)
    right = np.bincount(labels[labels == said], minlength=classes)
    return there, right / np.maximum(there, 1), 2 * right / np.maximum(there + called, 1)
