"""Which model serves, and which did before: `Promotions`, two files in the folder of the models.

``active.json`` points to the model that serves; ``history.jsonl`` has a line for every promotion and every way back.
A line is written before the pointer is replaced, and names the line that it puts aside: so a process that is killed
between the two leaves a line to which nothing points, and the way back never leads through it.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from fer.files import json_object, object_in, replace_json


@dataclass(frozen=True)
class Promotions:
    """The pointer and the history in the folder `root`; whoever writes holds the registry's lock."""

    root: Path

    @property
    def file(self) -> Path:
        """The pointer; it is replaced with every promotion, and missing before the first."""
        return self.root / "active.json"

    def pointer(self) -> dict | None:
        """What the pointer says: {version, at, who, why, id}; None where it is missing or says nothing."""
        said = json_object(self.file)
        return said if said and isinstance(said.get("version"), str) else None

    def fault(self) -> str | None:
        """What is wrong with the pointer; None for a good one, and before the first promotion."""
        damaged = self.file.exists() and self.pointer() is None
        return "it is no valid JSON; promote a model again." if damaged else None

    def history(self) -> list[dict]:
        """Every promotion and way back, oldest first: {id, action, version, at, who, why, back}.

        `back` is the id of the line that a way back from this one returns to. A line may be of a process that was
        killed before it replaced the pointer: then nothing was promoted.
        """
        try:
            text = (self.root / "history.jsonl").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        lines = [object_in(line) for line in text.splitlines()]
        return [line for line in lines if line and isinstance(line.get("id"), str) and isinstance(line.get("version"), str)]

    def chain(self) -> list[dict]:
        """What the pointer names, then what served before it, back to the beginning; empty before the first promotion.

        They are lines of history, but that a pointer written by hand comes with the id None. A version from which
        somebody went back is not among them: it could be loaded, but was not good.
        """
        if not self.file.exists():
            return []
        pointer, history = self.pointer(), self.history()
        lines = {one["id"]: one for one in history}
        # Where the pointer names no line of history, the last one was in force before it was written or damaged.
        line = lines.get(str(pointer and pointer.get("id"))) or (history[-1] if history else None)
        by_hand = pointer and not (line and line["version"] == pointer["version"])
        chain = [{**pointer, "id": None}] if by_hand else []
        while line and line not in chain:
            chain.append(line)
            line = lines.get(str(line.get("back")))
        return chain

    def record(self, version: str, shipped: bool, action: str, who: str, why: str, back: str | None) -> None:
        """From now on `version` serves; `back` is the id of the line that a way back would return to. Raises OSError."""
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        pointer = {"version": version, "at": at, "who": who, "why": why, "id": secrets.token_hex(6)}
        if shipped:
            pointer["shipped"] = True  # whatever ships: after an update that is another version
        _append(self.root / "history.jsonl", json.dumps({**pointer, "action": action, "back": back}, ensure_ascii=False))
        replace_json(self.file, pointer)


def _append(path: Path, line: str) -> None:
    """Add a line to a file; half a line that a power cut left stays by itself."""
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write((line + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
