"""What is kept of a face: a `Chip`, the upright region around it, in which the network reads the same."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

from PIL import Image

from fer.faces import Face
from fer.picture import open_picture
from fer.transforms import Preprocess

REACH = 1.6  # side of a chip ÷ side of the network's crop: a crop turned by any angle lies inside (√2), with context
LONGEST = 512  # pixels, side of the largest chip


@dataclass(frozen=True)
class Chip:
    """`image` upright RGB, at most 512 pixels a side, and the `face` in its pixels."""

    image: Image.Image
    face: Face

    def png(self) -> bytes:
        """The picture as a PNG without metadata."""
        buffer = io.BytesIO()
        Image.fromarray(_pixels(self.image)).save(buffer, "PNG")
        return buffer.getvalue()

    @classmethod
    def cut(cls, image: Image.Image, face: Face, preprocess: Preprocess) -> "Chip":
        """The chip of `face` in the upright RGB `image`.

        It ends where the picture ends: there the crop repeats the border pixels, in both alike.
        """
        left, top, right, bottom = _region(image, face, preprocess)
        part, moved = image.crop((left, top, right, bottom)), _moved(face, -left, -top)
        scale = LONGEST / max(part.size)
        if scale >= 1.0:
            return cls(part, moved)
        size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
        small = part.resize(size, Image.Resampling.LANCZOS)
        return cls(small, moved.scaled(size[0] / part.width, size[1] / part.height))

    @classmethod
    def of(cls, png: bytes, box: tuple[float, ...], landmarks: tuple[tuple[float, float], ...] | None) -> "Chip":
        """The chip as it was kept. Raises UnreadablePicture."""
        return cls(open_picture(png), Face(tuple(box), landmarks))


def _region(image: Image.Image, face: Face, preprocess: Preprocess) -> tuple[int, int, int, int]:
    x, y, side = preprocess.square(face)
    half = REACH * side / 2
    return (
        max(0, math.floor(x - half)), max(0, math.floor(y - half)),
        min(image.width, math.ceil(x + half)), min(image.height, math.ceil(y + half)),
    )  # fmt: skip


def _moved(face: Face, x: float, y: float) -> Face:
    left, top, right, bottom = face.box
    points = face.landmarks and tuple((px + x, py + y) for px, py in face.landmarks)
    return Face((left + x, top + y, right + x, bottom + y), points, face.score)


def _pixels(image: Image.Image):
    import numpy as np

    return np.asarray(image.convert("RGB"))
