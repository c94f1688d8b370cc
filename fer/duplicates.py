"""Near copies: faces of one split that also stand, perhaps re-scaled or mirrored, in another.

FER2013 was scraped from the web, and one test picture in nine has a copy in training. Whoever reports
a figure on it should report the one without copies as well.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from fer.datasets import FaceSet

SIDE = 16  # pixels of the thumbnails that are compared
NEAR = 0.98  # correlation from which two thumbnails are the same photograph
_ROWS = 512  # faces compared at once: 512 × 28,000 correlations are 57 MB


def near_copies(faces: FaceSet, others: FaceSet) -> np.ndarray:
    """Which of `faces` have a near copy in `others`: bool (N,).

    Two faces are near copies when the correlation of their grey 16×16 block means, the better of
    both ways round, is at least `NEAR`.
    """
    known = _thumbnails(others)
    copies = np.zeros(len(faces), bool)
    for start in range(0, len(faces), _ROWS):
        part = _thumbnails(faces, start, start + _ROWS)
        mirrored = part.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(part.shape)
        best = np.maximum((part @ known.T).max(axis=1), (mirrored @ known.T).max(axis=1))
        copies[start : start + _ROWS] = best >= NEAR
    return copies


def _thumbnails(faces: FaceSet, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Block means of each face, mean 0 and length 1: float32 (N, 256)."""
    indices = range(len(faces))[start:stop]
    means = np.array([
        np.asarray(faces.image(index).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32).ravel()
        for index in indices
    ])  # fmt: skip
    means -= means.mean(axis=1, keepdims=True)
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
