"""What the tests of import and export share: a workspace with everything in it, and what a store knows, to compare."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from conftest import SAMPLES
from label_workspaces import BOXES, chip, face, png, says
from PIL import Image

from labeling.items import NewItem
from labeling.pictures import open_face
from labeling.store import LabelStore

FORMULA = '=HYPERLINK("http://evil";"\'a\'")'
HTML = "<img src=x onerror=alert(1)>"
WHOLE = (0.0, 0.0, 112.0, 112.0)
VOTES = {"neutral": 4, "sadness": 3, "fear": 2, "NF": 1}


def grey(index: int, side: int = 48) -> bytes:
    """The face `index` as FER+ has faces: grey, `side` pixels square."""
    return png(chip(index).convert("L").resize((side, side)))


def studio(folder: Path, chips: bool = True) -> LabelStore:
    """A store with faces of every kind: annotators, seconds, votes, sides, groups, a skip, a label taken back."""
    store = LabelStore(folder)
    faces = [
        (_whole(face(0), "clip 1", split="train"), [says("a", at="2026-01-02T03:04:05.678Z"),
                                                    says("b", "surprise", "Bob", second="fear")]),
        (_whole(face(1), "clip 1", split="val"), [says("c", "anger", FORMULA), says("d", "contempt", HTML)]),
        (_whole(face(2), "=1+1", split="test"), [says("e", "neutral", "FER+", votes=VOTES)]),
        (_whole(grey(3), "grey ones", (0, 0, 48, 48), name=f"sub/{FORMULA}.png"), [says("f", "unknown"),
                                                                                   says("g", "NF", "Bob")]),
        (_whole(face(4), "nobody's"), []),
        (_whole(face(5), "skipped"), [says("h", None), says("i", "sadness", "Bob")]),
        (_whole(face(6), "undone"), [says("j", "disgust"), says("k", "disgust", "Bob")]),
    ]  # fmt: skip
    if chips:
        faces.append((whole_photo(), [says("l", "happiness", "Äöü 漢字")]))
    for part in store.bring(faces):
        assert part.fresh == len(faces)
    store.undo("j")
    return store


def _whole(content: bytes, group: str, box: tuple = WHOLE, **more) -> NewItem:
    return NewItem("test", group, content, int(box[2]), int(box[3]), box, **more)


def whole_photo() -> NewItem:
    """A chip: more than the face, with its box and landmarks inside."""
    name, (left, top, right, bottom) = BOXES[7]
    with Image.open(SAMPLES / name) as photo:
        image = photo.convert("RGB").crop((left - 20, top - 20, right + 20, bottom + 20))
    landmarks = [(34.5, 44.25), (54.0, 44.0), (44.0, 56.0), (36.0, 66.0), (52.0, 66.125)]
    box = (20, 20, image.width - 20, image.height - 20)
    return NewItem("photo", "oath", png(image), *image.size, box, landmarks, name="oath-ceremony.jpg")


def known(store: LabelStore, *fields: str) -> dict[str, dict]:
    """By picture: of each face with pixels, `fields` of the item, or everything, and what stands of the labels."""
    with store.database.reading() as connection:
        items = [dict(row) for row in connection.execute("SELECT * FROM items WHERE image IS NOT NULL")]
        rows = connection.execute(
            "SELECT j.* FROM standing AS s JOIN judgements AS j ON j.id = s.judgement WHERE s.label IS NOT NULL"
        ).fetchall()
    said: dict[int, set] = {}
    for row in rows:
        said.setdefault(row["item"], set()).add(
            tuple(row[key] for key in ("annotator", "label", "second", "votes", "at"))
        )
    wanted = fields or ("width", "height", "box", "landmarks", "split", "group", "said")
    return {one["image"]: {key: ({**one, "said": said.get(one["id"], set())})[key] for key in wanted} for one in items}


def pixels(store: LabelStore) -> dict[str, np.ndarray]:
    """The pixels of every picture, by its name in the store."""
    found = {}
    for name in store.images.names():
        with Image.open(store.images.path(name)) as image:
            assert not image.info, "metadata"
            found[name] = np.asarray(image)
    return found


def part_of(ferplus: Path, target: Path, count: int) -> Path:
    """The first `count` faces of each side of FER+, no picture twice."""
    seen = set()
    for side in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        (target / side).mkdir(parents=True)
        with (ferplus / side / "label.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        with (target / side / "label.csv").open("w", newline="") as file:
            table, taken = csv.writer(file), 0
            for row in rows:
                content = (ferplus / side / row[0]).read_bytes()
                if content not in seen and taken < count:
                    seen.add(content)
                    taken += 1
                    table.writerow(row)
                    shutil.copyfile(ferplus / side / row[0], target / side / row[0])
    return target


@dataclass(frozen=True)
class Cut:
    """A face as a cutter gives it."""

    image: Image.Image
    face: SimpleNamespace

    def png(self) -> bytes:
        return png(self.image)


class MiddleCutter:
    """Takes the middle of every picture for a face, but of an all black one; needs no network."""

    def open(self, content: bytes) -> Image.Image:
        return open_face(content).convert("RGB")

    def faces(self, image: Image.Image) -> list[Cut]:
        if not image.getbbox():
            return []
        width, height = image.size
        box = (width // 8, height // 8, width // 2, height // 2)
        points = tuple((width // 4 + step, height // 4 + step) for step in range(5))
        return [Cut(image.crop((0, 0, width * 3 // 4, height * 3 // 4)), SimpleNamespace(box=box, landmarks=points))]

    def crop(self, image: Image.Image, box: tuple, landmarks: tuple | None) -> Image.Image:
        return image.crop(tuple(map(round, box)))
