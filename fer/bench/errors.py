"""``bench errors``: how well wrong labels are found, on FER+ labels of which some were turned wrong."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer.bench.served import Progress
from fer.emotions import CLASSES, canonical

FLIPPED = 0.05  # of the labels
SEEDS = 5


def bench_errors(arguments: argparse.Namespace, progress: Progress) -> dict:
    """Average precision, and recall among the 5 % most doubtful, of `labeling.doubts.quality` against 1 − p(label).

    On the validation and test faces of FER+ (majority labels), which the shipped model has not learned from; the 95 %
    interval of the difference is over five seeds. Beside it, FER2013's own labels: wrong where FER+'s majority differs.
    """
    from fer import bundle, datasets
    from fer.evaluate import read_logits

    if not arguments.data:
        raise ValueError("--data is missing; say where FER+ is, such as --data ferplus:FOLDER")
    model = bundle.load(arguments.model or bundle.SHIPPED)
    sets = [datasets.load(arguments.data, split).for_evaluation() for split in ("val", "test")]
    if arguments.limit:
        sets = [faces.subset(np.arange(min(arguments.limit, len(faces)))) for faces in sets]
    logits = np.concatenate([read_logits(model.network, model.preprocess, faces, progress) for faces in sets])
    said = _softmax(logits / model.temperature)
    truth = np.concatenate([faces.labels for faces in sets])
    runs = [_found(*_flipped(truth, seed), said) for seed in range(SEEDS)]
    answer = {"faces": len(truth), "flipped": FLIPPED, "seeds": SEEDS, **_summary(runs)}
    original = _fer2013_labels(Path(arguments.data.partition(":")[2]), [path.name for faces in sets for path in faces.paths])
    if original is not None:
        known = original >= 0
        run = _found(original[known], original[known] != truth[known], said[known])
        wrong = round(float((original[known] != truth[known]).mean()), 4)
        answer["fer2013"] = {"faces": int(known.sum()), "wrong": wrong, **{key: round(value, 4) for key, value in run.items()}}
    return answer


def _flipped(truth: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which some are another class, drawn evenly; and which, bool (N,)."""
    random = np.random.default_rng(seed)
    wrong = np.zeros(len(truth), dtype=bool)
    wrong[random.choice(len(truth), max(1, round(FLIPPED * len(truth))), replace=False)] = True
    shift = random.integers(1, len(CLASSES), len(truth))
    return np.where(wrong, (truth + shift) % len(CLASSES), truth), wrong


def _found(labels: np.ndarray, wrong: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Average precision and recall at 5 % of ours and of the plain order."""
    from labeling.doubts import quality

    ours, plain = -quality(labels, said), 1 - said[np.arange(len(labels)), labels]
    figures: dict[str, Callable[[np.ndarray], float]] = {
        "average_precision": lambda doubt: _average_precision(doubt, wrong),
        "recall": lambda doubt: _recall(doubt, wrong),
    }
    return {f"{name}{suffix}": figure(doubt) for name, figure in figures.items()
            for suffix, doubt in (("", ours), ("_plain", plain))}  # fmt: skip


def _average_precision(doubt: np.ndarray, wrong: np.ndarray) -> float:
    """Mean precision at the places of the wrong labels, the most doubtful first."""
    hits = wrong[np.argsort(-doubt, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def _recall(doubt: np.ndarray, wrong: np.ndarray) -> float:
    """The share of wrong labels among the most doubtful 5 % of all."""
    first = np.argsort(-doubt, kind="stable")[: round(FLIPPED * len(doubt))]
    return float(wrong[first].sum() / wrong.sum())


def _summary(runs: list[dict[str, float]]) -> dict:
    answer = {key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]}
    for name in ("average_precision", "recall"):
        differences = np.array([run[name] - run[f"{name}_plain"] for run in runs])
        half = 2.776 * differences.std(ddof=1) / np.sqrt(len(runs))  # Student's t, four degrees of freedom
        answer[f"{name}_difference"] = [round(float(differences.mean() + side * half), 4) for side in (-1, 0, 1)]
    return answer


def _fer2013_labels(folder: Path, names: list[str]) -> np.ndarray | None:
    """FER2013's label of each picture as a number of our classes, -1 where there is none; None without the file."""
    try:
        with (folder / "fer2013_labels.csv").open(newline="", encoding="utf-8-sig") as file:
            rows = {row["image"]: CLASSES.index(canonical(row["fer2013_label"])) for row in csv.DictReader(file)}
    except OSError:
        return None
    return np.array([rows.get(name, -1) for name in names])


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
