"""An app with a repository on the Hub is killed again and again: is anything lost that was shown as being there?

    python tests/hub_kills.py --rounds 50 [--seconds 3] [--kept]

Each round a process labels and syncs against a local Hub, which now and then refuses, and gets SIGKILL at a random
instant. Then its workspace is deleted (with --kept: it stays) and read back from the Hub into an empty one. One line
a round; the exit code is 1, with a sentence for each fault, when something shown as on the Hub is not there again, when
more is missing than was shown as waiting, or when anything is there twice.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from copies import QUICK, Copy
from local_hub import LocalHub

SHORTEST, LONGEST = 0.3, 3.0  # seconds from the first label of a round until the kill
PATIENCE = 60.0  # seconds for the first label, and for reading everything back

# One who labels, contributes, takes back: each line says what was acknowledged, or how the sync stands.
PERSON = """
import json, pathlib, random, sys, threading, time
sys.path[:0] = sys.argv[1:3]
from copies import QUICK, Copy
from label_workspaces import says
from labeling.labels import LABELS

one = Copy(pathlib.Path(sys.argv[3]), type("Hub", (), {"address": sys.argv[4]}))
one.sync.start()
if not one.sync.restored(60):
    sys.exit("nothing was read back")
drawn, number = random.Random(), 0

def say(**line):
    print(json.dumps(line), flush=True)

def watch():
    while True:
        state = one.sync.state()
        say(waiting=state.waiting, on_hub_at=state.on_hub_at, problem=state.problem)
        time.sleep(0.05)

def numbers():
    with one.store.database.reading() as connection:
        return [row[0] for row in connection.execute("SELECT id FROM items")]

threading.Thread(target=watch, daemon=True).start()
mine = []
while True:
    request = f"{sys.argv[5]}-{number}"
    number += 1
    chance, there = drawn.random(), numbers()
    if chance < 0.3 or not there:
        made = one.gives(drawn.randrange(8), request, drawn.choice([None, "KEPT-KEPT-KEPT-KEPT"]), label=drawn.choice(LABELS))
    elif chance < 0.4 and mine:
        made = one.store.undo(mine.pop(drawn.randrange(len(mine))))
    else:
        made = one.store.judge(drawn.choice(there), says(request, drawn.choice(LABELS), drawn.choice(["Ada", "Bob"])))
    if made.kind == "label":
        mine.append(made.request)
    say(request=made.request, kind=made.kind, label=made.label, at=made.at)
    time.sleep(drawn.random() * 0.02)
"""


class Lost(Exception):
    """Something is not as it was shown; the message has a sentence for each fault."""


@dataclass
class Round:
    """What a process said before it was killed: `acknowledged` by request, and how its sync stood last."""

    acknowledged: dict[str, dict] = field(default_factory=dict)
    waiting: int = 0
    on_hub_at: str | None = None
    problems: int = 0

    @classmethod
    def of(cls, lines: list[str]) -> "Round":
        made = cls()
        for text in lines:
            try:
                line = json.loads(text)
            except ValueError:  # cut off by the kill
                continue
            if "request" in line:
                made.acknowledged[line["request"]] = line
            else:
                made.waiting, made.on_hub_at = line["waiting"], line["on_hub_at"]
                made.problems += line["problem"] is not None
        return made

    def shown(self) -> set[str]:
        """What was shown as on the Hub, where nothing was shown as waiting: all that was said until then."""
        if self.on_hub_at is None:
            return set()
        return {name for name, one in self.acknowledged.items() if one["at"] <= self.on_hub_at}


@dataclass
class Book:
    """All that was acknowledged and must be there from now on, by request: (kind, label)."""

    kept: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    acknowledged: int = 0
    lost_unsent: int = 0


def kill_one(workspace: Path, hub: LocalHub, name: str, seconds: float) -> Round:
    """Label in `workspace` for `seconds`, then SIGKILL; what the process had said."""
    places = [Path(__file__).parent, Path(__file__).parent.parent, workspace, hub.address, name]
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as trace:
        command = [sys.executable, "-c", PERSON, *map(str, places)]
        process = subprocess.Popen(command, stdout=said, stderr=trace)
        try:
            began = time.monotonic()
            while '"request"' not in _text(said):
                if process.poll() is not None or time.monotonic() > began + PATIENCE:
                    raise Lost(f"The process did not begin to label: {_text(trace)[-2000:]}")
                time.sleep(0.02)
            time.sleep(seconds)
            if process.poll() is not None:
                raise Lost(f"The process ended by itself: {_text(trace)[-2000:]}")
        finally:
            process.kill()
            process.wait()
        return Round.of(_text(said).splitlines())


def _text(file) -> str:
    file.seek(0)
    return file.read()


def faults(copy: Copy, must: dict[str, tuple[str, str | None]], may: dict[str, tuple[str, str | None]]) -> Iterator[str]:
    """A sentence for each thing that is wrong with what `copy` holds: all of `must`, nothing beside `may`."""
    with copy.store.database.reading() as connection:
        rows = connection.execute("SELECT request, kind, label FROM judgements").fetchall()
        if connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            yield "The database is damaged."
        items = connection.execute("SELECT image, consent, count(*) AS many FROM items GROUP BY image, consent").fetchall()
        images = [row["image"] for row in items if row["image"]]
        orphans = connection.execute("SELECT count(*) FROM orphans").fetchone()[0]
    found = {row["request"]: (row["kind"], row["label"]) for row in rows}
    for request in must.keys() - found.keys():
        yield f"{request} was shown as on the Hub and is not there."
    for request in found.keys() - may.keys():
        yield f"{request} is there, and nobody said it."
    for request in found.keys() & may.keys():
        if found[request] != may[request]:
            yield f"{request} was {may[request]} and came back as {found[request]}."
    if any(row["many"] > 1 for row in items):
        yield "A face is there twice."
    if orphans:
        yield f"{orphans} labels came back without their face."
    for image in images:
        try:
            copy.store.images.get(image)
        except (OSError, ValueError) as error:
            yield f"A picture did not come back: {error}."


def run(rounds: int, folder: Path, longest: float = LONGEST, kept: bool = False, tell: Callable[[str], None] = print) -> Book:
    """Kill a syncing app `rounds` times; what is there in the end. Raises Lost."""
    book, drawn = Book(), random.Random()
    with LocalHub() as hub:
        for number in range(1, rounds + 1):
            if drawn.random() < 0.3:
                hub.fail(drawn.randint(1, 3), drawn.choice([429, 503]), drawn.choice(["", "/commit/"]))
            if drawn.random() < 0.3:
                hub.lose_answers(1)
            seconds = drawn.uniform(SHORTEST, max(SHORTEST, longest))
            one = kill_one(folder / "workspace", hub, f"round{number}", seconds)
            _check(folder, hub, book, one, kept, number, seconds, tell)
    return book


def _check(
    folder: Path, hub: LocalHub, book: Book, one: Round, kept: bool, number: int, seconds: float, tell: Callable[[str], None]
) -> None:
    said = {name: (line["kind"], line["label"]) for name, line in one.acknowledged.items()}
    waiting_then = {name for name, line in one.acknowledged.items() if one.on_hub_at is None or line["at"] > one.on_hub_at}
    hub.recover()
    if not kept:
        shutil.rmtree(folder / "workspace")
    back = Copy(folder / "workspace", hub, QUICK)
    with closing(back):
        done = back.sync.once()
        if done.problem:
            raise Lost(f"Reading back: {done.problem}")
        must = book.kept | {name: said[name] for name in (said if kept else one.shown())}
        # Acknowledged by the disk, and cut off from what the process could still say.
        may = book.kept | said | _unsaid(back, said, f"round{number}")
        wrong = list(faults(back, must, may))
        with back.store.database.reading() as connection:
            found = {row[0]: (row[1], row[2]) for row in connection.execute("SELECT request, kind, label FROM judgements")}
    missing = said.keys() - found.keys()
    if missing - waiting_then:
        wrong.append(f"{len(missing - waiting_then)} labels are missing that were not shown as waiting.")
    book.kept, book.acknowledged = dict(found), book.acknowledged + len(said)
    book.lost_unsent += len(missing)
    tell(
        f"round {number}: killed after {seconds:.2f} s; {len(said)} acknowledged, {len(one.shown())} shown as on the Hub, "
        f"{one.waiting} as waiting; {len(missing)} of these missing: {f'{len(wrong)} FAULTS' if wrong else 'as shown'}"
    )
    if wrong:
        raise Lost("\n".join(wrong))


def _unsaid(copy: Copy, said: dict, name: str) -> dict[str, tuple[str, str | None]]:
    """Judgements of the process `name` that were on its disk when it was killed before it could say so: one, at most."""
    with copy.store.database.reading() as connection:
        rows = connection.execute("SELECT request, kind, label FROM judgements WHERE request LIKE ?", (f"%{name}-%",)).fetchall()
    more = {row["request"]: (row["kind"], row["label"]) for row in rows if row["request"] not in said}
    if len(more) > 1:
        raise Lost(f"{len(more)} labels are there that were not acknowledged: {sorted(more)}")
    return more


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="how often the app is killed (default: 50)")
    parser.add_argument("--seconds", type=float, default=LONGEST, help="longest time of a round (default: 3)")
    parser.add_argument("--kept", action="store_true", help="keep the workspace: nothing at all may be missing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            book = run(arguments.rounds, Path(folder), arguments.seconds, arguments.kept, lambda line: print(line, flush=True))
        except (Lost, sqlite3.Error) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(
        f"{arguments.rounds} kills, {book.acknowledged} labels acknowledged, {len(book.kept)} there; nothing lost that was "
        f"shown as on the Hub, {book.lost_unsent} that were shown as waiting, nothing twice"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
