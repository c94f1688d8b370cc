"""Which side of training and test a group of pictures is on, for good: `side_of`."""

from __future__ import annotations

import hashlib

SIDES = ("train", "val", "test")


def side_of(group: str) -> str:
    """ "train" for 80 % of all groups, "val" and "test" for 10 % each, by a hash of the name: it never changes."""
    share = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32
    return "train" if share < 0.8 else "val" if share < 0.9 else "test"
