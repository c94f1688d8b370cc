"""FER+, the folder that Microsoft's FERPlus repository makes: three folders of faces, each with a ``label.csv``.

A row is image, box, and the votes of ten people in the order of `fer.emotions.FERPLUS_COLUMNS`, without a
header. Who voted is not known, so the votes of a face are one judgement of "FER+".
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from labeling.formats.names import Names
from labeling.formats.records import Problem, Record, Said, leading, votes_in
from labeling.formats.rows import rows
from labeling.labels import LABELS
from labeling.pictures import png, small_grey
from labeling.splits import side_of
from labeling.tree import Tree, TreeError

ANNOTATOR = "FER+"
FOLDERS = {"train": "FER2013Train", "val": "FER2013Valid", "test": "FER2013Test"}
TABLE = "label.csv"
SIDE = 48  # pixels
TAGGERS = 10
READY_MADE = True  # only faces that fill the frame can be written


def fits(tree: Tree) -> bool:
    """Whether `tree` holds one of the three folders with its table."""
    return any(_side(name) for name in tree.names())


def read(tree: Tree) -> Iterator[Record | Problem]:
    """The faces with their votes; rows that are none, or name no picture, as problems.

    Test comes first: of the 1,840 pictures that FER+ holds more than once the first is the one that is kept, so
    the test side stays whole and no copy of it is trained on.
    """
    for table in sorted(filter(_side, tree.names()), key=lambda name: "test val train".index(_side(name))):
        folder = PurePosixPath(table).parent
        try:
            for number, row in rows(tree, table):
                yield _record(tree, folder, _side(table), number, row)
        except TreeError as error:
            yield Problem(table, str(error))


def write(records: Iterable[Record], folder: Path) -> Counter[str]:
    """Write ready-made faces, 48 pixels square and grey; what was left out, by reason.

    A face of no set goes to the side that the hash of its group says.
    """
    left_out, names = Counter(), {split: Names() for split in FOLDERS}
    with ExitStack() as open_files:
        tables = {}
        for split, place in FOLDERS.items():
            (folder / place).mkdir()
            file = open_files.enter_context((folder / place / TABLE).open("w", newline="", encoding="utf-8"))
            tables[split] = csv.writer(file)
        for record in records:
            if not record.said:
                left_out["without a label"] += 1
                continue
            split = record.split or side_of(record.group)
            name = names[split].free(record.name)
            (folder / FOLDERS[split] / name).write_bytes(_small(record.content()))
            tables[split].writerow([name, f"(0, 0, {SIDE}, {SIDE})", *_columns(record)])
    return left_out


def _side(name: str) -> str | None:
    """The split that the table `name` is of; None for any other file."""
    place = PurePosixPath(name)
    return next((split for split, folder in FOLDERS.items() if place.parts[-2:] == (folder, TABLE)), None)


def _record(tree: Tree, folder: PurePosixPath, split: str, number: int, row: list[str]) -> Record | Problem:
    where = f"{folder.name}/{TABLE} row {number}"
    if len(row) != 2 + len(LABELS):
        return Problem(where, f"It has {len(row)} columns; image, box and {len(LABELS)} votes are needed.")
    try:
        votes = votes_in(dict(zip(LABELS, map(float, row[2:]), strict=True)))
    except (ValueError, OverflowError):
        return Problem(where, "Its votes are not counts.")
    file = f"{folder}/{row[0]}"
    if not tree.has(file):
        return Problem(where, f"There are votes for {row[0]}, but no such picture.")
    said = (Said(ANNOTATOR, leading(votes), votes=votes),) if votes else ()
    return Record(f"{folder.name}/{row[0]}", lambda: tree.read(file), said, split=split)


def _small(content: bytes) -> bytes:
    return png(small_grey(content, SIDE))


def _columns(record: Record) -> list[int]:
    """The ten votes. FER+'s protocol drops single votes as noise, so what fewer people said of a face is written
    as if ten had been asked, in the same shares; votes that came from a survey stay as they are."""
    votes = record.votes()
    asked = sum(votes.values())
    times = 1 if any(one.votes for one in record.said) else max(1, TAGGERS // asked)
    return [votes.get(label, 0) * times for label in LABELS]
