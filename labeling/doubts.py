"""Labels that are probably wrong: `quality`, by confident learning, and `doubts`, with the reason in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer.emotions import CLASSES
from labeling.labels import title

FEW = 20  # labelled faces below which nothing is said: confident learning counts per class


@dataclass(frozen=True)
class Doubt:
    """A face whose label is probably wrong: `row` of the arrays, its `label`, what is more `likely`, and why, in words."""

    row: int
    label: str
    likely: str
    quality: float  # 0..1, of the label
    reason: str


def quality(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How far each label is to be believed, float (N,) in 0..1, the lowest first to look at.

    `labels` int (N,) are numbers of classes, `probabilities` float (N, 8) what a model says of the faces. Valid only
    where the model has not learned from these very labels. cleanlab's self-confidence: among its scores the best at
    finding flipped labels on FER+ (``python -m fer bench errors``), where its adjustment for classes that the model
    knows badly loses half of the precision.
    """
    from cleanlab.rank import get_label_quality_scores

    return get_label_quality_scores(labels, probabilities.astype(np.float64), method="self_confidence")


def doubts(votes: np.ndarray, probabilities: np.ndarray) -> list[Doubt]:
    """The faces whose label is probably wrong, the worst first.

    `votes` int (N, 10) how many people gave each label, `probabilities` float (N, 8), NaN where no model has read the
    face. Which labels count as wrong is decided by confident learning (Northcutt et al. 2021, arXiv:1911.00068): it
    estimates from the labels and probabilities how many of each class there are.
    """
    from cleanlab.filter import find_label_issues

    read = np.isfinite(probabilities).all(axis=1)
    rows = np.flatnonzero(read & (votes.sum(axis=1) > 0) & (votes.argmax(axis=1) < len(CLASSES)))
    labels = votes[rows].argmax(axis=1)
    if len(rows) < FEW or len(np.unique(labels)) < 2:
        return []
    said = probabilities[rows].astype(np.float64)
    said /= said.sum(axis=1, keepdims=True)
    # cleanlab wants every class it has probabilities of among the labels.
    present = np.unique(labels)
    reduced = said[:, present] + 1e-12
    reduced /= reduced.sum(axis=1, keepdims=True)
    order = find_label_issues(
        np.searchsorted(present, labels), reduced, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    worth = quality(labels, said)
    return [_doubt(int(rows[at]), int(labels[at]), said[at], float(worth[at])) for at in order]


def _doubt(row: int, label: int, said: np.ndarray, worth: float) -> Doubt:
    likely = int(said.argmax())
    reason = (
        f"The label is {title(CLASSES[label]).lower()}; the model gives that {said[label]:.0%} "
        f"and {title(CLASSES[likely]).lower()} {said[likely]:.0%}."
    )
    return Doubt(row, CLASSES[label], CLASSES[likely], worth, reason)
