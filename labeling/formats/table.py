"""Any table that names pictures: a row per face and annotator, columns under the names that people give them.

Written by this module it holds all that is known of a face; cells that a spreadsheet would run are quoted.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from labeling.formats.names import Names
from labeling.formats.records import Box, Points, Problem, Record, Said, box_in, json_in, points_in, side_called
from labeling.formats.rows import header, quoted, rows, unquoted
from labeling.tree import Tree, TreeError, find

TABLE, IMAGES = "labels.csv", "images"
IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_path")
LABEL_COLUMNS = ("label", "expression", "emotion", "class")
BOX_COLUMNS = ("left", "top", "right", "bottom")
COLUMNS = ("image", "label", "second", "annotator", "votes", "at", "split", "group", *BOX_COLUMNS, "landmarks")
READY_MADE = False


def fits(tree: Tree) -> bool:
    """Whether `tree` holds a table with a column of pictures and one of labels."""
    return any(_is_table(tree, name) for name in tree.names())


def read(tree: Tree) -> Iterator[Record | Problem]:
    """The faces with what was said of them, neighbouring rows of one picture together; other rows as problems."""
    for name in tree.names():
        if _is_table(tree, name):
            try:
                for image, same in groupby(_named_rows(tree, name), key=lambda one: one[1].get("image", "")):
                    yield from _face(tree, name, image, list(same))
            except TreeError as error:
                yield Problem(name, str(error))


def write(records: Iterable[Record], folder: Path) -> Counter[str]:
    """Write the faces as they are, a row per judgement; without pixels the image stays empty. Nothing is left out."""
    names = Names()
    (folder / IMAGES).mkdir()
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for record in records:
            image = ""
            if record.content is not None:
                image = f"{IMAGES}/{names.free(record.name)}"
                (folder / image).write_bytes(record.content())
            table.writerows({"image": image, **_cells(record), **_words(one)} for one in record.said or (None,))
    return Counter()


# --- reading ------------------------------------------------------------------------------------


def _is_table(tree: Tree, name: str) -> bool:
    if not name.lower().endswith((".csv", ".tsv", ".txt")):
        return False
    columns = header(tree, name)
    return any(one in columns for one in IMAGE_COLUMNS) and any(one in columns for one in LABEL_COLUMNS)


def _named_rows(tree: Tree, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of the table `name` by our names of the columns, unquoted, each with its number."""
    columns = header(tree, name)
    for ours, theirs in (("image", IMAGE_COLUMNS), ("label", LABEL_COLUMNS)):
        columns[columns.index(next(one for one in theirs if one in columns))] = ours
    for number, row in rows(tree, name):
        if number > 1:
            yield number, {column: unquoted(cell).strip() for column, cell in zip(columns, row, strict=False)}


def _face(tree: Tree, table: str, image: str, same: list[tuple[int, dict[str, str]]]) -> Iterator[Record | Problem]:
    """The face that the rows `same` speak of, and the rows that cannot be used."""
    file = find(tree, image, beside=table) if image else None
    if file is None:
        sentence = (
            f"There is a label for {image[:200]}, but no such picture." if image else "A label without a picture."
        )
        yield from (Problem(f"{table} row {number}", sentence) for number, _ in same)
        return
    good, said = [], []
    for number, row in same:
        try:
            said += _said(row, tree.name)
            good.append((row, _box(row), _points(row)))
        except ValueError as error:
            yield Problem(f"{table} row {number}: {image}", str(error))
    if good:
        row, box, points = good[0]
        side = side_called(row.get("split"))
        yield Record(file, lambda: tree.read(file), tuple(said), row.get("group") or None, side, box, points)


def _said(row: dict[str, str], table: str) -> list[Said]:
    votes = json_in(row["votes"]) if row.get("votes") else None
    if not row.get("label"):
        return []
    return [Said.read(row.get("annotator") or table, row["label"], row.get("second"), votes, row.get("at"))]


def _box(row: dict[str, str]) -> Box | None:
    cells = [row.get(column) for column in BOX_COLUMNS]
    return box_in(cells) if all(cells) else None


def _points(row: dict[str, str]) -> Points | None:
    return points_in(json_in(row["landmarks"])) if row.get("landmarks") else None


# --- writing ------------------------------------------------------------------------------------


def _cells(record: Record) -> dict[str, object]:
    """What is written of a face in each of its rows."""
    return {
        "split": record.split or "", "group": quoted(record.group or ""),
        **dict(zip(BOX_COLUMNS, record.box or [""] * 4, strict=True)),
        "landmarks": json.dumps(record.landmarks) if record.landmarks else "",
    }  # fmt: skip


def _words(said: Said | None) -> dict[str, object]:
    """What is written of a judgement; nothing of none."""
    if said is None:
        return {}
    return {
        "label": said.label, "second": said.second or "", "annotator": quoted(said.annotator),
        "votes": json.dumps(said.votes) if said.votes else "", "at": said.at or "",
    }  # fmt: skip
