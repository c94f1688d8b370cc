"""Where versions of a workspace were fetched: `Origins`, a line for each fetch. No torch here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fer.files import object_in, replace_text

FILE = "origins.jsonl"


@dataclass(frozen=True)
class Origin:
    """A `version`, fetched from the `repository` of the Hub as it was at `commit`, which was its `revision` then."""

    version: str
    repository: str
    revision: str
    commit: str
    at: str  # when, ISO 8601, UTC

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit[:7]}"


@dataclass(frozen=True)
class Origins:
    """The fetches that the file in the folder `root` names; whoever writes holds the registry's lock."""

    root: Path

    def all(self) -> list[Origin]:
        """Every fetch, oldest first; lines that are damaged are passed over."""
        try:
            lines = (self.root / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            said = object_in(line) or {}
            values = [said.get(name) for name in Origin.__dataclass_fields__]
            if all(isinstance(one, str) for one in values):
                found.append(Origin(*values))
        return found

    def of(self, version: str) -> Origin | None:
        """The last fetch of `version`."""
        return next((one for one in reversed(self.all()) if one.version == version), None)

    def by_commit(self, repository: str, commit: str) -> Origin | None:
        """The last fetch of what `repository` was at `commit`."""
        return next((one for one in reversed(self.all()) if (one.repository, one.commit) == (repository, commit)), None)

    def by_revision(self, repository: str, revision: str) -> Origin | None:
        """The last fetch of `repository` when `revision` was asked for, or was the commit that came."""
        known = (one for one in reversed(self.all()) if one.repository == repository)
        return next((one for one in known if revision in (one.revision, one.commit)), None)

    def note(self, origin: Origin) -> None:
        """Add a fetch, once. Raises OSError."""
        lines = [one for one in self.all() if (one.version, one.repository, one.revision, one.commit)
                 != (origin.version, origin.repository, origin.revision, origin.commit)]  # fmt: skip
        text = "".join(json.dumps(one.as_dict(), ensure_ascii=False) + "\n" for one in (*lines, origin))
        replace_text(self.root / FILE, text)
