"""Who may do what: the rights that endpoints ask for, and which of them a caller has.

Whoever sits at the machine owns the app, without a password: that holds only while the app listens to
this machine alone, is not shared, and the request itself says that it came straight from here. Everybody
else needs a key: the owner hands the labelers' key to people who label, and keeps the other.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Right = Literal["public", "label", "train", "own"]
PUBLIC: frozenset[Right] = frozenset({"public"})
LABELER: frozenset[Right] = frozenset({"public", "label"})
OWNER: frozenset[Right] = frozenset({"public", "label", "train", "own"})
COOKIE = "studio_key"
REFUSALS: Mapping[Right, str] = {
    "label": "Labeling is for people who were given the labelers' link; ask whoever runs this app for it.",
    "train": "Training is for whoever runs this app; open the owner's link that was printed when it started.",
    "own": "This is for whoever runs this app; open the owner's link that was printed when it started.",
}


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
            if all(isinstance(key, str) and key for key in (kept.label, kept.own)):
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


@dataclass(frozen=True)
class House:
    """How the app can be reached: whether it listens to this machine alone, and the keys of its doors."""

    local: bool
    keys: Keys

    def rights(self, headers: Mapping[str, str], client: str | None) -> frozenset[Right]:
        """What the sender of a request may do, by its `headers` (lower-case names) and the address `client` it came from.

        A key comes as ``Authorization: Bearer KEY`` or in the cookie that the link with the key sets.
        """
        if self.local and came_from_here(headers, client):
            return OWNER
        shown = _key_in(headers)
        if shown and hmac.compare_digest(shown.encode(), self.keys.own.encode()):
            return OWNER
        if shown and hmac.compare_digest(shown.encode(), self.keys.label.encode()):
            return LABELER
        return PUBLIC


def came_from_here(headers: Mapping[str, str], client: str | None) -> bool:
    """Whether a request was made on this machine, by a page of this app or by a program, with nobody between.

    A page of another site can send requests to this machine, under a name of its own that leads here
    (then the Host is wrong) or across sites (then the Origin is); a proxy says whom it forwards for.
    """
    if any(name in headers for name in ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")):
        return False
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    if origin is not None and not is_local(_name_in(origin)):
        return False
    return is_local(_name_in(f"//{headers.get('host', '')}")) and (client is None or is_local(client))


def _name_in(address: str) -> str | None:
    """The host that `address` names; None where it makes no sense."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def is_local(host: str | None) -> bool:
    """Whether `host`, a name or an address, can only be this machine."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _key_in(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    cookies = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
    return next((value for name, _, value in cookies if name == COOKIE), None)
