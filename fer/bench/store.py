"""``bench store``: a hundred thousand faces, three hundred thousand judgements, and twenty people who label at once.

First the workspace is made in a temporary folder, then the real app opens it and people come over HTTP. They
share the machine with the app, so what they do is kept cheap: one thread and one connection each.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops, ImageOps

from fer.bench.served import Caller, Progress, served_app, wait_for
from fer.bench.start import resident_megabytes
from fer.emotions import CLASSES, FERPLUS_COLUMNS

if TYPE_CHECKING:
    from fer.datasets import FaceSet
    from labeling.store import LabelStore

ITEMS, EACH = 100_000, 3  # faces; judgements on a face, on average
PEOPLE = tuple(f"Person {number}" for number in range(1, 21))
SECONDS = 60.0  # that people label, each one face a second
STATS_SECONDS = 2.0  # between two looks at the counts
CARE = 0.8  # of the judgements made beforehand give the face's label in the data set, the others any
WIDTH = 64  # numbers of a face's features, as the app's scorer keeps them
CHUNK = 10_000  # rows a transaction
SHIFTS = 8  # pixels, in each direction: 128 pictures are made of one face at most
log = logging.getLogger(__name__)


def bench_store(arguments: argparse.Namespace, progress: Progress) -> dict:
    """Milliseconds until ``/next``, ``/label`` and ``/stats`` answer; what the labels take of disk and memory."""
    from fer import bundle, datasets

    if not arguments.data:
        raise ValueError("bench store needs faces; give --data ferplus:FOLDER")
    faces = datasets.load(arguments.data, "all")
    model = bundle.load(arguments.model or bundle.SHIPPED).version
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        began = time.monotonic()
        items, judgements = make_workspace(workspace, faces, arguments.limit or ITEMS, model, progress)
        made = time.monotonic() - began
        began = time.monotonic()
        with served_app(arguments.model, workspace=workspace) as (url, app):
            with closing(Caller(url)) as caller:
                caller.call("next", PEOPLE[0])
            first = time.monotonic() - began
            while b'"ready":true' not in wait_for(url + "/healthz", app):
                time.sleep(0.1)
            before, watch = resident_megabytes(app.pid), Watch()
            label_together(url, watch)
            memory = resident_megabytes(app.pid)
        return {
            "items": items,
            "judgements": judgements,
            **{f"{name}_ms": watch.quantiles(name) for name in ("next", "label", "stats")},
            "labels_given": len(watch.took.get("label", ())),
            "errors": watch.errors,
            "seconds_to_first_next": round(first, 2),
            "resident_megabytes": memory,
            "resident_megabytes_before": before,
            "database_megabytes": _megabytes(workspace / "labels", "labels.db*"),
            "picture_megabytes": _megabytes(workspace / "labels", "images/??/*"),
            "seconds_to_make": round(made, 1),
        }


# --- the workspace ------------------------------------------------------------------------------


def make_workspace(workspace: Path, faces: FaceSet, count: int, model: str, progress: Progress) -> tuple[int, int]:
    """`count` faces made of `faces` in `workspace`, each read by `model` and judged `EACH` times; how many of both.

    Raises ValueError where so many different pictures cannot be made of `faces`.
    """
    from labeling.store import LabelStore

    store, random, origins = LabelStore(workspace / "labels"), np.random.default_rng(0), []
    try:
        ids = np.array(store.add(progress(_new_items(faces, count, origins))))
        if len(ids) < count:
            raise ValueError(f"only {len(ids)} pictures could be made of {faces.name}; ask for fewer with --limit")
        labels = faces.labels[origins]
        _score(store, ids, labels, model, random)
        return len(ids), _judge(store, ids, labels, random)
    finally:
        store.close()


def _new_items(faces: FaceSet, count: int, origins: list[int]) -> Iterator:
    """`count` faces for the store, no picture twice; the index in `faces` of each goes to `origins`."""
    from labeling.items import NewItem

    for index, png in islice(_pictures(faces), count):
        origins.append(index)
        yield NewItem("bench", f"bench:{index}", png, 48, 48, (0, 0, 48, 48))


def _pictures(faces: FaceSet) -> Iterator[tuple[int, bytes]]:
    """Index and PNG of each of `faces`, then of each mirrored, then of each moved by a pixel, and so on."""
    seen = set()
    for down, right, mirrored in product(range(SHIFTS), range(SHIFTS), (False, True)):
        for index in range(len(faces)):
            image = ImageChops.offset(faces.image(index).resize((48, 48)), right, down)
            png = _png(ImageOps.mirror(image) if mirrored else image)
            mark = hashlib.sha256(png).digest()
            if mark not in seen:
                seen.add(mark)
                yield index, png


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _score(store: LabelStore, ids: np.ndarray, labels: np.ndarray, model: str, random: np.random.Generator) -> None:
    """A reading of every item, made up around its label, so that the app's own scorer finds nothing to do."""
    from labeling.store import Score

    for start in range(0, len(ids), CHUNK):
        part, known = ids[start : start + CHUNK], labels[start : start + CHUNK]
        logits = random.standard_normal((len(part), len(CLASSES))) + 3 * np.eye(len(CLASSES) + 1)[known, :-1]
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
        features = random.standard_normal((len(part), WIDTH))
        store.score(Score(int(item), model, *reading) for item, *reading in zip(part, shares, features, strict=True))


def _judge(store: LabelStore, ids: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> int:
    """`EACH` judgements an item on average, by all people alike, in mixed order; how many.

    `LabelStore.judge` waits for the disk each time, so these go straight into its tables.
    """
    each = min(EACH * len(ids) // len(PEOPLE), len(ids))
    given = [(place, name) for name in PEOPLE for place in random.choice(len(ids), each, replace=False).tolist()]
    random.shuffle(given)
    said = [(int(ids[place]), name, _label(labels[place], random)) for place, name in given]
    for start in range(0, len(said), CHUNK):
        _judge_at_once(store, start, said[start : start + CHUNK])
    return len(said)


def _label(known: int, random: np.random.Generator) -> str:
    """What somebody says about a face whose class in the data set is `known`, negative where it has none."""
    return FERPLUS_COLUMNS[known if known >= 0 and random.random() < CARE else random.integers(len(FERPLUS_COLUMNS))]


def _judge_at_once(store: LabelStore, start: int, given: list[tuple[int, str, str]]) -> None:
    """(item, annotator, label) each as a judgement, the first of them number `start`; nobody judges an item twice."""
    from labeling.schema import now

    rows = [(f"bench:{start + place}", name, label, now(), item) for place, (item, name, label) in enumerate(given)]
    with store.database.writing() as connection:
        (last,) = connection.execute("SELECT ifnull(max(id), 0) FROM judgements").fetchone()
        connection.executemany(
            "INSERT INTO judgements (request, item, annotator, kind, label, suggested, model, probabilities, at) "
            "SELECT ?, item, ?, 'label', ?, 0, model, probabilities, ? FROM scores WHERE item = ?", rows,
        )  # fmt: skip
        connection.execute(
            "INSERT INTO standing SELECT item, annotator, id, label, votes FROM judgements WHERE id > ?", (last,)
        )


def _megabytes(folder: Path, pattern: str) -> float:
    return round(sum(path.stat().st_size for path in folder.glob(pattern)) / 1e6, 1)


# --- the people ---------------------------------------------------------------------------------


@dataclass
class Watch:
    """How long calls took, seconds by name, and how many failed; shared between threads."""

    took: dict[str, list[float]] = field(default_factory=dict)
    errors: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, caller: Caller, name: str, *values: object) -> object:
        """What ``/name`` answers to `values`."""
        began = time.perf_counter()
        answer = caller.call(name, *values)
        with self._lock:
            self.took.setdefault(name, []).append(time.perf_counter() - began)
        return answer

    def failed(self, error: Exception) -> None:
        log.warning("a call failed: %s", error)
        with self._lock:
            self.errors += 1

    def quantiles(self, name: str) -> dict[str, float]:
        """Median, 95th percentile and longest, milliseconds."""
        took, shares = np.array(self.took.get(name, [np.nan])) * 1000, {"p50": 0.5, "p95": 0.95, "max": 1.0}
        return {key: round(float(np.quantile(took, share)), 1) for key, share in shares.items()}


def label_together(url: str, watch: Watch) -> None:
    """For `SECONDS` all people label a face a second, one after the other within it, and one looks at the counts."""
    began = time.monotonic() + 1
    with ThreadPoolExecutor(len(PEOPLE) + 1) as pool:
        for number, name in enumerate(PEOPLE):
            pool.submit(_at_beats, _labeler(name, watch), url, watch, began + number / len(PEOPLE), 1.0)
        pool.submit(_at_beats, lambda caller, beat: watch.call(caller, "stats"), url, watch, began, STATS_SECONDS)


def _labeler(name: str, watch: Watch) -> Callable[[Caller, int], None]:
    """What the person `name` does at each beat."""

    def label(caller: Caller, beat: int) -> None:
        face = watch.call(caller, "next", name)
        answer = FERPLUS_COLUMNS[beat % len(CLASSES)]
        kept = watch.call(caller, "label", face["item"], answer, name, secrets.token_hex(8))
        if (kept["item"], kept["label"], kept["annotator"]) != (face["item"], answer, name):
            raise ValueError(f"{answer} by {name} for face {face['item']} became {kept['label']} for {kept['item']}")

    return label


def _at_beats(act: Callable[[Caller, int], object], url: str, watch: Watch, began: float, every: float) -> None:
    """Do `act` every `every` seconds from `began` on; late where the app is slow, but never left out."""
    caller = Caller(url)
    for beat in range(round(SECONDS / every)):
        time.sleep(max(0.0, began + beat * every - time.monotonic()))
        try:
            act(caller, beat)
        except Exception as error:  # counted, whatever it is
            watch.failed(error)
            caller.close()
    caller.close()
