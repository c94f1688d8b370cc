"""Reads, beside everything else, the faces that the active model has not read yet: `Scorer`.

What it reads goes to the review queue: probabilities, and features that say how unlike what is
labelled a face is. It holds a turn for a few faces at a time and then waits, so visitors go first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch

from fer.bundle import ModelBundle
from fer.chips import Chip
from fer.model import pooled_features
from fer.turns import Turns

BATCH = 8  # faces a turn: about 40 ms
REST_SECONDS = 0.1  # between two batches
IDLE_SECONDS = 2.0  # between two looks for new faces
WIDTH = 64  # numbers kept of the features of a face
log = logging.getLogger(__name__)


class Scorer:
    """A background thread over `pending` and `keep`, which reach the labels.

    `pending(model, n)` gives up to n faces as (id, Chip); `keep(model, [(id, probabilities (8,), features (64,))])`
    stores what was read. `bundle()` is the active model and may wait for it.
    """

    def __init__(
        self,
        bundle: Callable[[], ModelBundle],
        turns: Turns,
        pending: Callable[[str, int], Sequence[tuple[int, Chip]]],
        keep: Callable[[str, Sequence[tuple[int, np.ndarray, np.ndarray]]], None],
    ) -> None:
        self._bundle, self._turns, self._pending, self._keep = bundle, turns, pending, keep
        self._wake = threading.Event()
        self._stopped = False

    def start(self) -> None:
        """Begin in the background."""
        threading.Thread(target=self._run, name="scorer", daemon=True).start()

    def wake(self) -> None:
        """Look for new faces now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the faces under way."""
        self._stopped = True
        self._wake.set()

    def step(self) -> int:
        """Read up to `BATCH` faces; how many there were."""
        bundle = self._bundle()
        faces = self._pending(bundle.version, BATCH)
        if faces:
            with self._turns.turn():
                probabilities, features = read_features(bundle, [chip for _, chip in faces])
            numbers = [number for number, _ in faces]
            self._keep(bundle.version, list(zip(numbers, probabilities, features, strict=True)))
        return len(faces)

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            try:
                pause = REST_SECONDS if self.step() else IDLE_SECONDS
            except ValueError as error:  # no model, or labels that cannot be written: said elsewhere too
                log.warning("the queue is not scored: %s", error)
                pause = 30.0
            except Exception:
                log.exception("scoring the queue failed")
                pause = 30.0
            self._wake.wait(pause)


def read_features(bundle: ModelBundle, chips: Sequence[Chip]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float32 (N, 8) and projected features float32 (N, 64) of the faces in `chips`."""
    batch = torch.stack([bundle.preprocess(chip.image, chip.face) for chip in chips])
    with torch.inference_mode():
        features = pooled_features(bundle.network, batch)
        logits = bundle.network.classifier(features) / bundle.temperature
    return logits.softmax(dim=1).numpy(), project(features.numpy())


def project(features: np.ndarray) -> np.ndarray:
    """float32 (N, 64): `features` (N, D) through a fixed random matrix, which keeps distances nearly as they
    are (Johnson and Lindenstrauss 1984) at a twentieth of the room."""
    return features.astype(np.float32) @ _projection(features.shape[1])


@cache
def _projection(width: int) -> np.ndarray:
    drawn = np.random.default_rng(20_261_121).standard_normal((width, WIDTH), dtype=np.float32)
    return drawn / np.float32(np.sqrt(WIDTH))
