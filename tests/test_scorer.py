"""The scorer: faces of the queue are read beside everything else, with the model that is active."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from label_workspaces import chip, face
from queued import made_up

import app
from fer import scorer as module
from fer.bundle import BundleError
from fer.chips import Chip
from fer.faces import Face
from fer.model import pooled_features
from fer.scorer import BATCH, WIDTH, Scorer, project, read_features
from fer.turns import Turns
from labeling.items import NewItem


def chips(count: int) -> list[Chip]:
    images = [chip(index % 8, shift=index // 8) for index in range(count)]
    return [Chip(image, Face.whole(image)) for image in images]


class Shelf:
    """Faces to be read, and what was read of them."""

    def __init__(self, count: int) -> None:
        self.waiting = dict(enumerate(chips(count)))
        self.kept: dict[int, tuple[str, np.ndarray, np.ndarray]] = {}
        self.asked = threading.Semaphore(0)

    def pending(self, model: str, limit: int) -> list[tuple[int, Chip]]:
        self.asked.release()
        return [(number, one) for number, one in self.waiting.items() if self.kept.get(number, ("",))[0] != model][:limit]

    def keep(self, model: str, readings) -> None:
        self.kept.update({number: (model, probabilities, features) for number, probabilities, features in readings})


@pytest.fixture
def started() -> Iterator[list[Scorer]]:
    running: list[Scorer] = []
    yield running
    for one in running:
        one.stop()


def scorer_of(shelf: Shelf, recognizer, turns: Turns | None = None) -> Scorer:
    return Scorer(lambda: recognizer.bundle, turns or Turns(1), shelf.pending, shelf.keep)


def wait_for(happened, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def test_a_step_reads_a_few_faces_as_the_recognizer_does(recognizer):
    shelf = Shelf(BATCH + 3)
    scorer = scorer_of(shelf, recognizer)
    assert [scorer.step(), scorer.step(), scorer.step()] == [BATCH, 3, 0]
    expected = recognizer.predict([recognizer.bundle.preprocess(one.image, one.face) for one in shelf.waiting.values()])
    for number, prediction in enumerate(expected):
        model, probabilities, features = shelf.kept[number]
        assert model == recognizer.bundle.version and features.shape == (WIDTH,)
        assert np.allclose(probabilities, prediction.probabilities, atol=1e-5) and np.isfinite(features).all()


def test_features_are_those_of_the_last_layer_projected(recognizer):
    faces = chips(6)
    probabilities, features = read_features(recognizer.bundle, faces)
    assert probabilities.dtype == features.dtype == np.float32
    assert probabilities.shape == (6, 8) and features.shape == (6, WIDTH)
    batch = torch.stack([recognizer.bundle.preprocess(one.image, one.face) for one in faces])
    with torch.inference_mode():
        expected = project(pooled_features(recognizer.bundle.network, batch).numpy())
    assert np.allclose(features, expected, atol=1e-5)


def test_the_projection_keeps_distances_roughly_and_is_always_the_same():
    points = np.random.default_rng(3).standard_normal((60, 1280), dtype=np.float32)
    points[:20] *= 0.1  # some near each other
    first = project(points)
    before, after = (np.linalg.norm(one[:, None] - one[None], axis=2)[np.triu_indices(60, 1)] for one in (points, first))
    ratio = after / before
    assert 0.9 < ratio.mean() < 1.1 and ratio.std() < 0.15 and 0.5 < ratio.min() < ratio.max() < 1.5
    module._projection.cache_clear()
    assert np.array_equal(project(points), first)


def test_it_reads_in_the_background_and_looks_again_when_woken(recognizer, started, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 3600.0)
    monkeypatch.setattr(module, "REST_SECONDS", 0.01)
    shelf = Shelf(BATCH + 1)
    started.append(scorer_of(shelf, recognizer))
    started[0].start()
    wait_for(lambda: len(shelf.kept) == BATCH + 1)
    wait_for(lambda: shelf.asked.acquire(blocking=False))
    time.sleep(0.3)  # by now it waits for an hour
    shelf.waiting[99] = chips(1)[0]
    started[0].wake()
    wait_for(lambda: 99 in shelf.kept, 20)


def test_it_stops(recognizer, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 3600.0)
    shelf = Shelf(0)
    scorer = scorer_of(shelf, recognizer)
    before = set(threading.enumerate())
    scorer.start()
    (thread,) = [one for one in set(threading.enumerate()) - before if one.name == "scorer"]
    assert shelf.asked.acquire(timeout=20)
    scorer.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_visitors_go_first(recognizer, started):
    turns, shelf = Turns(1), Shelf(2)
    with turns.turn():
        started.append(scorer_of(shelf, recognizer, turns))
        started[0].start()
        assert shelf.asked.acquire(timeout=20)
        time.sleep(0.3)
        assert shelf.kept == {}
    wait_for(lambda: len(shelf.kept) == 2)


@pytest.mark.parametrize("fault", [BundleError("no model"), OSError("disk"), RuntimeError("whatever")])
def test_a_fault_does_not_end_it(recognizer, started, fault):
    shelf, faults = Shelf(2), [fault]

    def bundle():
        if faults:
            raise faults.pop()
        return recognizer.bundle

    started.append(Scorer(bundle, Turns(1), shelf.pending, shelf.keep))
    started[0].start()
    wait_for(lambda: not faults)
    time.sleep(0.1)
    started[0].wake()
    wait_for(lambda: len(shelf.kept) == 2, 20)


# --- in the app ---------------------------------------------------------------------------------


@pytest.fixture
def services(tmp_path: Path) -> Iterator[app.Services]:
    one = app.Services(app.Settings(host="127.0.0.1", workspace=tmp_path))
    yield one
    one.close()


def keep_faces(services: app.Services, count: int) -> list[int]:
    return services.labels().add([made_up(seed) for seed in range(count)])


def test_a_picture_that_cannot_be_read_holds_nobody_up(services):
    items = keep_faces(services, 3 * BATCH)
    store = services.labels()
    # The newest are read first: these would fill every batch.
    missing, altered, *whole = reversed(items)
    store.images.path(store.item(missing).image).unlink()
    store.images.path(store.item(altered).image).write_bytes(b"something else")
    for index, number in enumerate(whole[: BATCH + 2]):
        store.images.path(store.item(number).image).write_bytes(bytes([index]))
    readable = whole[BATCH + 2 :]
    services.warm_up()
    wait_for(lambda: all(store.scored(number) for number in readable))
    assert not any(store.scored(number) for number in items if number not in readable)


def test_faces_that_come_while_the_app_runs_are_read_with_the_active_model(services):
    services.warm_up()
    version = services.recognizer().bundle.version
    (ready,) = services.labels().add([NewItem("folder", "g", face(1), 112, 112, (0, 0, 112, 112))])
    wait_for(lambda: services.labels().scored(ready))
    scored = services.labels().scored(ready)
    assert scored.model == version and scored.features.shape == (WIDTH,)
    assert scored.probabilities.sum() == pytest.approx(1, abs=1e-4)
    assert services.labels().unscored(version, 10) == []


def test_what_another_model_said_serves_until_it_is_replaced(services):
    from labeling.store import Score

    (item,) = keep_faces(services, 1)
    services.labels().score([Score(item, "the-model-before", np.full(8, 0.125), np.zeros(WIDTH))])
    assert services.labels().scored(item).model == "the-model-before"
    services.warm_up()
    wait_for(lambda: services.labels().scored(item).model == services.recognizer().bundle.version)
