"""Giving a face back: out of the labels, out of every snapshot, and which models have learned from it."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from labeling import snapshot
from labeling.items import UnknownItem
from labeling.store import LabelStore


@dataclass(frozen=True)
class Withdrawal:
    """What a withdrawal removed: `faces`; from which `snapshots`; and which `models` were trained on those."""

    faces: int
    snapshots: tuple[str, ...]
    models: tuple[str, ...]

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)


def withdraw(workspace: Path, store: LabelStore, code: str) -> Withdrawal:
    """Remove for good all that was given under `code`. Raises UnknownItem where nothing is kept under it, ValueError
    for a code that is none, and StoreError."""
    unknown, faces = None, 0
    try:
        faces = store.withdraw(code)
    except UnknownItem as error:
        unknown = error
    # All that were ever withdrawn: one that was cut off is finished along with this one.
    snapshots = finish(workspace, store)
    if unknown and not snapshots:
        raise unknown
    models = {*snapshot.trained_on(workspace / "models", snapshots), *snapshot.learned_from(workspace / "snapshots", snapshots)}
    return Withdrawal(faces, tuple(snapshots), tuple(sorted(models)))


def outgoing(workspace: Path) -> Path:
    """The folder of exports that were made in the app and not fetched yet."""
    return workspace / "outgoing"


def finish(workspace: Path, store: LabelStore) -> list[str]:
    """Take all faces that were withdrawn out of exports and snapshots; the snapshots that still held one.

    Also goes on where a withdrawal was cut off by a kill or a power cut.
    """
    shutil.rmtree(outgoing(workspace), ignore_errors=True)
    snapshot.clear_abandoned(workspace / "snapshots")
    withdrawn = store.withdrawn()
    return snapshot.forget(workspace / "snapshots", withdrawn) if withdrawn else []
