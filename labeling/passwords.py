"""Passwords from the environment, and the signed tokens that browsers keep in their place: `Passwords`.

A token says which door it opens and until when. It is signed with the owner's key and the password it stands for, so
it outlives a restart where the keys do, and is worth nothing once the password is another.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from labeling.keys import Keys

Role = Literal["label", "own"]
KEPT_SECONDS = 30 * 24 * 3600  # that a browser is remembered
LONGEST = 1000  # letters of a password
ADVISED = 8  # letters below which the log advises a longer one
_FORM = "s1"


@dataclass(frozen=True)
class Passwords:
    """What is asked for where there is no link at hand; "" where there is no such password."""

    label: str = ""
    own: str = ""

    def __post_init__(self) -> None:
        if self.own and self.own == self.label:
            raise ValueError(
                "FER_OWNER_PASSWORD and FER_LABELER_PASSWORD are the same; choose two, so that labelers do not own the app."
            )

    @classmethod
    def given_by(cls, environment: Mapping[str, str]) -> "Passwords":
        """Those in FER_LABELER_PASSWORD and FER_OWNER_PASSWORD. Raises ValueError where both are the same."""
        # A secret that came out of a file may end in a line break, which nobody can type.
        label, own = (environment.get(name, "").strip("\r\n") for name in ("FER_LABELER_PASSWORD", "FER_OWNER_PASSWORD"))
        return cls(label, own)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.own or self.label)

    def __repr__(self) -> str:
        """Without the secrets: what is logged is read by others."""
        return f"Passwords(label={'set' if self.label else 'none'}, own={'set' if self.own else 'none'})"

    @property
    def short(self) -> list[str]:
        """The variables whose password is easily guessed."""
        both = {"FER_LABELER_PASSWORD": self.label, "FER_OWNER_PASSWORD": self.own}
        return [name for name, password in both.items() if 0 < len(password) < ADVISED]

    def opens(self, given: str) -> Role | None:
        """The door that `given` is the password of. It takes as long for a wrong one as for a right one."""
        found: Role | None = None
        roles: tuple[Role, ...] = ("label", "own")
        for role in roles:
            wanted = getattr(self, role)
            # Hashes, so that not even the length of the password shows in the time it takes.
            same = hmac.compare_digest(_digest(given), _digest(wanted))
            if wanted and same:
                found = role
        return found

    def token(self, role: Role, keys: Keys, now: float | None = None) -> str:
        """What a browser keeps in place of the password for `role`."""
        until = int((time.time() if now is None else now) + KEPT_SECONDS)
        words = f"{_FORM}.{role}.{until}.{secrets.token_urlsafe(16)}"
        return f"{words}.{self._signature(words, role, keys)}"

    def role_of(self, token: str, keys: Keys, now: float | None = None) -> Role | None:
        """The door that `token` opens; None for one that was not made here, is too old, or of another password."""
        words, _, signature = token.rpartition(".")
        parts = words.split(".")
        if len(parts) != 4 or parts[0] != _FORM or parts[1] not in ("label", "own"):
            return None
        role: Role = "own" if parts[1] == "own" else "label"
        if not getattr(self, role) or not hmac.compare_digest(signature.encode(), self._signature(words, role, keys).encode()):
            return None
        return role if int(parts[2]) > (time.time() if now is None else now) else None

    def _signature(self, words: str, role: Role, keys: Keys) -> str:
        secret = _digest(f"{keys.own}\0{getattr(self, role)}")
        return hmac.new(secret, words.encode(), hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
