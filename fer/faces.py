"""Where the faces of a picture are: `Face`, and `FaceDetector`, which finds them with MTCNN.

MTCNN (Zhang et al. 2016, arXiv:1604.02878) comes from facenet-pytorch with its weights inside the
package, so nothing is downloaded. Its own crops are not used: they squeeze the box to a square
without levelling the eyes; `transforms.Preprocess.crop` does it the way the network was trained.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Face:
    """One face of an upright picture.

    `box` is left, top, right, bottom in pixels, inside the picture. `landmarks` are five (x, y)
    points in pixels: the eye on the picture's left, the one on its right, nose, the two mouth
    corners; None for a ready-made crop, where the box is the crop. `score` is the detector's, 0..1.
    """

    box: Box
    landmarks: tuple[tuple[float, float], ...] | None = None
    score: float = 1.0

    @property
    def roll(self) -> float:
        """Turn of the line between the eyes in radians, clockwise positive; 0.0 without landmarks."""
        if self.landmarks is None:
            return 0.0
        (left_x, left_y), (right_x, right_y) = self.landmarks[:2]
        return math.atan2(right_y - left_y, right_x - left_x)

    @classmethod
    def whole(cls, image: Image.Image) -> "Face":
        """The face of a ready-made crop: all of `image`."""
        return cls((0.0, 0.0, float(image.width), float(image.height)))


@dataclass(frozen=True)
class FaceDetector:
    """Finds faces with MTCNN, one call at a time; the network is loaded on first use.

    A picture is first shrunk so that its longer side is at most `longest`: on a 1665×2048 photo that
    is the difference between 10 s and well under one. Faces smaller than `smallest` pixels in the
    shrunk picture are not looked for.
    """

    longest: int = 960  # pixels
    smallest: int = 32  # pixels, side of the smallest face looked for
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8)  # of MTCNN's three networks, 0..1
    sensitive: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of a second look, when the first finds nobody
    prominent: float = 0.15  # side of the smallest face of the second look, as a share of the picture's shorter side

    def find(self, image: Image.Image) -> list[Face]:
        """The faces of the upright RGB `image`, by left edge; an empty list when there are none."""
        scale = min(1.0, self.longest / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if min(size) < self.smallest:
            return []
        pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR) if scale < 1.0 else image)
        found = _detect(pixels, self.smallest, self.thresholds)
        if not found:
            # Low thresholds see small faces in any clutter, so the second look is for large ones only.
            large = max(self.smallest, round(self.prominent * min(size)))
            found = _detect(pixels, large, self.sensitive)
        ratio = (image.width / size[0], image.height / size[1])
        faces = [_face(box, score, points, ratio, image.size) for box, score, points in found]
        return sorted((face for face in faces if face is not None), key=lambda face: face.box)


_lock = threading.Lock()
_networks: dict[tuple, object] = {}


def _detect(pixels: np.ndarray, smallest: int, thresholds: tuple[float, float, float]) -> list[tuple]:
    """MTCNN on uint8 (H, W, 3): a list of (box (4,), score, landmarks (5, 2)) in pixels of `pixels`."""
    import torch
    from facenet_pytorch import MTCNN

    # MTCNN keeps no state between calls, but one instance is not promised to be thread-safe.
    with _lock, torch.no_grad():
        key = (smallest, thresholds)
        if key not in _networks:
            _networks[key] = MTCNN(keep_all=True, min_face_size=smallest, thresholds=list(thresholds), device="cpu")
        boxes, scores, points = _networks[key].detect(pixels, landmarks=True)
    if boxes is None:
        return []
    # facenet-pytorch answers with object arrays.
    return list(zip(np.asarray(boxes, float), np.asarray(scores, float), np.asarray(points, float), strict=True))


def _face(box: np.ndarray, score: float, points: np.ndarray, ratio: tuple[float, float], size: tuple[int, int]):
    """A `Face` in pixels of the full picture, or None where nothing of the box lies inside it."""
    x, y = ratio
    left, right = np.clip([box[0] * x, box[2] * x], 0, size[0]).tolist()
    top, bottom = np.clip([box[1] * y, box[3] * y], 0, size[1]).tolist()
    if right - left < 1 or bottom - top < 1:
        return None
    landmarks = tuple((px * x, py * y) for px, py in points.tolist())
    return Face((left, top, right, bottom), landmarks, float(score))
