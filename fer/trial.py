"""Two models on the same faces, and on the base benchmark where it fits both: `Trial`.

    trial = try_both(bundle.load(one), bundle.load(other), "snapshot:FOLDER", "held-out")
    print(trial.in_words())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from fer import rehearsal
from fer.bundle import ModelBundle
from fer.comparison import Comparison, Verdict, compare, verdict
from fer.datasets import DataError, FaceSet, load
from fer.evaluate import read_logits
from fer.lesson import Top
from fer.rehearsal import Rehearsal, RehearsalError

HELD_OUT = "held-out"  # the splits that nobody learns from: val and test
BATCH = 128  # faces of the benchmark at a time: a fifth of a second

Progress = Callable[[Iterable], Iterable]


class TrialError(ValueError):
    """Two models cannot be tried on the faces given; the message is one sentence."""


@dataclass(frozen=True)
class Trial:
    """How the version `after` does beside `before`.

    `benchmark` is None where `no_benchmark` says, in a sentence, why. `verdict` is the gate's, on held-out corrections;
    None for other faces, which say nothing of what was taught.
    """

    before: str
    after: str
    comparison: Comparison
    benchmark: Comparison | None
    no_benchmark: str | None
    verdict: Verdict | None

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return {
            "before": self.before, "after": self.after, "comparison": self.comparison.as_dict(),
            "benchmark": self.benchmark and self.benchmark.as_dict(), "no_benchmark": self.no_benchmark,
            "verdict": self.verdict and self.verdict.as_dict(),
        }  # fmt: skip

    def in_words(self) -> str:
        """A small table for each of the two kinds of faces, and the verdict."""
        lines = [f"{self.before} before, {self.after} after", self.comparison.in_words()]
        lines.append(self.benchmark.in_words() if self.benchmark else self.no_benchmark)
        return "\n".join([*lines, *([self.verdict.words] if self.verdict else [])])


def try_both(before: ModelBundle, after: ModelBundle, source: str, split: str = HELD_OUT, progress: Progress = iter) -> Trial:
    """Both models on the faces of a split of `source`, ``KIND:PATH``; `progress` wraps the batches.

    Raises TrialError where no face counts or a model has other classes, DataError.
    """
    sides = _sides(source, split)
    for one in (before, after):
        if one.classes != sides[0].classes:
            raise TrialError(f"{one.version} knows other expressions than the labels have; the two cannot be compared.")
    corrections = source.startswith("snapshot:") and split == HELD_OUT
    name = "held-out corrections" if corrections else f"{source} {split}"
    labels = np.concatenate([side.labels for side in sides])
    said = [
        np.concatenate([read_logits(one.network, one.preprocess, side, progress) for side in sides]).argmax(axis=1)
        for one in (before, after)
    ]
    comparison = compare(name, labels, *said, before.classes)
    benchmark, missing = _on_benchmark(before, after, progress)
    decided = verdict(comparison, benchmark) if corrections else None
    return Trial(before.version, after.version, comparison, benchmark, missing, decided)


def _sides(source: str, split: str) -> list[FaceSet]:
    """The faces that count, of one split or of the two that are held out, without those that are empty."""
    if split != HELD_OUT:
        sides = [load(source, split)]
    else:
        load(source, "all")  # refuses data that were changed or withdrawn
        sides = []
        for side in ("val", "test"):
            with suppress(DataError):  # an empty side
                sides.append(load(source, side))
    counted = [side for side in (one.for_evaluation() for one in sides) if len(side)]
    if not counted:
        held_out = "No labelled face is held out to compare on; label more."
        raise TrialError(held_out if split == HELD_OUT else f"No face of the {split} split of {source} has a label that counts.")
    return counted


def _on_benchmark(before: ModelBundle, after: ModelBundle, progress: Progress) -> tuple[Comparison | None, str | None]:
    """Both models on the base benchmark; or None, and a sentence that says why."""
    try:
        kept = rehearsal.read()
    except RehearsalError as error:
        return None, f"There is no base benchmark: {error}"
    for one in (before, after):
        if rehearsal.lower_layers(one, kept.point) != kept.lower:
            words = f"There is no base benchmark for {one.version}: its lower layers are not those of the model that ships."
            return None, words
    said = [_read(one, kept, progress) for one in (before, after)]
    return compare("the base benchmark", kept.sides["benchmark"].labels, *said, before.classes), None


def _read(bundle: ModelBundle, kept: Rehearsal, progress: Progress) -> np.ndarray:
    """int (N,): the classes that `bundle` sees in the faces of the benchmark."""
    top, faces = Top(bundle.network, kept.point), kept.sides["benchmark"]
    batches = np.array_split(np.arange(len(faces)), max(1, round(len(faces) / BATCH)))
    return np.concatenate([top.logits(faces.subset(rows)).argmax(axis=1) for rows in progress(batches)])
