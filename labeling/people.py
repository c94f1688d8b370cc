"""Who may do what: the rights that endpoints ask for, and which of them a caller has.

Whoever sits at the machine owns the app, without a password: that holds only while the app listens to
this machine alone, is not shared, and the request itself says that it came straight from here. Everybody
else needs a key (the owner hands the labelers' key to people who label, and keeps the other), a password, or
on a Space of Hugging Face to have signed in.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from labeling.addresses import came_from_here, from_own_page, is_local, visitor_address
from labeling.keys import Keys
from labeling.passwords import Passwords
from labeling.signin import SignIn, User

__all__ = ["COOKIE", "LABELER", "OWNER", "PUBLIC", "REFUSALS", "TRAINER", "Caller", "House", "Keys", "Right", "came_from_here",
           "is_local"]  # fmt: skip

Right = Literal["public", "label", "train", "own"]
PUBLIC: frozenset[Right] = frozenset({"public"})
LABELER: frozenset[Right] = frozenset({"public", "label"})
TRAINER: frozenset[Right] = frozenset({"public", "label", "train"})
OWNER: frozenset[Right] = frozenset({"public", "label", "train", "own"})
COOKIE = "studio_key"
# What the name of everybody begins with who came in without a key, and on a Space of everybody who came with one: no name
# on the Hub holds a blank, so nobody can label under that of somebody who signed in.
VISITOR, GUEST = "visitor ", "guest "
LONGEST_NAME = 60  # letters of a name, as labeling.judgements has it; a test holds the two together
REFUSALS: Mapping[Right, str] = {
    "label": "Labeling is for people who were given the labelers' link; ask whoever runs this app for it.",
    "train": "Training is for whoever runs this app; open the owner's link that was printed when it started.",
    "own": "This is for whoever runs this app; open the owner's link that was printed when it started.",
}
_BY_PASSWORD: Mapping[Right, str] = {
    "label": "Labeling is for people who were given the labelers' password or link; come in at /enter below this page's address.",
    "train": "Training is for whoever runs this app; come in at /enter below this page's address, with the owner's password.",
    "own": "This is for whoever runs this app; come in at /enter below this page's address, with the owner's password.",
}
_SIGNED_OUT: Mapping[Right, str] = {
    "label": "Labeling is for people who have signed in; press “Sign in with Hugging Face” above.",
    "train": "Training is for people whom the owner of this Space named; sign in with Hugging Face above if you are one of them.",
    "own": "This is for the owner of this Space; sign in with Hugging Face above if that is you.",
}
_SIGNED_IN: Mapping[Right, str] = {
    "label": "Labeling is for people whom the owner of this Space named; you are signed in, but not one of them.",
    "train": "Training is for people whom the owner of this Space named; you are signed in, but not one of them.",
    "own": "This is for the owner of this Space; you are signed in under another name.",
}
_ROLES: Mapping[str | None, frozenset[Right]] = {None: PUBLIC, "label": LABELER, "train": TRAINER, "own": OWNER}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """Whoever sends a request: what they may do, and what is known of them."""

    rights: frozenset[Right]
    who: str  # the same for all requests of one visitor: what limits are counted by
    name: str | None = None  # on the Hub, of somebody who signed in
    at_home: bool = False  # sits at the machine
    is_guest: bool = False  # came with a key to an app where others sign in

    @property
    def limited(self) -> bool:
        """Whether limits per visitor apply."""
        return not self.at_home and "own" not in self.rights

    @property
    def is_visitor(self) -> bool:
        """Whether nothing tells this caller from others: neither a sign-in nor a key."""
        return self.name is None and self.rights == PUBLIC

    def annotator(self, sent: str) -> str:
        """The name that is kept with what the caller says, who calls themselves `sent`.

        Nobody labels under the name of somebody who signed in but they; a visitor's name says that it is one.
        """
        if self.name is not None:
            return self.name
        prefix, bare = VISITOR if self.is_visitor else GUEST if self.is_guest else "", sent.strip()
        if not bare or len(bare) > LONGEST_NAME:
            return sent  # which the store refuses
        while prefix and bare.startswith((prefix, f"{prefix.strip()}-")):  # as pages name those who gave no name
            bare = bare[len(prefix) :].strip() or "unnamed"
        return f"{prefix}{bare}"[:LONGEST_NAME].strip()


@dataclass(frozen=True)
class House:
    """How the app can be reached, and what opens its doors.

    `local`: it listens to this machine alone. `proxies`: how many stand before it whose X-Forwarded-For is believed;
    of those of a Space (`inner`) more may stand between.
    """

    local: bool
    keys: Keys
    passwords: Passwords = field(default_factory=Passwords)
    sign_in: SignIn | None = None
    proxies: int = 0
    inner: bool = False

    @classmethod
    def given_by(cls, environment: Mapping[str, str], local: bool, keys: Path) -> "House":
        """As the environment says; `keys` is the file of the keys, which a local app does without.

        Raises ValueError, in one sentence, for a variable that cannot be meant.
        """
        on_space = bool(environment.get("SPACE_ID"))
        passwords = Passwords.given_by(environment)
        if passwords.short and not local:
            log.warning("%s has fewer than 8 letters, which is soon guessed; choose a longer one.", " and ".join(passwords.short))
        return cls(
            local, Keys.fresh() if local else Keys.kept_in(keys), passwords, SignIn.given_by(environment),
            _proxies(environment, 1 if on_space else 0), on_space,
        )  # fmt: skip

    def rights(self, headers: Mapping[str, str], client: str | None) -> frozenset[Right]:
        """What the sender of a request may do, by its `headers` (lower-case names) and the address `client` it came from.

        A key comes as ``Authorization: Bearer KEY`` or in the cookie that the link with the key sets.
        """
        return self.caller(headers, client).rights

    def caller(self, headers: Mapping[str, str], client: str | None, session: object = None) -> Caller:
        """Who sends a request; `session` is what Gradio keeps of somebody who signed in."""
        address = f"address {self.address(headers, client)}"
        if self.local and came_from_here(headers, client):
            return Caller(OWNER, address, at_home=True)
        user = self._user(headers, session)
        by_key = self._role_of_key(headers)
        by_name = None if user is None or self.sign_in is None else self.sign_in.role(user)
        rights = _ROLES[by_key] | _ROLES[by_name]
        if user is not None:
            return Caller(rights, f"user {user.name}", user.name)
        return Caller(rights, f"{by_key} key, {address}" if by_key else address, is_guest=bool(by_key and self.sign_in))

    def address(self, headers: Mapping[str, str], client: str | None) -> str:
        """The address that stands for the visitor who sent a request."""
        return visitor_address(headers, client, self.proxies, self.inner)

    def role_of(self, key: str) -> str | None:
        """What `key`, from a link or a header, opens: "label", "own" or nothing."""
        shown = key.encode("utf-8", "surrogatepass")
        found = None
        for role in ("label", "own"):
            if hmac.compare_digest(shown, getattr(self.keys, role).encode()):
                found = role
        return found

    def refusal(self, right: Right, caller: Caller) -> str:
        """Why `caller`, who has not got it, needs `right`, and how it is come by; one sentence."""
        if self.sign_in is not None:
            return (_SIGNED_IN if caller.name else _SIGNED_OUT)[right]
        return (_BY_PASSWORD if self.passwords else REFUSALS)[right]

    def _user(self, headers: Mapping[str, str], session: object) -> User | None:
        """Who signed in; a page of another site cannot act in their name."""
        return None if self.sign_in is None or not from_own_page(headers) else self.sign_in.user(session)

    def _role_of_key(self, headers: Mapping[str, str]) -> str | None:
        token = _bearer(headers)
        if token:
            return self.role_of(token)
        token = _cookie(headers) if from_own_page(headers) else None
        return (self.role_of(token) or self.passwords.role_of(token, self.keys)) if token else None


def _proxies(environment: Mapping[str, str], usual: int) -> int:
    given = environment.get("FER_PROXIES", "").strip() or str(usual)
    if not given.isdecimal() or int(given) > 10:
        raise ValueError(f"FER_PROXIES is “{given[:20]}”; it should be how many proxies stand before the app: 0, 1 or more.")
    return int(given)


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _cookie(headers: Mapping[str, str]) -> str | None:
    cookies = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
    return next((value for name, _, value in cookies if name == COOKIE), None)
