"""Tables as comma-separated text: rows with their number, and cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from labeling.tree import Tree, TreeError

DELIMITERS = ",;\t"
LONGEST_HEADER = 100_000  # letters
# What a spreadsheet takes for the begin of a formula (owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
_QUOTE = "'"


def rows(tree: Tree, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of the table `name` that are not empty, each with its number, 1 for the first. Raises TreeError."""
    with text(tree, name) as file:
        try:
            first = file.readline(LONGEST_HEADER)
            file.seek(0)
            delimiter = max(DELIMITERS, key=first.count)
            yield from ((number, row) for number, row in enumerate(csv.reader(file, delimiter=delimiter), 1) if row)
        except (UnicodeDecodeError, csv.Error) as error:
            raise TreeError(f"{name} is not a table in UTF-8 text; save it as CSV in UTF-8.") from error


def header(tree: Tree, name: str) -> list[str]:
    """The first row of the table `name` in lower case; empty where it is none."""
    try:
        return [cell.strip().lower() for cell in next(rows(tree, name), (1, []))[1]]
    except TreeError:
        return []


def text(tree: Tree, name: str) -> io.TextIOWrapper:
    """The file `name` as UTF-8 text, its mark of byte order left out. Raises TreeError."""
    return io.TextIOWrapper(tree.open(name), encoding="utf-8-sig", newline="")


def quoted(cell: str) -> str:
    """`cell` so that a spreadsheet shows it and does not run it."""
    return _QUOTE + cell if cell.startswith((*_FORMULA, _QUOTE)) else cell


def unquoted(cell: str) -> str:
    """What `quoted` was given."""
    return cell[1:] if cell.startswith(_QUOTE) and cell[1:].startswith((*_FORMULA, _QUOTE)) else cell
