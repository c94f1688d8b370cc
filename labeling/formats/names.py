"""Names for the files of an export: `Names` gives each face one that every disk and every program takes."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

LONGEST = 80  # letters before the ending


class Names:
    """Hands out names that were not handed out before, whether or not a disk tells capitals from small letters."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._count = 0

    def free(self, wanted: str, suffix: str = ".png") -> str:
        """The last part of `wanted` as far as it is harmless, with a number where it is taken."""
        stem = re.sub(r"[^\w.-]", "_", PurePosixPath(wanted).name)
        stem = re.sub(r"\.(png|jpe?g|webp|gif|bmp|tiff?|mpo|p[pg]m)$", "", stem, flags=re.IGNORECASE)
        stem = stem.strip(".-_")[:LONGEST] or "face"
        name = stem + suffix
        while name.lower() in self._given:
            self._count += 1
            name = f"{stem}-{self._count}{suffix}"
        self._given.add(name.lower())
        return name
