"""What the tests of pool and queue share: many small made-up faces in a real store, and a clock to turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from conftest import picture
from label_workspaces import png

from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.labels import LABELS
from labeling.store import LabelStore, Score


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def made_up(seed: int, pixel: int = 0) -> NewItem:
    """A face of noise; with another `pixel` a near-duplicate of it, in a group of its own."""
    image = picture((16, 16), seed)
    image.putpixel((3, 3), (pixel, pixel, pixel))
    return NewItem("folder", f"photo:{seed}:{pixel}", png(image), 16, 16, (0, 0, 16, 16))


def add(store: LabelStore, count: int, first: int = 0) -> list[int]:
    """Keep `count` faces; their ids."""
    return store.add(made_up(seed) for seed in range(first, first + count))


def read(store: LabelStore, items: Sequence[int], model: str = "v1", width: int = 16) -> None:
    """Score `items` as a model might."""
    drawn = [np.random.default_rng(item) for item in items]
    store.score(
        Score(item, model, one.dirichlet(np.ones(8)).astype(np.float32), one.standard_normal(width).astype(np.float32))
        for item, one in zip(items, drawn, strict=True)
    )


def say(store: LabelStore, item: int, annotator: str, label: str | None = "anger", **more) -> str:
    """Judge `item`; the request id."""
    request = f"{item}:{annotator}:{np.random.default_rng().integers(2**60)}"
    store.judge(item, Judgement(request, annotator, label, **more))
    return request


def counted(store: LabelStore) -> dict[str, dict[int, str]]:
    """By annotator what stands of each face, from the judgements alone, one after the other: {item: label or "skip"}."""
    with store.database.reading() as connection:
        rows = connection.execute("SELECT id, item, annotator, kind, label, undoes FROM judgements ORDER BY id").fetchall()
    undone = {row["undoes"] for row in rows}
    found: dict[str, dict[int, str]] = {}
    for row in rows:
        if row["kind"] != "undo" and row["id"] not in undone:
            found.setdefault(row["annotator"], {})[row["item"]] = row["label"] or "skip"
    return found


def random_judgements(store: LabelStore, items: Sequence[int], count: int, seed: int = 0) -> None:
    """Labels, skips, second thoughts and undone ones of four people."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        request = say(store, int(random.choice(items)), f"person {random.integers(4)}", [*LABELS, None][random.integers(11)])
        if random.random() < 0.2:
            store.undo(request)
