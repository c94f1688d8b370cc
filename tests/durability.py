"""Four people label while the app is killed again and again: is anything lost that was acknowledged?

    python tests/durability.py --rounds 30 [--seconds 3]

Each round starts the app on the same workspace, lets people label over HTTP and sends SIGKILL at a random
instant. What was under way then is sent again after the next start, as a page does. One line a round; the
exit code is 1, with a sentence for each fault, when something is lost or there twice.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from conftest import SAMPLES
from label_workspaces import BOXES, chip, png
from PIL import Image

from fer.bench.served import Caller, served_app, wait_for
from labeling.items import NewItem
from labeling.labels import LABELS
from labeling.store import LabelStore

PEOPLE = ("Ada", "Grace", "Katherine", "Mary")
CORRECTS = PEOPLE[0]  # also corrects faces in pictures, which needs the model
FACES = 60
SHORTEST, LONGEST = 0.3, 3.0  # seconds from the first answer of a round until the app is killed
WITH_MODEL = 3  # every third round waits until the model is there, so that corrections are acknowledged too
PATIENCE = 60.0  # seconds for an answer
AGAIN = 3  # acknowledged requests that each person sends again after a start


class Lost(Exception):
    """Something that was acknowledged is not there as it should be; the message has a sentence for each fault."""


# --- what people know ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """A request as somebody made it, and what should be kept of it."""

    request: str  # that of the judgement it makes
    annotator: str
    endpoint: str
    values: tuple
    kind: str
    label: str | None = None
    item: int | None = None  # None: a correction makes a new one
    undoes: str | None = None  # the request it takes back


@dataclass
class Book:
    """What people sent, by request, and the number of the judgement for what was acknowledged; shared by threads."""

    sent: dict[str, Said] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    answers: Counter = field(default_factory=Counter)  # by endpoint, also to what was sent again

    def send(self, caller: Caller, said: Said) -> None:
        """Send `said`, and note the answer. Raises Lost where it is not what the same request was answered before."""
        self.sent[said.request] = said
        answer = caller.call(said.endpoint, *said.values)
        self.answers[said.endpoint] += 1
        number = answer["annotation"] if isinstance(answer, dict) else int(answer)
        if self.kept.setdefault(said.request, number) != number:
            raise Lost(f"{said.request} was kept as {self.kept[said.request]}, and when sent again as {number}.")

    def of(self, annotator: str, kept: bool) -> list[Said]:
        """What `annotator` sent, and was or was not `kept` as far as they know; oldest first."""
        return [one for one in list(self.sent.values()) if one.annotator == annotator and (one.request in self.kept) is kept]

    def undone(self) -> set[str]:
        """Requests that somebody tried to take back."""
        return {one.undoes for one in list(self.sent.values()) if one.undoes}  # a copy: others go on sending


# --- what people do -----------------------------------------------------------------------------


class Person:
    """Labels as fast as the app answers, and makes up what to do from the seed `seed`."""

    def __init__(self, name: str, book: Book, seed: int) -> None:
        self.name, self._book, self._random = name, book, random.Random(seed)
        self._count = 0

    def work(self, url: str, with_model: bool, ended: Callable[[], bool]) -> None:
        """Send again what was under way, then label, until it has `ended`; where a connection breaks before, anew.

        Corrections, which wait for the model, are made `with_model` only.
        """
        while not ended():
            with closing(Caller(url, PATIENCE)) as caller, suppress(OSError, http.client.HTTPException):
                self._send_again(caller, with_model)
                while True:
                    self._book.send(caller, self._something(caller, with_model))
            time.sleep(0.05)

    def _send_again(self, caller: Caller, with_model: bool) -> None:
        kept = self._book.of(self.name, kept=True)
        again = self._book.of(self.name, kept=False) + self._random.sample(kept, min(AGAIN, len(kept)))
        for one in again:
            if with_model or one.endpoint != "correct":
                self._book.send(caller, one)

    def _something(self, caller: Caller, with_model: bool) -> Said:
        chance = self._random.random()
        recent = [one for one in self._book.of(self.name, kept=True)[-20:] if one.kind != "undo"]
        undone = self._book.undone()
        recent = [one for one in recent if one.request not in undone]
        if chance < 0.15 and recent:
            return self._undo(self._random.choice(recent))
        if chance < 0.6 and with_model and self.name == CORRECTS:
            return self._correct()
        # Where nothing is left to ask about, a face that the person judged before is judged anew.
        face = caller.call("next", self.name) or {"item": self._random.randint(1, FACES)}
        return self._skip(face["item"]) if chance > 0.85 else self._label(face["item"])

    def _request(self) -> str:
        self._count += 1
        return f"{self.name}-{self._count}"

    def _label(self, item: int) -> Said:
        request, label = self._request(), self._random.choice(LABELS)
        return Said(request, self.name, "label", (item, label, self.name, request), "label", label, item)

    def _skip(self, item: int) -> Said:
        request = self._request()
        return Said(request, self.name, "skip", (item, self.name, request), "skip", None, item)

    def _undo(self, one: Said) -> Said:
        return Said(f"undo:{one.request}", self.name, "undo", (one.request,), "undo", None, one.item, one.request)

    def _correct(self) -> Said:
        """A face in a picture that was not sent before: what lies around a face of a sample, cut a little elsewhere."""
        name, box = self._random.choice(BOXES[:5])
        edges = [round(side + self._random.uniform(0.4, 0.6) * (box[2] - box[0]) * (-1 if place < 2 else 1))
                 for place, side in enumerate(box)]  # fmt: skip
        with Image.open(SAMPLES / name) as photo:
            picture = photo.convert("RGB").crop(edges)
        content = "data:image/png;base64," + base64.b64encode(png(picture)).decode()
        upload = {"url": content, "meta": {"_type": "gradio.FileData"}}
        inside = [side - edges[place % 2] for place, side in enumerate(box)]
        request, label = self._request(), self._random.choice(LABELS)
        return Said(request, self.name, "correct", (upload, inside, label, self.name, True, request), "label", label)


# --- what should be there -----------------------------------------------------------------------


def faults(labels: Path, book: Book) -> Iterator[str]:
    """A sentence for each thing that is wrong with the folder `labels`, by what is in `book`."""
    store = LabelStore(labels)
    with closing(store), store.database.reading() as connection:
        for (line,) in connection.execute("PRAGMA integrity_check"):
            if line != "ok":
                yield f"The database is damaged: {line}."
        if connection.execute("PRAGMA foreign_key_check").fetchone():
            yield "A row of the database names another that is not there."
        rows = connection.execute("SELECT * FROM judgements ORDER BY id").fetchall()
        yield from _wrong_judgements(rows, book)
        standing = connection.execute("SELECT item, annotator, judgement, label FROM standing")
        if _standing(rows) != {tuple(row) for row in standing}:
            yield "What stands does not follow from the judgements."
        pictures = [row[0] for row in connection.execute("SELECT id FROM items WHERE image IS NOT NULL")]
    for number in pictures:
        try:
            store.picture(store.item(number))
        except ValueError as error:
            yield f"The picture of face {number}: {error}"


def _wrong_judgements(rows: list[sqlite3.Row], book: Book) -> Iterator[str]:
    found = {row["request"]: row for row in rows}
    if len(found) < len(rows):
        yield f"{len(rows) - len(found)} requests are there twice."
    for request in found.keys() - book.sent.keys():
        yield f"{request} is there, and nobody sent it."
    for request, number in book.kept.items():
        if request not in found:
            yield f"{request} was acknowledged as {number} and is not there."
        elif found[request]["id"] != number:
            yield f"{request} was acknowledged as {number} and is there as {found[request]['id']}."
    for request in found.keys() & book.sent.keys():
        row, said = found[request], book.sent[request]
        undoes = found[said.undoes]["id"] if said.undoes in found else None
        there = (row["annotator"], row["kind"], row["label"], row["undoes"])
        if there != (said.annotator, said.kind, said.label, undoes) or said.item not in (None, row["item"]):
            yield f"{request} is there as {there} on face {row['item']}, and was sent as {said}."


def _standing(rows: list[sqlite3.Row]) -> set[tuple]:
    """(item, annotator, judgement, label) of what counts by `rows`: each person's last judgement not taken back."""
    undone = {row["undoes"] for row in rows}
    last = {(row["item"], row["annotator"]): row for row in rows if row["kind"] != "undo" and row["id"] not in undone}
    return {(item, annotator, row["id"], row["label"]) for (item, annotator), row in last.items()}


# --- rounds -------------------------------------------------------------------------------------


def run(rounds: int, workspace: Path, longest: float = LONGEST, tell: Callable[[str], None] = print) -> Book:
    """Kill the app `rounds` times while people label in `workspace`; what they know. Raises Lost."""
    book = Book()
    people = [Person(name, book, seed) for seed, name in enumerate(PEOPLE)]
    _fill(workspace)
    for number in range(1, rounds + 1):
        before, seconds = len(book.kept), random.uniform(SHORTEST, max(SHORTEST, longest))
        _label_until_killed(workspace, people, book, seconds, with_model=number % WITH_MODEL == 0)
        wrong = _faults_in_a_copy(workspace, book)
        tell(
            f"round {number}: killed after {seconds:.2f} s; {len(book.kept) - before} acknowledged, "
            f"{len(book.sent) - len(book.kept)} under way; {_summary(book)}: "
            f"{f'{len(wrong)} FAULTS' if wrong else 'nothing lost'}"
        )
        if wrong:
            raise Lost("\n".join(wrong))
    return book


def _fill(workspace: Path) -> None:
    """`FACES` real faces, each under noise of its own."""
    noise, items = np.random.default_rng(0), []
    for index in range(FACES):
        face = np.asarray(chip(index % len(BOXES)), dtype=int)
        face = Image.fromarray(np.clip(face + noise.integers(-20, 21, face.shape), 0, 255).astype(np.uint8))
        items.append(NewItem("durability", f"durability:{index}", png(face), *face.size, (0, 0, *face.size)))
    with closing(LabelStore(workspace / "labels")) as store:
        store.add(items)


def _label_until_killed(workspace: Path, people: list[Person], book: Book, seconds: float, with_model: bool) -> None:
    """Start the app, kill it `seconds` after its first answer. Raises what people met, and Lost if it did not run."""
    ended, first = threading.Event(), "correct" if with_model else "label"
    before = book.answers[first]
    with served_app(workspace=workspace) as (url, app), ThreadPoolExecutor(len(people)) as pool:
        while with_model and not json.loads(wait_for(url + "/healthz", app))["ready"]:
            time.sleep(0.05)
        at_work = [pool.submit(one.work, url, with_model, ended.is_set) for one in people]
        patience = time.monotonic() + PATIENCE
        while book.answers[first] == before and time.monotonic() < patience and not any(one.done() for one in at_work):
            time.sleep(0.01)
        time.sleep(seconds)
        ended.set()
        alive = app.poll() is None
        app.kill()
        app.wait()
        for one in at_work:
            one.result()
    if not alive or book.answers[first] == before:
        raise Lost(f"The app {'answered nobody' if alive else 'ended by itself'}; run it by itself to see why.")


def _faults_in_a_copy(workspace: Path, book: Book) -> list[str]:
    """What is wrong with the labels as the kill left them; the next app finds them untouched by this look."""
    with tempfile.TemporaryDirectory() as folder:
        return list(faults(shutil.copytree(workspace / "labels", Path(folder) / "labels"), book))


def _summary(book: Book) -> str:
    kinds = Counter(book.sent[request].endpoint for request in book.kept)
    return f"{len(book.kept)} in all, {kinds['correct']} of them corrections, {kinds['undo']} taken back"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="how often the app is killed (default: 30)")
    parser.add_argument("--seconds", type=float, default=LONGEST, help="longest time of a round (default: 3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            book = run(arguments.rounds, Path(folder), arguments.seconds, lambda line: print(line, flush=True))
        except Lost as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(f"{arguments.rounds} kills, {_summary(book)}: nothing lost, nothing twice")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
