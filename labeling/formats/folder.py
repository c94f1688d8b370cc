"""Folders of pictures: one folder per class, so that each picture is a ready-made face with a label; or plain photos.

Class folders may lie inside train, val and test. Written by this module they load with `fer.datasets`'
``folder:``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from labeling.formats import video
from labeling.formats.names import Names
from labeling.formats.records import Problem, Record, Said, side_called
from labeling.labels import CANNOT_TELL, NOT_A_FACE, label_called
from labeling.pictures import SUFFIXES
from labeling.splits import SIDES, side_of
from labeling.tree import Tree

READY_MADE = True


def fits(tree: Tree) -> bool:
    """Whether `tree` holds pictures."""
    return any(map(_is_picture, tree.names()))


def read(tree: Tree) -> Iterator[Record | Problem]:
    """Labelled faces where any folder has the name of a label; otherwise photos and videos still to be searched.

    Folders of an unknown class are problems, and their pictures passed over.
    """
    pictures = list(filter(_is_picture, tree.names()))
    classes = {folder: _class(folder) for folder in {PurePosixPath(name).parent for name in pictures}}
    if not any(classes.values()):
        yield from photos(tree)
        yield from video.read(tree)
        return
    unknown: Counter[str] = Counter()
    for name in pictures:
        folder = PurePosixPath(name).parent
        if classes[folder] is None:
            unknown[str(folder)] += 1
        else:
            yield Record(name, _reader(tree, name), (Said(tree.name, classes[folder]),), split=_side(folder))
    for folder, count in unknown.items():
        yield Problem(folder, f"{_complaint(PurePosixPath(folder).name)} {count} pictures in it were passed over.")


def photos(tree: Tree) -> Iterator[Record]:
    """All pictures as photos still to be searched for faces, whatever their folders are called."""
    for name in filter(_is_picture, tree.names()):
        yield Record(name, _reader(tree, name), ready_made=False)


def write(records: Iterable[Record], folder: Path) -> Counter[str]:
    """Write ready-made faces to train, val and test under their leading label; what was left out, by reason."""
    left_out, names = Counter(), Names()
    for side in SIDES:
        (folder / side).mkdir()
    for record in records:
        label = record.label()
        if label in (None, CANNOT_TELL, NOT_A_FACE):
            left_out["without a label" if label is None else "not of any expression"] += 1
            continue
        place = folder / (record.split or side_of(record.group)) / label
        place.mkdir(exist_ok=True)
        (place / names.free(record.name)).write_bytes(record.content())
    return left_out


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _reader(tree: Tree, name: str):
    return lambda: tree.read(name)


def _class(folder: PurePosixPath) -> str | None:
    """The label that the innermost of the folders on the way bears, the folder itself first."""
    for part in reversed(folder.parts):
        try:
            return label_called(part)
        except ValueError:
            continue
    return None


def _side(folder: PurePosixPath) -> str | None:
    return next((side for part in folder.parts if (side := side_called(part))), None)


def _complaint(name: str) -> str:
    try:
        label_called(name)
    except ValueError as error:
        return str(error)
    return ""
