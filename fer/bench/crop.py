"""``bench crop``: do photographs of faces reach the network as training faces do?"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fer.bench.served import Progress
from fer.faces import Face


@dataclass(frozen=True)
class Staged:
    """A ready-made face laid somewhere on a larger canvas; `centre` and `side` in pixels of the canvas."""

    canvas: Image.Image
    centre: tuple[float, float]
    side: float


def stage(face: Image.Image, random: np.random.Generator) -> Staged:
    """`face` enlarged 3-6 times, turned by up to ±15° and put at a random place of a grey 640×480 canvas."""
    side = round(face.width * random.uniform(3, 6))
    angle = random.uniform(-15, 15)
    large = face.resize((side, side), Image.Resampling.BICUBIC)
    turned = large.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    mask = Image.new("L", (side, side), 255).rotate(angle, expand=True)
    width, height = max(640, turned.width), max(480, turned.height)
    canvas = Image.new("RGB", (width, height), (int(random.integers(0, 256)),) * 3)
    left = int(random.integers(0, width - turned.width + 1))
    top = int(random.integers(0, height - turned.height + 1))
    canvas.paste(turned, (left, top), mask)
    return Staged(canvas, (left + turned.width / 2, top + turned.height / 2), side)


def staged_face(staged: Staged, faces: list[Face]) -> Face | None:
    """The found face whose box has the staged face's middle nearest its own, if it is within a quarter side."""

    def distance(face: Face) -> float:
        left, top, right, bottom = face.box
        return float(np.hypot((left + right) / 2 - staged.centre[0], (top + bottom) / 2 - staged.centre[1]))

    near = [face for face in faces if distance(face) < staged.side / 4]
    return min(near, key=distance, default=None)


def bench_crop(arguments: argparse.Namespace, progress: Progress) -> dict:
    """Accuracy of validation faces put on canvases and found again, against the same faces fed directly."""
    import torch

    from fer import datasets
    from fer.predict import Recognizer

    if not arguments.data:
        raise ValueError("bench crop needs faces; give --data ferplus:FOLDER")
    torch.set_num_threads(1)
    recognizer = Recognizer.load(arguments.model) if arguments.model else Recognizer.load()
    faces = datasets.load(arguments.data, "val").for_evaluation()
    if arguments.limit:
        faces = faces.subset(np.linspace(0, len(faces) - 1, min(arguments.limit, len(faces))).astype(int))
    preprocess = recognizer.bundle.preprocess
    direct, found = [], []
    for index in progress(range(len(faces))):
        image = faces.image(index)
        direct.append(preprocess(image, Face.whole(image)))
        staged = stage(image, np.random.default_rng([0, index]))
        face = staged_face(staged, recognizer.detector.find(staged.canvas))
        found.append(None if face is None else preprocess(staged.canvas, face))
    seen = np.array([tensor is not None for tensor in found])
    names = np.array(faces.classes)[faces.labels]
    straight = np.array([one.expression for one in recognizer.predict(direct)]) == names
    through = np.array([one.expression for one in recognizer.predict([t for t in found if t is not None])]) == names[seen]
    return {
        "faces": len(faces),
        "found": round(float(seen.mean()), 4),
        "accuracy_direct": round(float(straight[seen].mean()), 4),
        "accuracy_through_detector": round(float(through.mean()), 4),
        "difference": round(float(through.mean() - straight[seen].mean()), 4),
        "accuracy_direct_all": round(float(straight.mean()), 4),
    }
