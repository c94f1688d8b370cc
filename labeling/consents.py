"""Agreement to keep a face, with its date and purpose, and its withdrawal by a code that only the person holds."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3

from labeling.items import UnknownItem
from labeling.schema import now

# What people agree to before their first contribution; kept word by word with their agreement.
PURPOSE = (
    "The faces you correct are kept by whoever runs this app, here and in private storage of theirs, with your label and "
    "what the model said, to improve the model that names the expression a face shows. People who label here will see "
    "them. No name is attached to a face but the one you label under, and nothing is used to recognise anybody. With "
    "your withdrawal code you can have all of it removed at any time."
)
# Added to it where the labels also go to a repository on the Hub.
PURPOSE_ON_HUB = (
    "So that nothing is lost when this server is restarted, all of it is also kept in the private repository {repository} on "
    "the Hugging Face Hub; what you withdraw is deleted there too."
)
CODE_LENGTH = 16  # letters and digits of a code, at least: beyond guessing when drawn at random
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike


def purpose(repository: str | None = None) -> str:
    """What people agree to, where the labels also go to `repository` on the Hub, or nowhere else."""
    return PURPOSE if repository is None else f"{PURPOSE} {PURPOSE_ON_HUB.format(repository=repository)}"


def new_code() -> str:
    """A withdrawal code drawn at random: 80 bits as four groups of four."""
    drawn = [secrets.choice(_LETTERS) for _ in range(CODE_LENGTH)]
    return "-".join("".join(drawn[at : at + 4]) for at in range(0, CODE_LENGTH, 4))


def code_hash(code: str) -> str:
    """What is kept of a code: the SHA-256 of its letters and digits. Raises ValueError for a short code."""
    letters = "".join(one for one in str(code).upper() if one.isalnum())
    if len(letters) < CODE_LENGTH:
        raise ValueError(f"A withdrawal code has at least {CODE_LENGTH} letters and digits; copy all of it.")
    return hashlib.sha256(letters.encode()).hexdigest()


def agree(connection: sqlite3.Connection, code: str | None, purpose: str) -> int:
    """The agreement of whoever holds `code`, recorded now if it is new; its id.

    Without a code, agreement was taken elsewhere: one record for all such contributions to `purpose`.
    """
    kept = None if code is None else code_hash(code)
    row = connection.execute(
        "SELECT id FROM consents WHERE code IS ? AND (code IS NOT NULL OR purpose = ?)", (kept, purpose)
    ).fetchone()
    if row:
        return row["id"]
    query = "INSERT INTO consents (code, purpose, agreed_at) VALUES (?, ?, ?)"
    return connection.execute(query, (kept, purpose, now())).lastrowid


def mark_of(kept: str) -> str:
    """What remains of a code after its withdrawal, from what was kept of it (or the 16 letters that the table `trust`
    names a visitor by): enough to know it again, and no more."""
    return hashlib.sha256(f"withdrawn {kept}".encode()).hexdigest()


def withdraw(connection: sqlite3.Connection, code: str) -> int:
    """Delete all rows contributed under `code`; how many faces. Their pictures stand in `doomed` until removed.

    What remains is the number of each face, its random name, and the time. Raises UnknownItem where nothing is kept
    under `code`.
    """
    row = connection.execute("SELECT id FROM consents WHERE code = ?", (code_hash(code),)).fetchone()
    if row is None:
        raise UnknownItem("Nothing is kept under this code; it was mistyped, or all was withdrawn before.")
    kept = code_hash(code)
    connection.executemany(
        "INSERT INTO gone (name, at, told) VALUES (?, ?, 0) ON CONFLICT (name) DO UPDATE SET at = excluded.at, told = 0",
        [(mark_of(kept), now()), (mark_of(kept[:16]), now())],
    )
    return end(connection, row["id"])


def end(connection: sqlite3.Connection, consent: int) -> int:
    """Delete the consent number `consent` and all that was given under it; how many faces."""
    items = connection.execute("SELECT id FROM items WHERE consent = ?", (consent,)).fetchall()
    gone = remove(connection, [item["id"] for item in items])
    connection.execute("DELETE FROM consents WHERE id = ?", (consent,))
    connection.execute("INSERT INTO untidy VALUES (?)", (now(),))
    return gone


def remove(connection: sqlite3.Connection, items: list[int]) -> int:
    """Delete the rows of `items` and all judgements on them; how many. Their pictures stand in `doomed` until removed."""
    theirs = (json.dumps(items),)
    listed = "(SELECT value FROM json_each(?))"
    connection.execute(
        f"INSERT OR IGNORE INTO doomed SELECT image FROM items AS i WHERE id IN {listed} AND image IS NOT NULL AND NOT EXISTS "
        f"(SELECT 1 FROM items WHERE image = i.image AND id NOT IN {listed})", theirs * 2
    )  # fmt: skip
    connection.execute(f"INSERT OR IGNORE INTO withdrawn SELECT id, ? FROM items WHERE id IN {listed}", (now(), *theirs))
    connection.execute(f"DELETE FROM standing WHERE item IN {listed}", theirs)
    connection.execute(f"DELETE FROM judgements WHERE item IN {listed}", theirs)
    gone = connection.execute(f"DELETE FROM items WHERE id IN {listed}", theirs).rowcount  # scores go along
    connection.execute("INSERT INTO untidy VALUES (?)", (now(),))
    return gone
