"""Two secrets that open doors: `Keys`, which the owner keeps or hands out as links."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

SHORTEST = 16  # letters of a key: beyond guessing, so that a right one is let in however many wrong ones came before


@dataclass(frozen=True)
class Keys:
    """Two secrets: who shows `label` may label, who shows `own` may do everything."""

    label: str
    own: str

    @classmethod
    def fresh(cls) -> "Keys":
        """New ones, 128 bits each."""
        return cls(secrets.token_urlsafe(16), secrets.token_urlsafe(16))

    @classmethod
    def kept_in(cls, path: Path) -> "Keys":
        """The keys in the file `path`, made if it is not there and readable by its owner alone.

        Where it cannot be written the keys hold until the app stops.
        """
        try:
            kept = cls(**json.loads(path.read_text(encoding="utf-8")))
            if all(isinstance(key, str) and len(key) >= SHORTEST for key in (kept.label, kept.own)):
                return kept
        except (OSError, ValueError, TypeError):
            pass
        fresh = cls.fresh()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump({"label": fresh.label, "own": fresh.own}, file)
            os.replace(partial, path)
        except OSError:
            pass
        return fresh
