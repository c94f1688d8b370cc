"""Photos into faces, and kept faces into ready-made ones: `Cutter`, for imports and exports of labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from fer.chips import Chip
from fer.faces import Face, FaceDetector
from fer.picture import open_picture
from fer.transforms import Preprocess


@dataclass(frozen=True)
class Cutter:
    """Finds faces as the app does, and cuts them as the model wants them."""

    preprocess: Preprocess
    detector: FaceDetector = field(default_factory=FaceDetector)

    def open(self, content: bytes) -> Image.Image:
        """The picture upright, RGB, without metadata. Raises ValueError, in one sentence, when it cannot be used."""
        return open_picture(content)

    def faces(self, image: Image.Image) -> list[Chip]:
        """The faces of an upright RGB `image`, by left edge, as they are kept; an empty list when there are none."""
        return [Chip.cut(image, face, self.preprocess) for face in self.detector.find(image)]

    def crop(
        self, image: Image.Image, box: tuple[float, ...], landmarks: tuple[tuple[float, float], ...] | None
    ) -> Image.Image:
        """The square that the network would be given of the face at `box` in a kept picture: a ready-made face."""
        return self.preprocess.crop(image, Face(tuple(box), landmarks))


@dataclass(frozen=True)
class LateCutter:
    """A `Cutter` whose settings are asked for when it is first used: ready-made faces need no model."""

    preprocess: Callable[[], Preprocess]

    def open(self, content: bytes) -> Image.Image:
        """As `Cutter.open`."""
        return open_picture(content)

    def faces(self, image: Image.Image) -> list[Chip]:
        """As `Cutter.faces`."""
        return Cutter(self.preprocess()).faces(image)

    def crop(
        self, image: Image.Image, box: tuple[float, ...], landmarks: tuple[tuple[float, float], ...] | None
    ) -> Image.Image:
        """As `Cutter.crop`."""
        return Cutter(self.preprocess()).crop(image, box, landmarks)
