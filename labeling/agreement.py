"""How far people agree: with each other, and one with the others."""

from __future__ import annotations

import numpy as np

SAMPLE = 20_000  # items alpha is computed on at most: its memory grows with items × labels²


def alpha(votes: np.ndarray) -> float | None:
    """Krippendorff's alpha (nominal) of `votes` int (N, K), how many people gave each label to each item.

    1 is full agreement, 0 what chance gives. Items with one vote say nothing. None where no item has two
    votes or only one label was ever given. Of more than `SAMPLE` items an evenly spaced sample is taken.
    """
    import krippendorff

    several = votes[votes.sum(axis=1) > 1]
    several = several[:: max(1, -(-len(several) // SAMPLE))]
    if len(several) == 0 or (several.sum(axis=0) > 0).sum() < 2:
        return None
    return float(krippendorff.alpha(value_counts=several, level_of_measurement="nominal"))


def alpha_interval(votes: np.ndarray, draws: int = 500, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of `alpha`, by drawing as many items again, with replacement, `draws` times.

    Items that count in `alpha` must be there. The same formula (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability", section C) on sums of the items' coincidences, which are computed once.
    """
    several = votes[votes.sum(axis=1) > 1]
    several = several[:: max(1, -(-len(several) // SAMPLE))].astype(np.float64)
    people = several.sum(axis=1, keepdims=True)
    same = (several * (several - 1) / (people - 1)).sum(axis=1)  # pairs of votes on an item that are alike
    times = np.random.default_rng(seed).multinomial(len(several), np.full(len(several), 1 / len(several)), size=draws)
    totals = times @ several
    number = totals.sum(axis=1)
    observed = 1 - (times @ same) / number
    expected = 1 - (totals * (totals - 1)).sum(axis=1) / (number * (number - 1))
    values = 1 - observed[expected > 0] / expected[expected > 0]
    if len(values) == 0:
        return 1.0, 1.0
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def with_others(answers: np.ndarray, votes: np.ndarray) -> tuple[float | None, int]:
    """How one person's `answers` int (N,), negative where there is none, agree with the other votes (N, K).

    The mean share of other people's votes on an item that are for the same label, 0..1, and on how many
    items that rests; None where nobody else labelled the same.
    """
    mine = np.flatnonzero(answers >= 0)
    others = votes[mine].astype(float)
    others[np.arange(len(mine)), answers[mine]] -= 1
    total = others.sum(axis=1)
    # An import that brings several people's votes is one annotator, whose own votes are all of them.
    judged = (total > 0) & (others.min(axis=1, initial=0) >= 0)
    if not judged.any():
        return None, 0
    same = others[np.arange(len(mine)), answers[mine]][judged] / total[judged]
    return float(same.mean()), int(judged.sum())
