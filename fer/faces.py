"""Where the faces of a picture are: `Face`, and `FaceDetector`, which finds them with MTCNN.

MTCNN (Zhang et al. 2016, arXiv:1604.02878) comes from facenet-pytorch with its weights inside the
package, so nothing is downloaded. Its own crops are not used: they squeeze the box to a square
without levelling the eyes; `transforms.Preprocess.crop` does it the way the network was trained.
"""

from __future__ import annotations

import copy
import math
import threading
from dataclasses import dataclass
from functools import cache

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

    def scaled(self, x: float, y: float) -> "Face":
        """The same face in a picture `x` times as wide and `y` times as high."""
        left, top, right, bottom = self.box
        points = None if self.landmarks is None else tuple((px * x, py * y) for px, py in self.landmarks)
        return Face((left * x, top * y, right * x, bottom * y), points, self.score)

    def moved(self, x: float, y: float) -> "Face":
        """The same face `x` pixels further to the right and `y` further down."""
        left, top, right, bottom = self.box
        points = self.landmarks and tuple((px + x, py + y) for px, py in self.landmarks)
        return Face((left + x, top + y, right + x, bottom + y), points, self.score)

    @classmethod
    def whole(cls, image: Image.Image) -> "Face":
        """The face of a ready-made crop: all of `image`."""
        return cls((0.0, 0.0, float(image.width), float(image.height)))


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes, 0..1."""
    left, top = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    right, bottom = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    areas = sum((one.box[2] - one.box[0]) * (one.box[3] - one.box[1]) for one in (a, b))
    return shared / (areas - shared) if shared else 0.0


@dataclass(frozen=True)
class FaceDetector:
    """Finds faces with MTCNN; its networks are loaded on first use and shared by threads.

    A picture is first shrunk so that its longer side is at most `longest`: on a 1665×2048 photo that
    is the difference between 10 s and well under one. The search begins at faces of about
    `smallest` pixels in the shrunk picture.
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
        ratio = np.array([image.width / size[0], image.height / size[1]])
        faces = [_face(box * np.tile(ratio, 2), points * ratio, score, image.size) for box, score, points in found]
        return sorted((face for face in faces if face is not None), key=lambda face: face.box)

    def follow(self, image: Image.Image, faces: list[Face]) -> list[Face | None]:
        """Where `faces` of the frame before are in the upright RGB `image`; None for one that is lost.

        Only MTCNN's last network looks, at the square around each old box: about a millisecond a face
        instead of a search of the whole frame. A face must not have moved by more than about a third of
        its side. Thresholds are those of the second look, so that a face is not lost for one bad frame.
        """
        import torch

        if not faces:
            return []
        squares = [_square(face.box) for face in faces]
        crops = [image.crop(tuple(round(v) for v in square)).resize((48, 48), Image.Resampling.BOX) for square in squares]
        batch = torch.from_numpy(np.stack([np.asarray(crop) for crop in crops])).permute(0, 3, 1, 2).float()
        network = _mtcnn().onet
        with torch.no_grad():
            # The scaling of MTCNN's input is facenet-pytorch's (models/utils/detect_face.py).
            shifts, points, classes = (one.numpy() for one in network((batch - 127.5) * 0.0078125))
        return [
            _face(*_refined(square, shift, point), score=score, size=image.size) if score > self.sensitive[2] else None
            for square, shift, point, score in zip(squares, shifts, points, classes[:, 1].tolist(), strict=True)
        ]


_loading = threading.Lock()


def _mtcnn():
    """MTCNN with its weights, loaded once; its networks keep no state between calls."""
    with _loading:
        return _loaded_mtcnn()


@cache
def _loaded_mtcnn():
    from facenet_pytorch import MTCNN

    return MTCNN(keep_all=True, device="cpu")


def _detect(pixels: np.ndarray, smallest: int, thresholds: tuple[float, float, float]) -> list[tuple]:
    """MTCNN on uint8 (H, W, 3): a list of (box (4,), score, landmarks (5, 2)) in pixels of `pixels`."""
    import torch

    # A shallow copy shares the weights and has settings of its own.
    network = copy.copy(_mtcnn())
    network.min_face_size, network.thresholds = smallest, list(thresholds)
    with torch.no_grad():
        boxes, scores, points = network.detect(pixels, landmarks=True)
    if boxes is None:
        return []
    # facenet-pytorch answers with object arrays.
    return list(zip(np.asarray(boxes, float), np.asarray(scores, float), np.asarray(points, float), strict=True))


def _square(box: Box) -> Box:
    """The square with the middle of `box` and the longer of its sides."""
    left, top, right, bottom = box
    x, y, half = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2
    return (x - half, y - half, x + half, y + half)


def _refined(square: Box, shift: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Box (4,) and landmarks (5, 2) from the last network's answer about `square`, in its units of a side."""
    origin, side = np.array(square[:2]), square[2] - square[0]
    return np.array(square) + shift * side, np.stack([point[:5], point[5:]], axis=1) * side + origin


def _face(box: np.ndarray, points: np.ndarray, score: float, size: tuple[int, int]) -> Face | None:
    """A `Face` inside a picture of `size`, or None where nothing of the box lies in it."""
    left, right = np.clip([box[0], box[2]], 0, size[0]).tolist()
    top, bottom = np.clip([box[1], box[3]], 0, size[1]).tolist()
    if right - left < 1 or bottom - top < 1:
        return None
    return Face((left, top, right, bottom), tuple((x, y) for x, y in points.tolist()), float(score))
