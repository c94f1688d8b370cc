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

# What copies of the app tell each other through a repository on the Hub: labeling/sync.py. A row of consents, items,
# judgements and trust stands in `outbox` until it is on the Hub; from then on it is `carried` by a file there.
_SYNC = """
ALTER TABLE items ADD COLUMN uid TEXT;  -- the name of the face on all copies; 32 hexadecimal digits drawn at random
UPDATE items SET uid = lower(hex(randomblob(16)));
CREATE UNIQUE INDEX items_uid ON items (uid);
CREATE TRIGGER items_named AFTER INSERT ON items WHEN new.uid IS NULL BEGIN
    UPDATE items SET uid = lower(hex(randomblob(16))) WHERE id = new.id;
END;
CREATE TABLE aliases (            -- what other copies call a face that is here: the same picture under the same consent
    uid TEXT PRIMARY KEY, item INTEGER NOT NULL REFERENCES items (id)
) WITHOUT ROWID;
CREATE INDEX aliases_item ON aliases (item);
CREATE TABLE outbox (             -- rows that are not on the Hub
    kind TEXT NOT NULL CHECK (kind IN ('consent', 'item', 'judgement', 'trust')), row INTEGER NOT NULL,
    bulk INTEGER NOT NULL,        -- 1: an import brought it; what people give goes first
    file TEXT,                    -- the batch it goes out in, named before it is sent; NULL: none yet
    PRIMARY KEY (kind, row)
) WITHOUT ROWID;
CREATE INDEX outbox_file ON outbox (file) WHERE file IS NOT NULL;
CREATE TABLE files (              -- batches on the Hub
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL,
    sure INTEGER NOT NULL,        -- 0: it was sent, and no answer came
    tainted INTEGER NOT NULL DEFAULT 0  -- 1: it holds something that was withdrawn
);
CREATE TABLE carried (            -- which rows are in which file; 'alias': the item under another copy's name for it
    kind TEXT NOT NULL, row INTEGER NOT NULL, file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    PRIMARY KEY (kind, row, file)
) WITHOUT ROWID;
CREATE INDEX carried_file ON carried (file);
CREATE TABLE gone (               -- what was withdrawn on any copy: uids of faces, hashes of the hashes of codes
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE, at TEXT NOT NULL,
    told INTEGER NOT NULL         -- whether the other copies know, or need not
);
CREATE TABLE orphans (            -- judgements that came before the face, or the judgement, they are about
    needs TEXT NOT NULL, record TEXT NOT NULL, file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    PRIMARY KEY (needs, record)
) WITHOUT ROWID;
CREATE INDEX orphans_file ON orphans (file);
CREATE TABLE hub (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER consents_wait AFTER INSERT ON consents BEGIN
    INSERT INTO outbox (kind, row, bulk) VALUES ('consent', new.id, 0);
END;
CREATE TRIGGER items_wait AFTER INSERT ON items BEGIN
    INSERT INTO outbox (kind, row, bulk) VALUES ('item', new.id, new.name IS NOT NULL);
END;
CREATE TRIGGER judgements_wait AFTER INSERT ON judgements BEGIN
    INSERT INTO outbox (kind, row, bulk) VALUES ('judgement', new.id, substr(new.request, 1, 7) = 'import:');
END;
CREATE TRIGGER consents_leave AFTER DELETE ON consents BEGIN
    UPDATE files SET tainted = 1 WHERE id IN (SELECT file FROM carried WHERE kind = 'consent' AND row = old.id);
    DELETE FROM carried WHERE kind = 'consent' AND row = old.id;
    DELETE FROM outbox WHERE kind = 'consent' AND row = old.id;
END;
CREATE TRIGGER judgements_leave AFTER DELETE ON judgements BEGIN
    UPDATE files SET tainted = 1 WHERE id IN (SELECT file FROM carried WHERE kind = 'judgement' AND row = old.id);
    DELETE FROM carried WHERE kind = 'judgement' AND row = old.id;
    DELETE FROM outbox WHERE kind = 'judgement' AND row = old.id;
END;
CREATE TRIGGER items_leave BEFORE DELETE ON items BEGIN
    INSERT OR IGNORE INTO gone (name, at, told) SELECT uid, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
        NOT EXISTS (SELECT 1 FROM carried WHERE kind IN ('item', 'alias') AND row = old.id)
        FROM (SELECT old.uid AS uid UNION ALL SELECT uid FROM aliases WHERE item = old.id);
    UPDATE files SET tainted = 1 WHERE id IN (SELECT file FROM carried WHERE kind IN ('item', 'alias') AND row = old.id);
    DELETE FROM carried WHERE kind IN ('item', 'alias') AND row = old.id;
    DELETE FROM outbox WHERE kind = 'item' AND row = old.id;
    DELETE FROM aliases WHERE item = old.id;
END;
CREATE TRIGGER tainted_files_are_not_sent AFTER UPDATE OF tainted ON files WHEN new.tainted AND NOT old.tainted BEGIN
    UPDATE outbox SET file = NULL WHERE file = new.name;
END;
CREATE TRIGGER gone_orphans AFTER INSERT ON gone BEGIN
    UPDATE files SET tainted = 1 WHERE id IN (SELECT file FROM orphans WHERE needs = new.name);
    DELETE FROM orphans WHERE needs = new.name;
END;
INSERT INTO outbox (kind, row, bulk) SELECT 'consent', id, 0 FROM consents;
INSERT INTO outbox (kind, row, bulk) SELECT 'item', id, name IS NOT NULL FROM items;
INSERT INTO outbox (kind, row, bulk) SELECT 'judgement', id, substr(request, 1, 7) = 'import:' FROM judgements;
"""

# Whose labels training may use: labeling/trust.py. A name that is not here came with an import or from people at home. Its
# rows go to the Hub too: on a Space nothing else remembers who is new and whom the owner released.
_TRUST = """
CREATE TABLE trust (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    contributor TEXT NOT NULL UNIQUE, -- the annotator's name; of a visitor with "#" and the first 16 letters of consents.code
    standing TEXT NOT NULL CHECK (standing IN ('new', 'held', 'trusted', 'owner')),
    "by" TEXT NOT NULL,           -- who said so
    at TEXT NOT NULL              -- UTC; of who is new: since when, '' for all labels under that name
);
CREATE TRIGGER trust_waits AFTER INSERT ON trust BEGIN
    INSERT OR IGNORE INTO outbox (kind, row, bulk) VALUES ('trust', new.id, 0);
END;
CREATE TRIGGER trust_waits_again AFTER UPDATE ON trust BEGIN
    INSERT OR REPLACE INTO outbox (kind, row, bulk) VALUES ('trust', new.id, 0);
END;
CREATE TRIGGER trust_leaves AFTER DELETE ON trust BEGIN
    UPDATE files SET tainted = 1 WHERE id IN (SELECT file FROM carried WHERE kind = 'trust' AND row = old.id);
    DELETE FROM carried WHERE kind = 'trust' AND row = old.id;
    DELETE FROM outbox WHERE kind = 'trust' AND row = old.id;
END;
CREATE TRIGGER trust_withdrawn AFTER DELETE ON consents WHEN old.code IS NOT NULL BEGIN
    DELETE FROM trust WHERE substr(contributor, -17) = '#' || substr(old.code, 1, 16);
END;
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _SYNC + _TRUST)  # number n brings a file from version n - 1 to version n


class NewerSchema(ValueError):
    """The file was written by a newer version of this program; the message is a sentence."""


def migrate(connection: sqlite3.Connection, path: Path, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Apply to the file at `path`, open as `connection`, what it lacks of `migrations`.

    Each is applied together with its number, in one transaction, after a backup beside the file
    (``labels.db.before-2``; none of a file that is new). Raises NewerSchema, having touched nothing.
    """
    if version(connection) > len(migrations):
        raise NewerSchema(
            f"{path.name} was written by a newer version of Expression Studio (schema {version(connection)}, this one "
            f"knows {len(migrations)}); update Expression Studio or choose another --workspace. Nothing was changed."
        )
    found = version(connection)
    for number in range(found + 1, len(migrations) + 1):
        if found > 0:
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
    return in_words(dt.datetime.now(dt.timezone.utc))


def in_words(moment: dt.datetime) -> str:
    """A moment that knows its zone, as the tables keep it."""
    return moment.astimezone(dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
