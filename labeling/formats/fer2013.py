"""FER2013 as Kaggle gave it out: a table ``emotion,pixels,Usage``, a face of 48×48 grey pixels a row.

Faces are named as FER+ names them, by their row: the first is fer0000000.png.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fer.emotions import FER2013_ORDER
from labeling.formats.records import Problem, Record, Said, side_called
from labeling.formats.rows import header, rows
from labeling.pictures import png, small_grey
from labeling.splits import side_of
from labeling.tree import Tree, TreeError

ANNOTATOR = "FER2013"
TABLE = "fer2013.csv"
COLUMNS = ("emotion", "pixels", "usage")
USAGES = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
SIDE = 48  # pixels
READY_MADE = True


def fits(tree: Tree) -> bool:
    """Whether `tree` holds a table with the columns of FER2013."""
    return any(_is_table(tree, name) for name in tree.names())


def read(tree: Tree) -> Iterator[Record | Problem]:
    """The faces with their label; rows that are none as problems."""
    for name in tree.names():
        if _is_table(tree, name):
            try:
                columns = header(tree, name)
                for number, row in rows(tree, name):
                    if number > 1:
                        yield _record(dict(zip(columns, row, strict=False)), number - 2, name)
            except TreeError as error:
                yield Problem(name, str(error))


def write(records: Iterable[Record], folder: Path) -> Counter[str]:
    """Write the table with the leading label of each ready-made face; what was left out, by reason."""
    left_out = Counter()
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["emotion", "pixels", "Usage"])
        for record in records:
            label = record.label()
            if label not in FER2013_ORDER:
                left_out["without a label" if label is None else f"{label}, which FER2013 does not know"] += 1
                continue
            values = np.asarray(small_grey(record.content(), SIDE)).ravel()
            usage = USAGES[record.split or side_of(record.group)]
            table.writerow([FER2013_ORDER.index(label), " ".join(map(str, values)), usage])
    return left_out


def _is_table(tree: Tree, name: str) -> bool:
    return name.lower().endswith(".csv") and set(COLUMNS) <= set(header(tree, name))


def _record(row: dict[str, str], index: int, table: str) -> Record | Problem:
    try:
        label = FER2013_ORDER[_index(row["emotion"])]
    except (KeyError, ValueError, IndexError):
        emotion = row.get("emotion", "")[:40]
        return Problem(
            f"{table} row {index + 2}", f"“{emotion}” is not an emotion of FER2013, 0 to {len(FER2013_ORDER) - 1}."
        )
    said = (Said(ANNOTATOR, label),)
    return Record(
        f"fer{index:07d}.png", lambda: _picture(row.get("pixels", "")), said, split=side_called(row.get("usage"))
    )


def _index(text: str) -> int:
    index = int(text)
    if index < 0:
        raise IndexError(index)  # a negative one would count from the end
    return index


def _picture(pixels: str) -> bytes:
    """The PNG of a row's pixels. Raises ValueError unless they are a square of values 0..255."""
    values = np.array(pixels.split(), dtype=np.int64)
    side = int(len(values) ** 0.5)
    if side == 0 or side * side != len(values) or values.min() < 0 or values.max() > 255:
        raise ValueError(f"Its {len(values)} pixels are not a square of values from 0 to 255.")
    return png(Image.fromarray(values.astype(np.uint8).reshape(side, side)))
