"""What is kept of a face: a `Chip`, the upright region around it, in which the network reads the same."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from fer.faces import Face
from fer.picture import open_picture
from fer.transforms import Preprocess


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
        """The chip of `face` in the upright RGB `image`: what `Preprocess.surroundings` gives."""
        return cls(*preprocess.surroundings(image, face))

    @classmethod
    def of(cls, png: bytes, box: tuple[float, ...], landmarks: tuple[tuple[float, float], ...] | None) -> "Chip":
        """The chip as it was kept. Raises UnreadablePicture."""
        return cls(open_picture(png), Face(tuple(box), landmarks))


def _pixels(image: Image.Image):
    import numpy as np

    return np.asarray(image.convert("RGB"))
