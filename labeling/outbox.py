"""What is on this disk and not yet on the Hub: which rows wait, what goes out together, and when they may leave.

A row leaves once the file that carries it is known to be on the Hub, and comes back when that file is there no
more; so whatever happens to the repository, nothing is lost that is on this disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from labeling import records
from labeling.batches import new_name

_TABLES = {"consent": "consents", "item": "items", "judgement": "judgements", "trust": "trust"}
_ROWS = """
    SELECT o.kind, o.row, o.bulk, CASE o.kind WHEN 'item' THEN o.row
           WHEN 'judgement' THEN (SELECT item FROM judgements WHERE id = o.row) END AS item FROM outbox AS o"""


@dataclass(frozen=True)
class Sizes:
    """How much goes into a batch and a commit."""

    faces: int = 500  # faces, or other things that hang together, in a batch
    bytes: int = 20_000_000  # of pictures in a batch
    files: int = 100  # batches in a commit
    commit_faces: int = 10_000  # in a commit: nobody who labels waits while they are chosen
    commit_bytes: int = 60_000_000  # of pictures in a commit: what people give must not wait behind a long upload


@dataclass
class Parcel:
    """The rows of a batch: `lines` to send, the `images` they name, and what stays behind as `rows` (kind, row)."""

    lines: list[dict] = field(default_factory=list)
    images: set[str] = field(default_factory=set)
    rows: list[tuple[str, int]] = field(default_factory=list)


def is_empty(connection: sqlite3.Connection, left_out: Collection[int] = ()) -> bool:
    """Whether every row is on the Hub, but for those of the items `left_out`."""
    if not left_out:
        return connection.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is None
    return all(row["item"] in left_out for row in connection.execute(_ROWS))


def waiting(connection: sqlite3.Connection) -> int:
    """How many labels, and faces without one, are not on the Hub."""
    query = """SELECT (SELECT count(*) FROM outbox WHERE kind = 'judgement') + (SELECT count(*) FROM outbox AS o
               WHERE kind = 'item' AND NOT EXISTS (SELECT 1 FROM judgements WHERE item = o.row))"""
    return connection.execute(query).fetchone()[0]


def people_wait(connection: sqlite3.Connection) -> bool:
    """Whether something waits that no import brought."""
    return connection.execute("SELECT 1 FROM outbox WHERE bulk = 0 LIMIT 1").fetchone() is not None


# --- going out ----------------------------------------------------------------------------------


def named(connection: sqlite3.Connection) -> list[str]:
    """The batches that have a name already: they were to be sent before, and no answer came."""
    return [row[0] for row in connection.execute("SELECT DISTINCT file FROM outbox WHERE file IS NOT NULL ORDER BY file")]


def name_batches(
    connection: sqlite3.Connection, origin: str, sizes: Sizes, weight: Callable[[int], int], left_out: Collection[int] = ()
) -> list[str]:
    """The batches of the next commit: the rows that wait get the name of one, those of people first.

    `weight` gives the bytes of the picture of an item; the items `left_out` cannot be sent now.
    """
    names = named(connection)
    count = room = total = faces = 0
    for unit, item in _units(connection, set(left_out)):
        if faces >= sizes.commit_faces:
            break
        size, faces = 0 if item is None else weight(item), faces + 1
        if not names or not room or count >= sizes.faces or room + size > sizes.bytes:
            if len(names) >= sizes.files or total + size > sizes.commit_bytes and names:
                break
            names.append(new_name(origin, len(names)))
            count, room = 0, 1
        connection.executemany("UPDATE outbox SET file = ? WHERE kind = ? AND row = ?", [(names[-1], *one) for one in unit])
        count, room, total = count + 1, room + size, total + size
    return names


def _units(connection: sqlite3.Connection, left_out: set[int]) -> Iterator[tuple[list[tuple[str, int]], int | None]]:
    """What must go together: the rows of one item; that an import brought it does not keep a person's label waiting."""
    rows = connection.execute(f"{_ROWS} WHERE o.file IS NULL ORDER BY o.bulk, item, o.kind, o.row").fetchall()
    taken: set[tuple[str, int]] = set()
    imported = {row["item"] for row in rows if row["kind"] == "item" and row["bulk"]}
    for (_, item), group in groupby(rows, lambda row: (row["bulk"], row["item"])):
        unit = [(row["kind"], row["row"]) for row in group]
        if item is None:  # agreements, and how contributors stand
            yield unit, None
            continue
        if item in left_out:
            continue
        if item in imported and ("item", item) not in unit:
            unit.append(("item", item))
        unit = [one for one in unit if one not in taken]
        taken.update(unit)
        if unit:
            yield unit, item


def parcel(connection: sqlite3.Connection, name: str) -> Parcel:
    """What the batch `name` holds; rows that were withdrawn meanwhile have left it."""
    made = Parcel(rows=[tuple(row) for row in connection.execute("SELECT kind, row FROM outbox WHERE file = ?", (name,))])
    agreements: dict[str, dict] = {}

    def consent(number: int | None) -> str | None:
        if number is None:
            return None
        row = connection.execute("SELECT * FROM consents WHERE id = ?", (number,)).fetchone()
        called = records.consent_name(row["code"], row["purpose"])
        agreements[called] = records.of_consent(row)
        return called

    for kind, number in sorted(made.rows, key=lambda one: (list(_TABLES).index(one[0]), one[1])):
        row = _row(connection, kind, number)
        if row is None:
            continue
        if kind == "consent":
            consent(number)
        elif kind == "item":
            made.lines.append(records.of_item(row, consent(row["consent"])))
            made.images |= {row["image"]} - {None}
        elif kind == "judgement":
            made.lines.append(records.of_judgement(row, consent(row["consent"])))
        else:
            made.lines.append(records.of_trust(row))
    made.lines[:0] = agreements.values()
    return made


def _row(connection: sqlite3.Connection, kind: str, number: int) -> sqlite3.Row | None:
    if kind == "judgement":
        query = """SELECT j.*, i.uid, u.request AS undone FROM judgements AS j JOIN items AS i ON i.id = j.item
                   LEFT JOIN judgements AS u ON u.id = j.undoes WHERE j.id = ?"""
        return connection.execute(query, (number,)).fetchone()
    return connection.execute(f"SELECT * FROM {_TABLES[kind]} WHERE id = ?", (number,)).fetchone()


def sent(connection: sqlite3.Connection, name: str, sha256: str, rows: Iterable[tuple[str, int]]) -> None:
    """Note that `rows` go out now as the file `name`: from here on it may be on the Hub, whatever answer comes."""
    connection.execute(
        "INSERT INTO files (name, sha256, sure) VALUES (?, ?, 0) ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256",
        (name, sha256),
    )
    (file,) = connection.execute("SELECT id FROM files WHERE name = ?", (name,)).fetchone()
    connection.executemany("INSERT OR IGNORE INTO carried (kind, row, file) VALUES (?, ?, ?)", [(*one, file) for one in rows])


# --- on the Hub ---------------------------------------------------------------------------------


def arrived(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """The files `names` are on the Hub: what they carry leaves the outbox."""
    for name in names:
        connection.execute("DELETE FROM outbox WHERE file = ?", (name,))
        connection.execute("UPDATE files SET sure = 1 WHERE name = ?", (name,))


def confirm(connection: sqlite3.Connection, present: dict[str, str | None]) -> list[str]:
    """Of the files that no answer came for, those that are `present` (name: SHA-256) on the Hub after all."""
    unsure = connection.execute("SELECT name, sha256 FROM files WHERE NOT sure").fetchall()
    found = [name for name, sha256 in unsure if name in present and present[name] in (None, sha256)]
    arrived(connection, found)
    return found


def known(connection: sqlite3.Connection) -> set[str]:
    """The files that are on the Hub and were read here, or sent from here."""
    return {row[0] for row in connection.execute("SELECT name FROM files WHERE sure")}


def missed(connection: sqlite3.Connection, present: Collection[str]) -> int:
    """Forget files that are not `present` on the Hub any more; what no other file carries waits again. How many rows."""
    gone = [row for row in connection.execute("SELECT id, name FROM files WHERE sure").fetchall() if row["name"] not in present]
    back = 0
    alone = """c.file = ? AND NOT EXISTS
               (SELECT 1 FROM carried AS o WHERE o.kind = c.kind AND o.row = c.row AND o.file <> c.file)"""
    for file, _ in gone:
        for kind, table in _TABLES.items():
            query = f"""INSERT OR IGNORE INTO outbox (kind, row, bulk) SELECT c.kind, c.row, {_BULK[kind]} FROM carried AS c
                        JOIN {table} AS t ON t.id = c.row WHERE c.kind = '{kind}' AND {alone}"""
            back += connection.execute(query, (file,)).rowcount
        untold = f"SELECT c.row FROM carried AS c WHERE c.kind = 'gone' AND {alone}"
        connection.execute(f"UPDATE gone SET told = 0 WHERE id IN ({untold})", (file,))
        connection.execute("DELETE FROM files WHERE id = ?", (file,))
    return back


_BULK = {"consent": "0", "item": "t.name IS NOT NULL", "judgement": "substr(t.request, 1, 7) = 'import:'", "trust": "0"}


# --- notes --------------------------------------------------------------------------------------


def note(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Keep `value` as `key`."""
    connection.execute("INSERT OR REPLACE INTO hub (key, value) VALUES (?, ?)", (key, value))


def noted(connection: sqlite3.Connection, key: str) -> str | None:
    """What was kept as `key`."""
    row = connection.execute("SELECT value FROM hub WHERE key = ?", (key,)).fetchone()
    return row and row["value"]
