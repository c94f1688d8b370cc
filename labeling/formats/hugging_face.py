"""A folder that the `datasets` library loads as an imagefolder: pictures and a ``metadata.jsonl`` for each split.

A row has `file_name` and `label`, and of ours `votes` (ten counts in the order of `labels.LABELS`),
`annotators` (who said what, JSON in a string), `group`, `split` (as its set gave it), `box`, and `landmarks`
(JSON in a string). No value is null and no list empty: `datasets` tells a column's type from the first rows,
and wants the same in every split.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from labeling.formats.names import Names
from labeling.formats.records import Problem, Record, Said, box_in, json_in, points_in, side_called
from labeling.formats.rows import text
from labeling.labels import LABELS
from labeling.splits import side_of
from labeling.tree import Tree, TreeError, find

METADATA = "metadata.jsonl"
FOLDERS = {"train": "train", "val": "validation", "test": "test"}
LONGEST_LINE = 1_000_000  # letters
READY_MADE = False


def fits(tree: Tree) -> bool:
    """Whether `tree` holds a ``metadata.jsonl``."""
    return any(PurePosixPath(name).name == METADATA for name in tree.names())


def read(tree: Tree) -> Iterator[Record | Problem]:
    """The faces with what was said of them; lines that cannot be used as problems."""
    for name in tree.names():
        if PurePosixPath(name).name == METADATA:
            try:
                for number, line in enumerate(_lines(tree, name), 1):
                    if line.strip():
                        yield _face(tree, name, f"{name} line {number}", line)
            except TreeError as error:
                yield Problem(name, str(error))
            except UnicodeDecodeError:
                yield Problem(name, "It is not UTF-8 text.")


def write(records: Iterable[Record], folder: Path) -> Counter[str]:
    """Write the faces as they are, each into the folder of its side. Nothing is left out."""
    names, tables = {side: Names() for side in FOLDERS}, {}
    with ExitStack() as open_files:
        for record in records:
            side = record.split or side_of(record.group)
            place = folder / FOLDERS[side]
            if side not in tables:
                place.mkdir()
                tables[side] = open_files.enter_context((place / METADATA).open("w", encoding="utf-8"))
            name = names[side].free(record.name)
            (place / name).write_bytes(record.content())
            tables[side].write(json.dumps(_row(name, record), ensure_ascii=False) + "\n")
    return Counter()


def _lines(tree: Tree, name: str) -> Iterator[str]:
    with text(tree, name) as file:
        yield from iter(lambda: file.readline(LONGEST_LINE), "")


def _face(tree: Tree, table: str, where: str, line: str) -> Record | Problem:
    try:
        row = json_in(line)
        image = row.get("file_name") or row.get("image")
        file = find(tree, image, table) if isinstance(image, str) else None
        if file is None:
            return Problem(where, f"There is a label for {str(image)[:200]}, but no such picture.")
        points = _plain(row.get("landmarks"))
        return Record(
            file, lambda: tree.read(file), _said(row, tree.name), row.get("group") or None, _split(row, table),
            box_in(row["box"]) if row.get("box") else None, points_in(points) if points else None,
        )  # fmt: skip
    except ValueError as error:
        return Problem(where, str(error))
    except (TypeError, AttributeError, KeyError):
        return Problem(where, "It is not an object with file_name and label.")


def _said(row: dict, table: str) -> tuple[Said, ...]:
    given = _plain(row.get("annotators"))
    if given:
        return tuple(Said.read(**one) for one in given)
    votes, label = row.get("votes"), row.get("label")
    if label in (None, ""):
        return ()
    if isinstance(votes, list) and len(votes) == len(LABELS):
        votes = dict(zip(LABELS, votes, strict=True))
    return (Said.read(table, label, votes=votes),)


def _split(row: dict, table: str) -> str | None:
    """What the row says; where it is silent, the folder of its table."""
    return side_called(row["split"]) if "split" in row else side_called(PurePosixPath(table).parent.name)


def _plain(value: object) -> object:
    """`value`, read as JSON where it is a string."""
    return json_in(value) if isinstance(value, str) and value else value


def _row(name: str, record: Record) -> dict:
    votes = record.votes()
    return {
        "file_name": name, "label": record.label() or "", "votes": [votes.get(label, 0) for label in LABELS],
        "annotators": json.dumps([asdict(one) for one in record.said], ensure_ascii=False) if record.said else "",
        "group": record.group or "", "split": record.split or "", "box": [float(value) for value in record.box],
        "landmarks": json.dumps(record.landmarks) if record.landmarks else "",
    }  # fmt: skip
