"""How good a model is on faces with known labels: `Report`, and the figures it is made of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from fer.datasets import FaceSet
from fer.model import forward_logits
from fer.transforms import Preprocess

BATCH = 64  # faces a forward pass; larger gains nothing on a CPU
ENOUGH = 50  # images a class needs to count in macro_f1_50; below, one face moves its F1 by points


@dataclass(frozen=True)
class ClassFigures:
    """Precision, recall and F1 of one class, 0..1, and `n`, its number of faces."""

    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True)
class Figures:
    """What is said of the deduplicated faces: as in `Report`."""

    n: int
    accuracy: float
    macro_f1: float
    macro_f1_50: float


@dataclass(frozen=True)
class Report:
    """One model on one split. All shares are 0..1.

    `macro_f1` averages the F1 of the classes that occur, `macro_f1_50` that of the classes with at
    least 50 faces (0 where there is none). `confusion[i][j]` counts faces of class i called j. `ece` is the expected calibration
    error (see `calibration_error`) with the bundle's temperature, `ece_uncalibrated` without.
    Intervals are 95 % bootstrap intervals over faces.
    """

    model: str
    data: str
    split: str
    protocol: str
    classes: tuple[str, ...]
    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    macro_f1_50: float
    macro_f1_50_interval: tuple[float, float]
    per_class: dict[str, ClassFigures]
    confusion: list[list[int]]
    ece: float
    ece_uncalibrated: float
    nll: float
    temperature: float
    dedup: Figures | None

    def as_json(self) -> str:
        """The report on one line."""
        return json.dumps(asdict(self))

    def in_words(self) -> str:
        """The report as a small table."""
        low, high = self.macro_f1_interval
        lines = [
            f"{self.model} on {self.data} {self.split}: {self.n} faces ({self.protocol})",
            f"accuracy {self.accuracy:.4f} [{self.accuracy_interval[0]:.3f}, {self.accuracy_interval[1]:.3f}]",
            f"macro-F1 {self.macro_f1:.4f} [{low:.3f}, {high:.3f}], " + self._large_classes(),
            f"ECE {self.ece:.4f} (without temperature {self.ece_uncalibrated:.4f}), NLL {self.nll:.4f}",
        ]
        if self.dedup:
            lines.append(
                f"without near copies of training faces: {self.dedup.n} faces, accuracy {self.dedup.accuracy:.4f}, "
                f"macro-F1 {self.dedup.macro_f1:.4f}, over the same large classes {self.dedup.macro_f1_50:.4f}"
            )
        lines.append(f"{'':12}{'precision':>10}{'recall':>8}{'F1':>7}{'n':>6}")
        for name, one in self.per_class.items():
            lines.append(f"{name:12}{one.precision:10.3f}{one.recall:8.3f}{one.f1:7.3f}{one.n:6d}")
        return "\n".join(lines)

    def _large_classes(self) -> str:
        if max(one.n for one in self.per_class.values()) < ENOUGH:
            return f"no class has {ENOUGH} faces"
        low, high = self.macro_f1_50_interval
        return f"over classes with ≥ {ENOUGH} faces {self.macro_f1_50:.4f} [{low:.3f}, {high:.3f}]"


def read_logits(network: nn.Module, preprocess: Preprocess, faces: FaceSet, progress=iter) -> np.ndarray:
    """Logits float32 (N, K) of `faces`; `progress` wraps the iterator over batches (tqdm, say)."""
    network.eval()
    starts: Iterable[int] = range(0, len(faces), BATCH)
    parts = []
    with torch.inference_mode():
        for start in progress(starts):
            indices = range(start, min(start + BATCH, len(faces)))
            images = [(index, faces.image(index)) for index in indices]
            batch = torch.stack([preprocess(image, faces.face(index, image)) for index, image in images])
            parts.append(forward_logits(network, batch).numpy())
    return np.concatenate(parts)


def report(
    logits: np.ndarray,
    faces: FaceSet,
    *,
    model: str,
    temperature: float,
    classes: tuple[str, ...] | None = None,
    copies: np.ndarray | None = None,
) -> Report:
    """The report of `logits` float (N, K) against `faces.labels`; faces the protocol leaves out are ignored.

    `classes` limits the protocol: other classes are masked before the softmax and their faces are
    not counted. `copies` bool (N,) marks near copies of training faces; without it `dedup` is None.
    Raises ValueError when no face is left to count.
    """
    classes = classes or faces.classes
    columns = [faces.classes.index(name) for name in classes]
    counted = np.isin(faces.labels, columns)
    if not counted.any():
        raise ValueError(f"no face of {', '.join(classes)} in the {faces.split} split of {faces.name}")
    labels = np.array([columns.index(label) for label in faces.labels[counted]])
    scores = logits[counted][:, columns].astype(np.float64)
    confusion = confusion_matrix(labels, scores.argmax(axis=1), len(classes))
    probabilities = softmax(scores / temperature)
    low, high = bootstrap(labels, scores.argmax(axis=1), len(classes))
    figures = _figures(confusion)
    return Report(
        model=model,
        data=faces.name,
        split=faces.split,
        protocol=faces.protocol,
        classes=tuple(classes),
        n=figures.n,
        accuracy=figures.accuracy,
        accuracy_interval=(low.accuracy, high.accuracy),
        macro_f1=figures.macro_f1,
        macro_f1_interval=(low.macro_f1, high.macro_f1),
        macro_f1_50=figures.macro_f1_50,
        macro_f1_50_interval=(low.macro_f1_50, high.macro_f1_50),
        per_class=per_class(confusion, classes),
        confusion=confusion.tolist(),
        ece=calibration_error(probabilities, labels),
        ece_uncalibrated=calibration_error(softmax(scores), labels),
        nll=negative_log_likelihood(scores / temperature, labels),
        temperature=temperature,
        dedup=None if copies is None else _deduplicated(labels, scores, ~copies[counted]),
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, K), rows summing to 1, of `logits` (N, K)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int (K, K): row the label, column the prediction."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def per_class(confusion: np.ndarray, classes: tuple[str, ...]) -> dict[str, ClassFigures]:
    """The figures of each class; 0 where nothing was predicted or nothing is there."""
    right, said, there = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    precision, recall = right / np.maximum(said, 1), right / np.maximum(there, 1)
    f1 = 2 * right / np.maximum(said + there, 1)
    return {
        name: ClassFigures(float(precision[i]), float(recall[i]), float(f1[i]), int(there[i]))
        for i, name in enumerate(classes)
    }


def _figures(confusion: np.ndarray, counts: np.ndarray | None = None) -> Figures:
    """Figures of a confusion matrix; `counts` int (K,), its own by default, decide which classes macro_f1_50 averages."""
    right, said, there = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    f1 = 2 * right / np.maximum(said + there, 1)
    counts = there if counts is None else counts
    large, present = counts >= ENOUGH, there > 0
    return Figures(
        n=int(there.sum()),
        accuracy=float(right.sum() / max(there.sum(), 1)),
        macro_f1=float(f1[present].mean()) if present.any() else 0.0,
        macro_f1_50=float(f1[large].mean()) if large.any() else 0.0,
    )


def _deduplicated(labels: np.ndarray, scores: np.ndarray, keep: np.ndarray) -> Figures:
    # The same classes as in the whole split, although copies took some below the limit.
    counts = np.bincount(labels, minlength=scores.shape[1])
    return _figures(confusion_matrix(labels[keep], scores[keep].argmax(axis=1), scores.shape[1]), counts)


def bootstrap(labels: np.ndarray, predicted: np.ndarray, classes: int, rounds: int = 1000) -> tuple[Figures, Figures]:
    """Lower and upper ends of the 95 % intervals, from `rounds` resamplings of the faces with a fixed seed."""
    random = np.random.default_rng(0)
    counts = np.bincount(labels, minlength=classes)
    cells = confusion_matrix(labels, predicted, classes).ravel()
    draws = random.multinomial(len(labels), cells / cells.sum(), size=rounds)
    drawn = [_figures(draw.reshape(classes, classes), counts) for draw in draws]
    ends = [
        {name: float(np.quantile([getattr(one, name) for one in drawn], q))
         for name in ("accuracy", "macro_f1", "macro_f1_50")}
        for q in (0.025, 0.975)
    ]  # fmt: skip
    return Figures(n=len(labels), **ends[0]), Figures(n=len(labels), **ends[1])


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error, 0..1 (Guo et al. 2017, arXiv:1706.04599), over `bins` equal steps of confidence."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.abs(np.bincount(which, right - confidence, minlength=bins))
    return float(gaps.sum() / len(labels))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of −log p(label), natural logarithm."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the negative log-likelihood (Guo et al. 2017), searched in 0.05..20."""
    # Convex in 1/T, so a golden-section search on log T finds the one minimum.
    low, high = np.log(0.05), np.log(20.0)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if negative_log_likelihood(logits / np.exp(left), labels) < negative_log_likelihood(
            logits / np.exp(right), labels
        ):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))
