"""Data sets of ready-made faces as people have them on disk, one `FaceSet` per split.

A source is written ``KIND:PATH``. Kinds: ``ferplus:`` (the folder that Microsoft's FERPlus
repository makes: FER2013Train, FER2013Valid, FER2013Test with a label.csv each), ``folder:``
(one folder per expression, optionally inside train, val and test folders) and ``snapshot:`` (labels
collected in the app, as ``python -m labeling snapshot`` writes them).
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from fer.emotions import CLASSES, FERPLUS_COLUMNS, canonical
from fer.faces import Face
from fer.picture import SUFFIXES, open_picture

SPLITS = ("train", "val", "test")
NOT_COUNTED = -1  # label of a face that the protocol leaves out of evaluation


class DataError(ValueError):
    """The data are not where or what they should be; the message says which file and what to do."""


@dataclass(frozen=True)
class FaceSet:
    """Faces of one split, read from disk when asked for.

    `targets` is float32 (N, 8): the share of votes per expression, summing to 1, or all zero where a
    face is of no use for training. `labels` is int64 (N,): the class counted in evaluation, or
    `NOT_COUNTED`.
    """

    name: str
    split: str
    protocol: str  # in words: which faces are counted and how their label was found
    paths: tuple[Path, ...]
    targets: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = CLASSES
    faces: tuple[Face, ...] | None = None  # where in each picture; None: ready-made crops, the picture is the face

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Image.Image:
        """The face as an RGB picture. Raises DataError naming the file that cannot be read."""
        try:
            return open_picture(self.paths[index])
        except ValueError as error:
            raise DataError(f"{self.name}: {error}") from error

    def face(self, index: int, image: Image.Image) -> Face:
        """Where the face is in `image`, the picture at `index`."""
        return self.faces[index] if self.faces else Face.whole(image)

    def subset(self, keep: np.ndarray) -> "FaceSet":
        """The faces at `keep`, a bool (N,) or an int array of indices."""
        indices = np.flatnonzero(keep) if keep.dtype == bool else keep
        return replace(
            self, paths=tuple(self.paths[i] for i in indices), targets=self.targets[indices], labels=self.labels[indices],
            faces=self.faces and tuple(self.faces[i] for i in indices),
        )  # fmt: skip

    def for_training(self) -> "FaceSet":
        """The faces with a target."""
        return self.subset(self.targets.sum(axis=1) > 0)

    def for_evaluation(self) -> "FaceSet":
        """The faces the protocol counts."""
        return self.subset(self.labels != NOT_COUNTED)


def load(source: str, split: str) -> FaceSet:
    """The `split` ("train", "val", "test" or "all") of `source`, written ``KIND:PATH``.

    Raises DataError for an unknown kind, a missing folder or a layout that does not fit.
    """
    kind, colon, path = source.partition(":")
    if not colon or kind not in READERS:
        raise DataError(f"“{source}” is not KIND:PATH with KIND one of {', '.join(READERS)}")
    if split not in (*SPLITS, "all"):
        raise DataError(f"split “{split}” is not known; use train, val, test or all")
    root = Path(os.path.expanduser(path))
    if not path or not root.is_dir():
        raise DataError(f"{path or 'an empty path'} is not a folder; give the unzipped data set as {kind}:FOLDER")
    faces = joined([READERS[kind](root, one) for one in (SPLITS if split == "all" else (split,))], split)
    if len(faces) == 0:
        raise DataError(f"{source} has no pictures in its {split} split")
    return faces


def joined(parts: list[FaceSet], split: str) -> FaceSet:
    """The faces of all `parts` as one set, called `split`."""
    return FaceSet(
        parts[0].name, split, parts[0].protocol, sum((part.paths for part in parts), ()),
        np.concatenate([part.targets for part in parts]), np.concatenate([part.labels for part in parts]),
        faces=sum((part.faces for part in parts), ()) if parts[0].faces is not None else None,
    )  # fmt: skip


# --- FER+ ---------------------------------------------------------------------------------------

_FERPLUS_FOLDERS = {"train": "FER2013Train", "val": "FER2013Valid", "test": "FER2013Test"}


def _read_ferplus(root: Path, split: str) -> FaceSet:
    folder = root / _FERPLUS_FOLDERS[split]
    table = folder / "label.csv"
    if not table.is_file():
        raise DataError(
            f"{table} is missing; ferplus: wants the folder made by Microsoft's FERPlus repository, "
            f"with {', '.join(_FERPLUS_FOLDERS.values())} inside"
        )
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
        if any(len(row) != 2 + len(FERPLUS_COLUMNS) for row in rows):
            raise ValueError("a row has too few or too many columns")
        votes = np.array([[float(value) for value in row[2:]] for row in rows]).reshape(-1, len(FERPLUS_COLUMNS))
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{table} should have an image, a box and {len(FERPLUS_COLUMNS)} votes a row ({error}); restore it"
        ) from error
    targets, labels = majority(votes)
    return FaceSet(
        "ferplus", split,
        "FER+ majority: single votes set to 0; counted if one of 8 expressions has more than half of the rest",
        tuple(folder / row[0] for row in rows), targets, labels,
    )  # fmt: skip


def majority(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Training targets and evaluation labels of FER+ votes, float (N, 10) in `FERPLUS_COLUMNS` order.

    The rule of Barsoum et al. 2016 (arXiv:1608.01041): a single vote counts as noise and is set to
    0; a face is counted if one expression has more than half of the remaining votes. Targets are the
    remaining votes of the eight expressions, normalised, zero where unknown or NF lead or nothing
    remains. Returns float32 (N, 8) and int64 (N,).
    """
    return shares(np.where(votes > 1, votes, 0.0))


def shares(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets float32 (N, 8) and labels int64 (N,) of votes, float (N, 10), none of which is taken for noise.

    A face is counted if one of the eight has more than half of all votes; it has a target if unknown and NF
    do not lead.
    """
    total = votes.sum(axis=1)
    top = votes.argmax(axis=1)
    faces = top < len(CLASSES)
    counted = faces & (votes.max(axis=1) > total / 2)
    emotions = np.where((faces & (total > 0))[:, None], votes[:, : len(CLASSES)], 0.0)
    targets = emotions / np.maximum(emotions.sum(axis=1, keepdims=True), 1e-9)
    return targets.astype(np.float32), np.where(counted, top, NOT_COUNTED).astype(np.int64)


# --- folders of classes -------------------------------------------------------------------------


def _read_folder(root: Path, split: str) -> FaceSet:
    inside = {one: root / one for one in SPLITS if (root / one).is_dir()}
    if inside and split not in inside:
        return _folder_faces([], split)
    pictures = _class_pictures(inside.get(split, root))
    if not inside:
        pictures = [(path, label) for path, label in pictures if split_of(path.name) == split]
    return _folder_faces(pictures, split)


def split_of(group: str) -> str:
    """The split a group of pictures belongs to for good: 80 % train, 10 % val, 10 % test, by a hash of its name."""
    share = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32
    return "train" if share < 0.8 else "val" if share < 0.9 else "test"


def _class_pictures(root: Path) -> list[tuple[Path, int]]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError(f"{root} has no class folders; folder: wants one folder per expression, such as happiness/")
    try:
        labels = {folder: CLASSES.index(canonical(folder.name)) for folder in folders}
    except ValueError as error:
        raise DataError(f"in {root} the folder {error}") from error
    return [
        (path, labels[folder])
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]


def _folder_faces(pictures: list[tuple[Path, int]], split: str) -> FaceSet:
    labels = np.array([label for _, label in pictures], dtype=np.int64)
    return FaceSet(
        "folder", split, "one label a picture, the name of its folder", tuple(path for path, _ in pictures),
        np.eye(len(CLASSES), dtype=np.float32)[labels], labels,
    )  # fmt: skip


# --- snapshots of collected labels --------------------------------------------------------------


def _read_snapshot(root: Path, split: str) -> FaceSet:
    lines = [line for line in _manifest(root) if line["split"] == split]
    votes = np.array([[line["votes"].get(name, 0) for name in FERPLUS_COLUMNS] for line in lines], dtype=float)
    targets, labels = shares(votes.reshape(-1, len(FERPLUS_COLUMNS)))  # a single vote counts: mostly it is all there is
    paths = tuple(_checked(root / "images" / f"{line['image']}.png") for line in lines)
    return FaceSet(
        "snapshot", split, "collected labels: counted if one of 8 expressions has more than half of the votes",
        paths, targets, labels, faces=tuple(_face_in(line) for line in lines),
    )  # fmt: skip


def snapshot_id(source: str) -> str | None:
    """The id of the snapshot that `source`, written ``KIND:PATH``, is; None for another kind."""
    kind, _, path = source.partition(":")
    return Path(os.path.expanduser(path)).resolve().name if kind == "snapshot" else None


def note_training(source: str, version: str) -> None:
    """Where `source` is a snapshot, note in it that the model `version` has learned from its faces."""
    if snapshot_id(source):
        path = Path(os.path.expanduser(source.partition(":")[2])) / "TRAINED.jsonl"
        line = json.dumps({"version": version}) + "\n"
        if path.is_file() and line in path.read_text(encoding="utf-8"):
            return  # a run that was cut off at its end comes by again
        with path.open("a", encoding="utf-8") as file:
            file.write(line)


def _manifest(root: Path) -> list[dict]:
    """The lines of a snapshot's manifest. Raises DataError where it was changed or faces were withdrawn from it."""
    manifest = root / "manifest.jsonl"
    if (root / "WITHDRAWN.json").exists():
        raise DataError(f"faces of the snapshot {root.name} were withdrawn; take a new snapshot")
    if not manifest.is_file():
        raise DataError(f"{root.name}/{manifest.name} is missing; give the folder of a snapshot")
    content = manifest.read_bytes()
    if hashlib.sha256(content).hexdigest()[:16] != root.resolve().name:
        raise DataError(f"{root.name}/{manifest.name} is not what was taken as snapshot {root.name}; take a new one")
    try:
        return [json.loads(line) for line in content.decode().splitlines()]
    except ValueError as error:
        raise DataError(f"{root.name}/{manifest.name} is not a manifest ({error}); take a new snapshot") from error


def _checked(path: Path) -> Path:
    """`path`, whose name is the SHA-256 of its content. Raises DataError where it is not."""
    try:
        altered = hashlib.sha256(path.read_bytes()).hexdigest() != path.stem
    except OSError as error:
        raise DataError(f"{path.name} of a snapshot cannot be read ({error.strerror}); take a new snapshot") from error
    if altered:
        raise DataError(f"{path.name} of a snapshot was altered since the snapshot was taken; take a new one")
    return path


def _face_in(line: dict) -> Face:
    landmarks = line["landmarks"]
    return Face(tuple(line["box"]), landmarks and tuple((x, y) for x, y in landmarks))


READERS: dict[str, Callable[[Path, str], FaceSet]] = {
    "ferplus": _read_ferplus, "folder": _read_folder, "snapshot": _read_snapshot,
}  # fmt: skip
