"""Whose labels training may use: `weigh` holds back those of newcomers, and lets no single contributor outweigh the rest.

Labels from an app that others reach come from people nobody knows. A visitor's labels, and those of a new name, are
held: kept, shown, but in no snapshot, until an owner says the same of the face, or two people do who are known here;
or until the owner releases the contributor. Newcomers do not vouch for each other, so ten names of one person are worth
no more than one. Who was agreed with often enough is no newcomer any more. Even then nobody but owners gives more than a
share of what training is given. Labels from home and from imports are the owner's own, and are never held.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Literal
from weakref import WeakKeyDictionary

from labeling.people import LONGEST_NAME, VISITOR, Caller
from labeling.schema import now
from labeling.splits import side_of
from labeling.store import LabelStore

Standing = Literal["new", "held", "trusted", "owner"]
PROVEN = 20  # labels that people who are known agreed with: no newcomer any more, where they are most of those compared
IMPORTED = "import:"  # begins the requests of what imports bring
NEEDED = 2  # voices that release a label: an owner has two, everybody else who is known one
SHARE = 0.25  # of the labels that training is given, and of those it is tested on, may be one contributor's
FLOOR = {"train": 50, "held out": 15}  # labels of one contributor that are always allowed
WAITS = "Training uses it once somebody who is known here agrees."
LONG_SECONDS = 0.25  # what takes longer is not computed with every change
_VOICES: Mapping[str | None, int] = {None: 2, "owner": 2, "trusted": 1, "new": 0, "held": 0}
_UNKNOWN = ("new", "")  # standing and since when of a visitor whom nobody decided about
# Names that begin with VISITOR, in a form that an index serves.
_VISITORS = f"annotator >= '{VISITOR}' AND annotator < '{VISITOR[:-1]}!'"


@dataclass(frozen=True)
class Contributor:
    """Somebody whose labels are looked at: `labels` stand on faces with a picture; of them `held` wait for others, `over`
    are above the share of one contributor. Of `compared` ones people who are known agreed with `agreed`."""

    key: str  # as in the table trust
    name: str
    standing: str  # new, held, trusted
    labels: int
    held: int
    over: int
    agreed: int
    compared: int

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Weighed:
    """`left_out`, the judgements that training is not given, and the contributors whose labels were looked at."""

    left_out: frozenset[int] = frozenset()
    contributors: tuple[Contributor, ...] = ()

    @property
    def held(self) -> int:
        """Labels that wait for others."""
        return sum(one.held for one in self.contributors)

    @property
    def over(self) -> int:
        """Labels above the share of one contributor."""
        return sum(one.over for one in self.contributors)


@dataclass(frozen=True)
class _Said:
    """A label of somebody whose labels are looked at."""

    judgement: int
    item: int
    label: str
    at: str
    side: str  # train, or held out
    order: str  # a hash: which ones are left out above the share


def weigh(connection: sqlite3.Connection) -> Weighed:
    """What of the labels that stand now training may use, in the transaction of `connection`."""
    rows = {row["contributor"]: (row["standing"], row["at"]) for row in connection.execute("SELECT * FROM trust")}
    visitors = connection.execute(f"SELECT 1 FROM standing WHERE {_VISITORS} LIMIT 1").fetchone()
    if not rows and visitors is None:
        return Weighed()
    said = _said(connection)
    voices = _voices(connection, {name: standing for name, (standing, _) in rows.items()})
    held: dict[str, list[_Said]] = {}
    capped: dict[str, list[_Said]] = {}
    agreed: dict[str, tuple[int, int]] = {}
    for key, labels in said.items():
        standing, since = rows.get(key, _UNKNOWN)
        vouched, compared = _vouched(key, labels, voices)
        agreed[key] = (len(vouched), compared)
        # A name that labelled at home before the app was opened keeps those labels.
        alone = [one for one in labels if one.judgement not in vouched and not (standing == "new" and one.at < since)]
        if standing == "held":
            held[key] = labels
        elif standing == "trusted" or _is_proven(key, len(vouched), compared):
            capped[key] = alone
        else:
            held[key] = alone
    waiting = {one.judgement for labels in held.values() for one in labels}
    over = _over(connection, capped, waiting)
    found = []
    for key, labels in sorted(said.items()):
        name = key.partition("#")[0] if key.startswith(VISITOR) else key
        above = sum(one.judgement in over for one in capped.get(key, ()))
        standing, _ = rows.get(key, _UNKNOWN)
        found.append(Contributor(key, name, standing, len(labels), len(held.get(key, ())), above, *agreed[key]))
    return Weighed(frozenset(waiting | over), tuple(found))


@dataclass(frozen=True)
class _Known:
    """What `weigh` found when the store was in `state`, at a time in seconds, and how long that took."""

    state: tuple
    found: Weighed
    at: float
    took: float


_known: WeakKeyDictionary[LabelStore, _Known] = WeakKeyDictionary()


def weighed(store: LabelStore) -> Weighed:
    """`weigh` on `store` for screens: computed anew when something has changed, and where that takes long (a hundred
    thousand labels of newcomers) not more often than so that it is a twentieth of the time. Raises StoreError."""
    known = _known.get(store)
    if known is not None and known.took > LONG_SECONDS and monotonic() - known.at < 20 * known.took:
        return known.found
    with store.database.reading() as connection:
        state = tuple(
            connection.execute("SELECT ifnull(max(id), 0), (SELECT count(*) FROM withdrawn) FROM judgements").fetchone()
        )
        state += tuple(map(tuple, connection.execute("SELECT contributor, standing, at FROM trust ORDER BY contributor")))
        if known is None or known.state != state:
            began, found, ended = monotonic(), weigh(connection), monotonic()
            known = _known[store] = _Known(state, found, ended, ended - began)
    return known.found


def put(connection: sqlite3.Connection, contributor: str, standing: Standing, by: str, at: str | None = None) -> None:
    """Write down how `contributor` stands; also for rows of other copies, in any order: the outcome is the same.

    Whoever is new anywhere is new since the earliest time; what an owner decided goes before that, the later decision
    before the earlier.
    """
    at = now() if at is None else at
    known = connection.execute("SELECT standing, at FROM trust WHERE contributor = ?", (contributor,)).fetchone()
    if known is not None:
        both_new = standing == known["standing"] == "new"
        if both_new and at >= known["at"] or standing == "new" and known["standing"] != "new":
            return
        if "new" not in (standing, known["standing"]) and (at, standing) <= (known["at"], known["standing"]):
            return
    # Not as one upsert: what it does on a conflict would be done by the triggers that fill the outbox, too.
    values = {"contributor": contributor, "standing": standing, "by": by, "at": at}
    if known is None:
        connection.execute(
            'INSERT INTO trust (contributor, standing, "by", at) VALUES (:contributor, :standing, :by, :at)', values
        )
    else:
        connection.execute('UPDATE trust SET standing = :standing, "by" = :by, at = :at WHERE contributor = :contributor', values)


def decide(store: LabelStore, contributor: str, release: bool, by: str) -> None:
    """Release the labels of `contributor`, or hold all of them. Raises ValueError for somebody who is not looked at."""
    with store.database.writing() as connection:
        known = {one.key: one for one in weigh(connection).contributors}
        if contributor not in known:
            raise ValueError("There is no such newcomer (any more); look at the list again.")
        if release and _is_nobody(contributor):
            raise ValueError("Anybody can send under this name, without a code; label these faces yourself instead.")
        put(connection, contributor, "trusted" if release else "held", by)


def faces_of(store: LabelStore, contributor: str, most: int) -> list[tuple[int, str]]:
    """(item, label) of the newest labels of `contributor`, of whom labels are looked at."""
    with store.database.reading() as connection:
        said = _said(connection).get(contributor, [])
    return [(one.item, one.label) for one in sorted(said, key=lambda one: -one.judgement)[:most]]


class Newcomers:
    """Notes who labels through an app that others reach."""

    def __init__(self, store: Callable[[], LabelStore]) -> None:
        self._store = store
        self._known: set[tuple[str, Standing]] = set()  # noted since the app was started

    def admit(self, caller: Caller | None, annotator: str, request: str = "") -> None:
        """Note that `caller` labels as `annotator`, before the label is kept as `request`.

        Raises ValueError where the name is that of an owner, whom the caller is not, or the request one that an import
        will make, and StoreError.
        """
        name = annotator.strip()
        if caller is None or caller.at_home or not name:
            return
        if request.startswith(IMPORTED):  # the import would then take its own judgement for one that is here already
            raise ValueError(f"A request id that begins with “{IMPORTED}” is an import's; make up another.")
        if caller.annotator(name) != name:  # the gate sees to that; without it a stranger's label would pass for one from home
            raise ValueError(f"“{name[:LONGEST_NAME]}” is not the name you label under; reload the page.")
        if caller.is_visitor:
            return
        standing: Standing = "owner" if "train" in caller.rights else "new"
        certain = standing == "owner" or caller.name is not None  # nobody else can label under that name
        if certain and (name, standing) in self._known:
            return
        with self._store().database.reading() as connection:
            known = connection.execute("SELECT standing FROM trust WHERE contributor = ?", (name,)).fetchone()
            # Labels that the name gave at home, before the app was opened, stay as good as they were.
            at_home = connection.execute("SELECT 1 FROM standing WHERE annotator = ? LIMIT 1", (name,)).fetchone()
        if not certain and known is not None and known["standing"] == "owner":
            raise ValueError(f"“{name}” is the name of somebody who runs this app; label under another.")
        if known is None or (standing == "owner" and known["standing"] != "owner"):
            with self._store().database.writing() as connection:
                put(connection, name, standing, "app", "" if standing == "new" and not at_home else None)
        if certain:
            self._known.add((name, standing))

    def may_undo(self, caller: Caller | None, request: str) -> bool:
        """Whether `caller` may take back the judgement made as `request`: their own, as far as that can be told."""
        if caller is None or caller.at_home or "own" in caller.rights:
            return True
        annotation = self._store().annotation(request)
        if annotation is None:
            return True  # there is nothing to take back, and the store says so
        if caller.name is not None:
            return annotation.annotator == caller.name
        with self._store().database.reading() as connection:
            row = connection.execute("SELECT standing, at FROM trust WHERE contributor = ?", (annotation.annotator,)).fetchone()
        return row is not None and row["standing"] != "owner" and annotation.votes is None

    def holds(self, caller: Caller | None, annotator: str) -> bool:
        """Whether what `caller` says as `annotator` waits for others before training uses it."""
        if caller is None or caller.at_home or "train" in caller.rights:
            return False
        if caller.is_visitor:
            return True
        with self._store().database.reading() as connection:
            row = connection.execute("SELECT standing FROM trust WHERE contributor = ?", (annotator.strip(),)).fetchone()
        return row is not None and row["standing"] in ("new", "held")


def _said(connection: sqlite3.Connection) -> dict[str, list[_Said]]:
    """By contributor the labels that are looked at: of visitors, and of names in the table but owners."""
    query = f"""SELECT s.judgement, s.item, s.annotator, s.label, j.at, c.code, i.image, i.split, i."group"
                FROM standing AS s JOIN judgements AS j ON j.id = s.judgement JOIN items AS i ON i.id = s.item
                LEFT JOIN consents AS c ON c.id = j.consent
                WHERE i.image IS NOT NULL AND s.label IS NOT NULL AND s.votes IS NULL
                AND s.annotator IN (SELECT annotator FROM standing WHERE {_VISITORS}
                                    UNION SELECT contributor FROM trust WHERE standing <> 'owner')"""
    found: dict[str, list[_Said]] = defaultdict(list)
    for row in connection.execute(query):
        key = _key(row["annotator"], row["code"])
        order = hashlib.sha256(f"{key}\0{row['image']}".encode()).hexdigest()
        found[key].append(_Said(row["judgement"], row["item"], row["label"], row["at"], _part(row), order))
    return dict(found)


def _key(annotator: str, code: str | None) -> str:
    """What somebody is called in the table: visitors, whose names anybody can use, by the hash of their code as well."""
    if not annotator.startswith(VISITOR):
        return annotator
    bare = annotator.replace("#", "")  # so that no name looks like one with a code
    return f"{bare}#{code[:16]}" if code else bare


def _is_nobody(key: str) -> bool:
    """Whether `key` is a visitor's without a code, under whose name anybody can send."""
    return key.startswith(VISITOR) and "#" not in key


def _voices(connection: sqlite3.Connection, standings: Mapping[str, str]) -> dict[int, list[tuple[str, str, int]]]:
    """By item what people who are known say of it: (annotator, label, voices)."""
    found: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    query = f"""SELECT item, annotator, label FROM standing WHERE label IS NOT NULL AND NOT ({_VISITORS}) AND item IN
                (SELECT item FROM standing WHERE ({_VISITORS}) OR annotator IN (SELECT contributor FROM trust))"""
    for item, annotator, label in connection.execute(query):
        voices = _VOICES[standings.get(annotator)]
        if voices:
            found[item].append((annotator, label, voices))
    return found


def _vouched(key: str, labels: Iterable[_Said], voices: Mapping[int, list[tuple[str, str, int]]]) -> tuple[set[int], int]:
    """The judgements of the contributor `key` that enough others agree with, and on how many faces others said anything."""
    vouched, compared = set(), 0
    for one in labels:
        heard = [(label, count) for annotator, label, count in voices.get(one.item, ()) if annotator != key]
        compared += bool(heard)
        if sum(count for label, count in heard if label == one.label) >= NEEDED:
            vouched.add(one.judgement)
    return vouched, compared


def _is_proven(key: str, vouched: int, compared: int) -> bool:
    """Whether somebody is no newcomer any more."""
    return vouched >= PROVEN and 2 * vouched > compared and not _is_nobody(key)


def _over(connection: sqlite3.Connection, capped: Mapping[str, list[_Said]], waiting: set[int]) -> set[int]:
    """The judgements above the share of one contributor: which of them goes by a hash, so that it is always the same ones."""
    over: set[int] = set()
    total: Counter[str] | None = None
    for side, floor in FLOOR.items():
        mine = {key: sorted((one.order, one.judgement) for one in labels if one.side == side) for key, labels in capped.items()}
        counts = [len(labels) for labels in mine.values()]
        if max(counts, default=0) <= floor:
            continue
        total = total or _total(connection, waiting)
        most = ceiling(counts, total[side] - sum(counts), floor)
        over |= {judgement for labels in mine.values() for _, judgement in labels[most:]}
    return over


def ceiling(counts: list[int], rest: int, floor: int) -> int:
    """The most labels one of several contributors may give, who gave `counts` beside `rest` of others: `SHARE` of what is
    left once that holds for all of them, and never less than `floor`."""
    most = max(counts, default=0)
    while True:
        allowed = max(floor, int(SHARE * (rest + sum(min(count, most) for count in counts))))
        if allowed >= most:
            return most
        most = allowed


def _total(connection: sqlite3.Connection, waiting: set[int]) -> Counter[str]:
    """How many labels stand on each side, without those that wait."""
    query = """SELECT judgement, split, "group" FROM standing JOIN items ON items.id = standing.item
               WHERE image IS NOT NULL AND label IS NOT NULL"""
    return Counter(_part(row) for row in connection.execute(query) if row["judgement"] not in waiting)


def _part(row: sqlite3.Row) -> str:
    return "train" if (row["split"] or side_of(row["group"])) == "train" else "held out"
