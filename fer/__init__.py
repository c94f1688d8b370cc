"""Faces and models: find faces, read the expression they show, train and measure the network that does it.

    from fer import Recognizer
    reading = Recognizer.load().read("photo.jpg")
    print([(face.box, face.prediction.expression) for face in reading.faces])

Names are imported when they are first asked for, so that ``import fer`` stays free of torch.
"""

from __future__ import annotations

import importlib

_HOME = {
    "Face": "fer.faces",
    "FaceDetector": "fer.faces",
    "ModelBundle": "fer.bundle",
    "Prediction": "fer.predict",
    "Preprocess": "fer.transforms",
    "Reading": "fer.predict",
    "Recognizer": "fer.predict",
    "UnreadablePicture": "fer.picture",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
