"""What training does to a crop before `transforms.Preprocess.to_tensor`, the tail shared with the app.

Each change imitates what differs between two pictures of the same expression: side, small turns, how
tightly the detector framed the face, light, something in front of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """Ranges of the random changes; each is drawn evenly."""

    rotate: float = 12.0  # degrees, ±
    scale: float = 0.15  # ± as a fraction of the crop's side
    shift: float = 0.10  # ± as a fraction of the crop's side, each direction
    light: float = 0.3  # ± factor of contrast, and of brightness as a fraction of 255
    erase: float = 0.25  # probability that a rectangle of the crop is hidden
    mirror: float = 0.5  # probability that left and right change sides

    def crop(self, crop: Image.Image, size: int, random: np.random.Generator) -> Image.Image:
        """A changed view of the square `crop` (grey or RGB), `size` pixels wide, border pixels repeated."""
        side = crop.width
        # As far out as a corner of the largest, most turned and most shifted view reaches.
        turn = math.radians(min(self.rotate, 45.0))
        reach = 0.5 * (1 + self.scale) * (math.cos(turn) + math.sin(turn)) + self.shift
        pad = math.ceil(side * max(0.0, reach - 0.5)) + 2
        pixels = np.asarray(crop)
        padded = Image.fromarray(np.pad(pixels, [(pad, pad), (pad, pad), (0, 0)][: pixels.ndim], mode="edge"))
        angle = math.radians(random.uniform(-self.rotate, self.rotate))
        zoom = side / size * random.uniform(1 - self.scale, 1 + self.scale)
        x, y = padded.width / 2 + side * random.uniform(-self.shift, self.shift, 2)
        mirror = -1.0 if random.random() < self.mirror else 1.0
        a, b = math.cos(angle) * zoom * mirror, -math.sin(angle) * zoom
        c, d = math.sin(angle) * zoom * mirror, math.cos(angle) * zoom
        half = size / 2
        matrix = (a, b, x - (a + b) * half, c, d, y - (c + d) * half)
        view = padded.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
        return self._relight(view, random)

    def _relight(self, view: Image.Image, random: np.random.Generator) -> Image.Image:
        contrast = 1 + random.uniform(-self.light, self.light)
        brightness = 255 * random.uniform(-self.light, self.light) / 2
        pixels = np.asarray(view)
        middle = pixels.mean()
        table = np.clip((np.arange(256) - middle) * contrast + middle + brightness, 0, 255).astype(np.uint8)
        return Image.fromarray(table[pixels])

    def erased(self, face: Tensor, random: np.random.Generator) -> Tensor:
        """`face` float32 (3, S, S) with, at times, a rectangle of 2-20 % of it set to 0 (Zhong et al. 2017)."""
        if random.random() >= self.erase:
            return face
        side = face.shape[-1]
        area, ratio = random.uniform(0.02, 0.2) * side * side, math.exp(random.uniform(-1, 1))
        height, width = (min(side - 1, round(math.sqrt(area * value))) for value in (ratio, 1 / ratio))
        top, left = random.integers(0, side - height), random.integers(0, side - width)
        face = face.clone()
        face[:, top : top + height, left : left + width] = 0.0
        return face
