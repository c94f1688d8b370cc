"""``bench continual``: what corrections teach and what is forgotten, and whether the gate lets noise through.

FER+'s validation faces are divided by a hash of their file names. One half wears a look that the shipped model never
met, as seen through the lens of a door viewer; some of it are corrections, the rest is held out. The other half, as it
is, is the base.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from fer import bundle as bundles
from fer import datasets, rehearsal
from fer.bench.served import Progress
from fer.bundle import ModelBundle
from fer.comparison import compare, verdict
from fer.datasets import FaceSet
from fer.finetune import views_of
from fer.lesson import RECIPES, Lesson, Recipe, Top
from fer.rehearsal import Activations, Rehearsal, activations, half_of

COUNTS = (50, 100, 300)  # corrections
SEEDS = 20  # of the gate
BULGE = 1.9  # what is shown at the distance r from the middle, of half the side, is what was at r ** BULGE
CORE = "quick"  # speed that the gate is tried with
# The same layers, steps and corrections a step, without rehearsal and averaging.
PLAIN = replace(RECIPES["full"], batch=round(RECIPES["full"].batch * RECIPES["full"].share), share=1.0)


@dataclass(frozen=True)
class Worn(FaceSet):
    """Faces seen through a door viewer."""

    def image(self, index: int) -> Image.Image:
        return door_viewer(super().image(index))


def door_viewer(face: Image.Image) -> Image.Image:
    """The square `face` with its middle enlarged and its rim pressed together; border pixels repeated."""
    pixels = np.asarray(face)
    side = pixels.shape[0]
    across = (np.arange(side) - (side - 1) / 2) / (side / 2)
    radius = np.hypot(*np.meshgrid(across, across))
    factor = radius ** (BULGE - 1)
    rows, columns = (
        np.clip((one * factor * side / 2 + (side - 1) / 2).round(), 0, side - 1).astype(int)
        for one in (across[:, None], across[None, :])
    )
    return Image.fromarray(pixels[rows, columns])


@dataclass(frozen=True)
class Halves:
    """Activations at the replay point: the views of the look's half to learn from (`views` a face), the same faces as the
    app sees them, and the base."""

    worn: Activations
    views: int
    seen: Activations
    base: Activations

    def corrections(self, rows: np.ndarray) -> Activations:
        """All views of the faces in `rows`."""
        return self.worn.subset((rows[:, None] * self.views + np.arange(self.views)).ravel())


def bench_continual(arguments: argparse.Namespace, progress: Progress) -> dict:
    """What 50, 100 and 300 corrections win back and lose at each speed and without precautions; the gate on
    `arguments.limit` seeds (20), true labels against permuted ones."""
    torch.set_num_threads(os.cpu_count() or 1)
    bundle = bundles.load(arguments.model) if arguments.model else bundles.load()
    memory = rehearsal.read()
    memory.check(bundle)
    halves = _halves(bundle, arguments.data, memory)
    order = np.random.default_rng(0).permutation(len(halves.seen))
    jobs = [(count, name) for name in ("quick", "full", "plain") for count in COUNTS]
    seeds = arguments.limit or SEEDS
    steps = iter(progress(jobs + [("gate", seed) for seed in range(seeds)]))
    table = {}
    for count, name in jobs:
        next(steps)
        table[f"{name}, {count} corrections"] = _row(bundle, memory, halves, order, count, name)
    promoted = {"true labels": 0, "permuted labels": 0}
    for seed in range(seeds):
        next(steps)
        for labels in promoted:
            promoted[labels] += _promoted(bundle, memory, halves, seed, labels == "permuted labels")
    list(steps)
    top = Top(bundle.network, memory.point)
    normal = memory.sides["choose"]
    return {
        "base": _accuracy(top, halves.base), "look": _accuracy(top, halves.seen.subset(order[max(COUNTS):])),
        "same_half_without_look": _accuracy(top, normal), **table, "promoted_of": seeds, **promoted,
    }  # fmt: skip


def _halves(bundle: ModelBundle, source: str, memory: Rehearsal) -> Halves:
    faces = datasets.load(source, "val").for_evaluation()
    half = np.array([half_of(path.name) for path in faces.paths])
    one, base = faces.subset(half == 0), faces.subset(half == 1)
    worn = Worn(one.name, one.split, one.protocol, one.paths, one.targets, one.labels, one.classes, one.faces)
    views = RECIPES[CORE].views
    return Halves(
        activations(bundle, worn, memory.point, views_of(bundle, worn, views, 0)), views,
        activations(bundle, worn, memory.point), activations(bundle, base, memory.point),
    )  # fmt: skip


def _row(bundle: ModelBundle, memory: Rehearsal, halves: Halves, order: np.ndarray, count: int, name: str) -> dict:
    """What the first `count` of `order` teach, measured on those after the last of `COUNTS`."""
    recipe = PLAIN if name == "plain" else RECIPES[name]
    started = time.monotonic()
    lesson, blend, top = _taught(bundle, memory, halves.corrections(order[:count]), recipe, 0)
    seconds = time.monotonic() - started
    held_out, base = (lesson.raised(one) for one in (halves.seen.subset(order[max(COUNTS):]), halves.base))
    choose = lesson.raised(memory.sides["choose"])
    lost = _accuracy(lesson.old, choose) - _accuracy(lesson.old, held_out)
    gain = _accuracy(top, held_out) - _accuracy(lesson.old, held_out)
    return {
        "corrections": round(100 * gain, 2), "won_back": round(100 * gain / lost, 1),
        "base": round(100 * (_accuracy(top, base) - _accuracy(lesson.old, base)), 2), "blend": blend, "seconds": round(seconds, 1),
    }  # fmt: skip


def _taught(
    bundle: ModelBundle, memory: Rehearsal, corrections: Activations, recipe: Recipe, seed: int
) -> tuple[Lesson, float, Top]:
    lesson = Lesson(bundle, recipe, memory, corrections, seed)
    for _ in range(recipe.steps):
        lesson.learn()
    if recipe.share == 1.0:
        return lesson, 1.0, lesson.blended(1.0)
    return lesson, *lesson.choose(lesson.raised(memory.sides["choose"]))


def _promoted(bundle: ModelBundle, memory: Rehearsal, halves: Halves, seed: int, permuted: bool) -> bool:
    """Whether the gate lets through what 300 corrections teach, drawn by `seed`; their labels `permuted` or true."""
    random = np.random.default_rng([1, seed])
    order = random.permutation(len(halves.seen))
    chosen, held_out = order[: max(COUNTS)], halves.seen.subset(order[max(COUNTS):])
    corrections = halves.corrections(chosen)
    if permuted:
        mixed = halves.seen.targets[torch.from_numpy(chosen[random.permutation(len(chosen))])]
        corrections = replace(corrections, targets=mixed.repeat_interleave(halves.views, dim=0))
    lesson, _, top = _taught(bundle, memory, corrections, RECIPES[CORE], seed)
    on = [
        compare(name, faces.labels, lesson.old.logits(faces), top.logits(faces), bundle.classes)
        for name, faces in (("corrections", lesson.raised(held_out)), ("base", lesson.raised(halves.base)))
    ]
    return verdict(*on).promote


def _accuracy(top: Top, faces: Activations) -> float:
    return round(float((top.logits(faces).argmax(axis=1) == faces.labels).mean()), 4)
