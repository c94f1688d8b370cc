"""What about a face makes its scores less sure, in words, and what to do about it.

Limits were chosen by eye on photographs; they warn, they never hide a face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from fer.faces import Face


@dataclass(frozen=True)
class Remark:
    """One reason to doubt: a `code` for programs, `words` for people, with what to do about it."""

    code: str
    words: str


SMALL = Remark("small", "The face is small: come closer, or use a larger picture.")
DARK = Remark("dark", "The face is dark: turn towards the light.")
BLURRED = Remark("blurred", "The face is blurred: hold still, or clean the lens.")
TURNED = Remark("turned", "The face is turned away: look towards the camera.")
CUT = Remark("cut", "The face is cut off by the border: move it into the picture.")

SMALL_PIXELS = 48.0  # shorter side of the box; FER+ faces are 48 pixels
DARK_GREY = 50.0  # mean of the face, 0..255
SHARP = 8.0  # standard deviation of the Laplacian of the face at 96 pixels or less, grey levels; below is blurred
TURN = 0.32  # nose off the middle of the eyes, as a fraction of their distance
NEAR_BORDER = 1.0  # pixels


def remarks(image: Image.Image, face: Face, crop: Image.Image, scale: float = 1.0) -> tuple[Remark, ...]:
    """The reasons to doubt the scores of `face` in the upright RGB `image`; `crop` is its square crop.

    `scale` says how much larger the face was before the picture was shrunk for sending.
    """
    left, top, right, bottom = face.box
    side = min(96, crop.width)  # never enlarged: that would look like blur
    grey = np.asarray(crop.convert("L").resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
    found = (
        (SMALL, min(right - left, bottom - top) * scale < SMALL_PIXELS),
        (DARK, grey.mean() < DARK_GREY),
        (BLURRED, side > 2 and grey.mean() >= DARK_GREY and sharpness(grey) < SHARP),
        (TURNED, turn(face) > TURN),
        (CUT, min(left, top, image.width - right, image.height - bottom) < NEAR_BORDER),
    )
    return tuple(remark for remark, true in found if true)


def sharpness(grey: np.ndarray) -> float:
    """Standard deviation of the 4-neighbour Laplacian of float (H, W), in its grey levels."""
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * middle).std())


def turn(face: Face) -> float:
    """How far the nose lies off the middle of the eyes along their line, in eye distances; 0 without landmarks."""
    if face.landmarks is None:
        return 0.0
    left, right, nose = (np.array(point) for point in face.landmarks[:3])
    line = right - left
    length = float(np.hypot(*line))
    if length < 1e-6:
        return 1.0
    return abs(float(np.dot(nose - (left + right) / 2, line))) / length**2
