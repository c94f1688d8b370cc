"""From a picture to the expressions its faces show: `Recognizer`.

    recognizer = Recognizer.load()
    reading = recognizer.read("photo.jpg")
    for face in reading.faces: print(face.box, face.prediction.expression, face.prediction.confidence)
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from fer import bundle as bundles
from fer.bundle import ModelBundle
from fer.faces import Box, Face, FaceDetector
from fer.picture import Source, open_picture
from fer.quality import Remark, remarks

UNSURE = 0.45  # below this probability of its first class a face is called unclear
CLOSE = 0.15  # and when the second is within this of the first
BATCH = 32  # faces a forward pass: bounds memory on a picture of a crowd


@dataclass(frozen=True)
class Prediction:
    """Calibrated `probabilities` (K,), 0..1 and summing to 1, of `classes`, by the model `model`."""

    probabilities: tuple[float, ...]
    classes: tuple[str, ...]
    model: str

    @property
    def expression(self) -> str:
        """The most probable class."""
        return self.classes[self.probabilities.index(max(self.probabilities))]

    @property
    def confidence(self) -> float:
        """The probability of `expression`."""
        return max(self.probabilities)

    @property
    def unclear(self) -> bool:
        """Whether the two most probable classes are too close, or the first too weak, to name one."""
        second, first = sorted(self.probabilities)[-2:]
        return first < UNSURE or first - second < CLOSE

    @property
    def scores(self) -> dict[str, float]:
        """The probability of each class by name."""
        return dict(zip(self.classes, self.probabilities, strict=True))


@dataclass(frozen=True)
class FaceReading:
    """A face, the expression it shows, and what makes that less sure."""

    face: Face
    prediction: Prediction
    remarks: tuple[Remark, ...] = ()

    @property
    def box(self) -> Box:
        """Left, top, right, bottom in pixels of the upright picture."""
        return self.face.box

    def as_dict(self) -> dict:
        """The face's part of the JSON object: box in pixels to a tenth, scores to six places."""
        return {
            "box": [round(value, 1) for value in self.face.box],
            "score": round(self.face.score, 4),
            "expression": self.prediction.expression,
            "confidence": round(self.prediction.confidence, 6),
            "scores": {name: round(value, 6) for name, value in self.prediction.scores.items()},
            "unclear": self.prediction.unclear,
            "remarks": [asdict(remark) for remark in self.remarks],
        }


@dataclass(frozen=True)
class Reading:
    """What was read from one picture: its upright size in pixels, its faces by left edge, the time it took."""

    width: int
    height: int
    faces: tuple[FaceReading, ...]
    model: str
    ms: float

    def as_dict(self, name: str) -> dict:
        """The JSON object that the command line, the API and the page all give for the picture called `name`."""
        return {
            "image": Path(name).name,
            "width": self.width,
            "height": self.height,
            "ms": round(self.ms, 1),
            "model": self.model,
            "faces": [face.as_dict() for face in self.faces],
        }


@dataclass(frozen=True)
class Recognizer:
    """A detector and a model, ready to read pictures; safe to share between threads."""

    bundle: ModelBundle
    detector: FaceDetector = field(default_factory=FaceDetector)

    @classmethod
    def load(cls, folder: Path | str = bundles.SHIPPED) -> "Recognizer":
        """A recognizer with the model in `folder`, by default the one that ships. Raises BundleError."""
        return cls(bundles.load(folder))

    def read(self, source: Source) -> Reading:
        """The faces of a picture and the expression each shows.

        `source` is a path, bytes, a data URL, a uint8 array or a Pillow image (see `open_picture`).
        A picture without a face gives a reading without faces. Raises UnreadablePicture.
        """
        started = time.perf_counter()
        image = open_picture(source)
        faces = self.detector.find(image)
        crops = [self.bundle.preprocess.crop(image, face) for face in faces]
        predictions = self.predict([self.bundle.preprocess.to_tensor(crop) for crop in crops])
        readings = tuple(
            FaceReading(face, prediction, remarks(image, face, crop))
            for face, prediction, crop in zip(faces, predictions, crops, strict=True)
        )
        milliseconds = (time.perf_counter() - started) * 1000
        return Reading(image.width, image.height, readings, self.bundle.version, milliseconds)

    def predict(self, tensors: list[torch.Tensor]) -> list[Prediction]:
        """Predictions of preprocessed faces, each float32 (3, size, size)."""
        predictions = []
        for start in range(0, len(tensors), BATCH):
            for row in self.bundle.probabilities(torch.stack(tensors[start : start + BATCH])).tolist():
                predictions.append(Prediction(tuple(row), self.bundle.classes, self.bundle.version))
        return predictions
