"""The tables of ``labels.db``, as numbered migrations: `migrate` brings a file to the newest.

A judgement is never changed; undoing is a judgement too. `standing` follows from the judgements and is
kept beside them, in the same transaction, because every screen asks for it. Ids are not used twice.
"""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
from contextlib import closing
from pathlib import Path

_FIRST = """
CREATE TABLE consents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    code TEXT UNIQUE,             -- SHA-256 of the withdrawal code; NULL: agreement was taken elsewhere
    purpose TEXT NOT NULL,        -- the words that were agreed to
    agreed_at TEXT NOT NULL       -- UTC, as all times here: 2026-11-21T08:00:00.000Z
);
CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    image TEXT,                   -- SHA-256 of the PNG in images/; NULL: label and scores only
    width INTEGER, height INTEGER,
    box TEXT, landmarks TEXT,     -- JSON, in pixels of the image
    fingerprint INTEGER,          -- perceptual hash, 64 bits
    twin INTEGER REFERENCES items (id) ON DELETE SET NULL,  -- the first of its near-duplicates
    source TEXT NOT NULL,         -- photo, live, api, or the name of an import
    name TEXT,                    -- of the file it came from, inside its set; NULL for what visitors give
    split TEXT CHECK (split IN ('train', 'val', 'test')),  -- the side its set gave it; NULL: by a hash of the group
    "group" TEXT NOT NULL,        -- one clip, person or photo: never divided between training and test
    consent INTEGER REFERENCES consents (id),
    added_at TEXT NOT NULL
);
CREATE UNIQUE INDEX items_once ON items (image, ifnull(consent, 0)) WHERE image IS NOT NULL;
CREATE INDEX items_consent ON items (consent) WHERE consent IS NOT NULL;
CREATE INDEX items_twin ON items (twin) WHERE twin IS NOT NULL;
CREATE TABLE judgements (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request TEXT NOT NULL UNIQUE, -- the same request twice is one judgement
    item INTEGER NOT NULL REFERENCES items (id),
    annotator TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('label', 'skip', 'undo')),
    label TEXT, second TEXT,      -- names of labels; second: the expression also shown
    votes TEXT,                   -- JSON {label: count} where an import brings the votes of several people
    undoes INTEGER REFERENCES judgements (id),
    suggested INTEGER NOT NULL,   -- whether the person had seen the model's answer
    model TEXT, probabilities BLOB, -- what the model said, float32 (8,)
    consent INTEGER REFERENCES consents (id),
    at TEXT NOT NULL
);
CREATE INDEX judgements_item ON judgements (item, annotator);
CREATE INDEX judgements_undoes ON judgements (undoes) WHERE undoes IS NOT NULL;
CREATE INDEX judgements_consent ON judgements (consent) WHERE consent IS NOT NULL;
CREATE TRIGGER judgements_stay BEFORE UPDATE ON judgements BEGIN
    SELECT raise(ABORT, 'judgements are never changed');
END;
CREATE TRIGGER judgements_are_new BEFORE INSERT ON judgements
    WHEN EXISTS (SELECT 1 FROM judgements WHERE id = new.id OR request = new.request) BEGIN
    SELECT raise(ABORT, 'judgements are never replaced');
END;
CREATE TABLE withdrawn (item INTEGER PRIMARY KEY, at TEXT NOT NULL); -- all that remains
CREATE TABLE doomed (image TEXT PRIMARY KEY);  -- withdrawn, file still to be removed
CREATE TABLE untidy (since TEXT NOT NULL);      -- a withdrawal whose last traces are still to be removed
CREATE TRIGGER judgements_remain BEFORE DELETE ON judgements
    WHEN NOT EXISTS (SELECT 1 FROM withdrawn WHERE item = old.item) BEGIN
    SELECT raise(ABORT, 'judgements are deleted by a withdrawal only');
END;
CREATE TABLE standing (           -- the judgement of each person on each item that counts now
    item INTEGER NOT NULL REFERENCES items (id), annotator TEXT NOT NULL,
    judgement INTEGER NOT NULL REFERENCES judgements (id),
    label TEXT, votes TEXT,       -- as in the judgement; both NULL: skipped
    PRIMARY KEY (item, annotator)
) WITHOUT ROWID;
CREATE INDEX standing_annotator ON standing (annotator, label);
CREATE INDEX standing_label ON standing (label);
CREATE INDEX standing_judgement ON standing (judgement);
CREATE TABLE scores (             -- the newest reading of each item by a model
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    item INTEGER NOT NULL UNIQUE REFERENCES items (id) ON DELETE CASCADE,
    model TEXT NOT NULL, probabilities BLOB NOT NULL, features BLOB NOT NULL, at TEXT NOT NULL
);
CREATE INDEX scores_model ON scores (model);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST,)  # number n brings a file from version n - 1 to version n


class NewerSchema(ValueError):
    """The file was written by a newer version of this program; the message is a sentence."""


def migrate(connection: sqlite3.Connection, path: Path, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Apply to the file at `path`, open as `connection`, what it lacks of `migrations`.

    Each is applied together with its number, in one transaction, after a backup beside the file
    (``labels.db.before-2``; none before the first). Raises NewerSchema, having touched nothing.
    """
    if version(connection) > len(migrations):
        raise NewerSchema(
            f"{path.name} was written by a newer version of Expression Studio (schema {version(connection)}, this one "
            f"knows {len(migrations)}); update Expression Studio or choose another --workspace. Nothing was changed."
        )
    for number in range(version(connection) + 1, len(migrations) + 1):
        if number > 1:
            backup(connection, path.with_name(f"{path.name}.before-{number}"), number - 1)
        _apply(connection, number, migrations[number - 1])


def version(connection: sqlite3.Connection) -> int:
    """How many migrations the file has seen; 0 for an empty one."""
    return connection.execute("PRAGMA user_version").fetchone()[0]


def backup(connection: sqlite3.Connection, target: Path, number: int) -> None:
    """A copy of the whole database as the file `target`, put there in one step; none if it is not at version `number`."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        connection.execute("VACUUM INTO ?", (str(partial),))
        with closing(sqlite3.connect(partial)) as copy:
            as_it_was = version(copy) == number  # another process may have migrated it meanwhile, and made the backup
        if as_it_was:
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def backups(path: Path) -> list[Path]:
    """The copies that `migrate` made of the file at `path`."""
    return sorted(path.parent.glob(f"{path.name}.before-*"))


def now() -> str:
    """The time as the tables keep it: UTC, to the millisecond."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _apply(connection: sqlite3.Connection, number: int, migration: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version(connection) < number:  # another process may have been faster
            for statement in _statements(migration):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """The statements of `script`; `executescript` would commit before the first."""
    found, rest = [], ""
    for piece in script.split(";"):
        rest += piece + ";"
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found
