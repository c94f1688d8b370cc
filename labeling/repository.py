"""What the sync asks of a repository, whoever speaks with it: `Repository`; `fer.hub.LabelRepository` is one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, Protocol

# Why something could not be done: there is no network or the Hub is out of order; it asks to wait; the token may not
# do it; the repository is not there; it changed meanwhile; a file is not there; everybody could read it.
Reason = Literal["unreachable", "limited", "refused", "missing", "moved", "absent", "public", "unexpected"]


class Head(Protocol):
    """The newest state of the repository: its `commit`, and whether it is `private`."""

    commit: str
    private: bool


class Remote(Protocol):
    """A file there: bytes, and the SHA-256 of its content where it is kept as a large file."""

    size: int
    sha256: str | None


class Repository(Protocol):
    """A private place for batches. Every method may raise an error with a `reason` (see `Reason`), `after`, the seconds the
    Hub asks to wait or None, and one sentence for people as its text."""

    name: str

    def head(self) -> Head:
        """The newest state."""

    def create(self) -> Head:
        """Make it, private."""

    def files(self, commit: str) -> Mapping[str, Remote]:
        """All files of a state, by their path."""

    def read(self, path: str, commit: str) -> bytes:
        """The content of a file."""

    def send(
        self, message: str, added: Iterable[tuple[str, bytes]] = (), deleted: Collection[str] = (), parent: str | None = None
    ) -> str:
        """One commit, on top of `parent` only where that is given; its name. `added` is taken one by one."""

    def forget(self, large: Collection[str], kept: Collection[str]) -> None:
        """Delete for good the large files with these SHA-256, but none of `kept`; and what failed uploads left long ago."""

    def squash(self) -> None:
        """One state instead of the whole history."""
