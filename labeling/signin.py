"""People who signed in with Hugging Face, on a Space: `SignIn` tells who they are and which lists they stand on.

Gradio keeps what the Hub said of somebody in a cookie, signed with the Space's own secret. Outside of Spaces it plays
the sign-in with a secret that everybody knows; so there nothing in such a cookie is believed.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

EVERYBODY = "*"  # in a list: all who signed in
NEEDED = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")  # set where hf_oauth is true
PACKAGES = ("authlib", "itsdangerous")  # by which Gradio signs people in
_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,58}[A-Za-z0-9])?", re.ASCII)  # of a user, as the Hub allows them and shorter
_WORKING_ROLES = ("admin", "write")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class User:
    """Somebody who signed in: their `name` on the Hub, their organisations, and those they may write for."""

    name: str
    organisations: frozenset[str] = frozenset()
    working_for: frozenset[str] = frozenset()

    def is_on(self, names: frozenset[str]) -> bool:
        """Whether `names` holds the user, one of the user's organisations, or everybody."""
        return EVERYBODY in names or self.name in names or not names.isdisjoint(self.organisations)


@dataclass(frozen=True)
class SignIn:
    """Who may do what: names of users and organisations as the Hub spells them."""

    owner: str = ""  # whose Space it is; of an organisation those who may write there
    owners: frozenset[str] = field(default_factory=frozenset)
    trainers: frozenset[str] = field(default_factory=frozenset)
    labelers: frozenset[str] = frozenset({EVERYBODY})

    def __post_init__(self) -> None:
        if EVERYBODY in self.owners:
            raise ValueError("FER_OWNERS may not be *, which would hand the app to everybody; name its owners.")

    @classmethod
    def given_by(cls, environment: Mapping[str, str]) -> "SignIn | None":
        """As the variables of a Space and FER_OWNERS, FER_TRAINERS, FER_LABELERS say.

        None where nobody can sign in: not on a Space, or on one without ``hf_oauth: true``. Raises ValueError for
        a list that cannot be meant.
        """
        on_space = environment.get("SYSTEM") == "spaces" and environment.get("SPACE_ID")  # as Gradio decides it
        if not on_space or not all(environment.get(name) for name in NEEDED):
            return None
        if not all(map(find_spec, PACKAGES)):
            log.warning("Nobody can sign in: %s are not installed; install gradio[oauth].", " and ".join(PACKAGES))
            return None
        owners = _names(environment.get("FER_OWNERS", ""))
        author = environment.get("SPACE_AUTHOR_NAME") or str(environment["SPACE_ID"]).partition("/")[0]
        return cls(
            owner="" if owners else author, owners=owners, trainers=_names(environment.get("FER_TRAINERS", "")),
            labelers=_names(environment.get("FER_LABELERS", EVERYBODY)),
        )  # fmt: skip

    def user(self, session: object, now: float | None = None) -> User | None:
        """Who signed in by what Gradio keeps in `session`; None where nobody did, or too long ago."""
        info = session.get("oauth_info") if isinstance(session, Mapping) else None
        said = info.get("userinfo") if isinstance(info, Mapping) else None
        name = said.get("preferred_username") if isinstance(said, Mapping) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return None
        until = info.get("expires_at")
        if until is not None and not (isinstance(until, int | float) and until > (time.time() if now is None else now)):
            return None
        member = [one for one in _list(said.get("orgs")) if isinstance(one, Mapping) and _may_enter(one)]
        named = [(one.get("preferred_username"), one.get("roleInOrg")) for one in member]
        return User(
            name, frozenset(org for org, _ in named if isinstance(org, str)),
            frozenset(org for org, role in named if isinstance(org, str) and role in _WORKING_ROLES),
        )  # fmt: skip

    def role(self, user: User) -> str | None:
        """The strongest of "own", "train" and "label" that `user` has."""
        if user.is_on(self.owners) or (self.owner and (user.name == self.owner or self.owner in user.working_for)):
            return "own"
        if user.is_on(self.trainers):
            return "train"
        return "label" if user.is_on(self.labelers) else None


def _names(text: str) -> frozenset[str]:
    """The names in a list, divided by commas or blanks."""
    return frozenset(re.split(r"[\s,]+", text.strip())) - {""}


def _list(value: object) -> list:
    return value if isinstance(value, list) else []


def _may_enter(organisation: Mapping) -> bool:
    """Whether the user has done what the organisation asks of its members before they act for it."""
    return not organisation.get("missingMFA") and not organisation.get("pendingSSO")
