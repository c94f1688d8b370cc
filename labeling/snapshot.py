"""What training is given: a `Snapshot`, a folder that holds faces and votes as they were at one moment.

``manifest.jsonl`` has a line for each face, ordered by its picture's name; ``images/`` the pictures, named
by their SHA-256. The id is the hash of the manifest, and names the folder: the same labels give the same
snapshot, and a changed one no longer bears its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from labeling.database import sentences
from labeling.items import Item, item_of
from labeling.schema import now
from labeling.splits import SIDES, side_of
from labeling.store import LabelStore

MANIFEST, IMAGES, MARK = "manifest.jsonl", "images", "WITHDRAWN.json"
SECOND_SHARE = 0.5  # weight of a second expression beside the first


class SnapshotError(ValueError):
    """There is nothing to take a snapshot of, or it cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Snapshot:
    """A folder named `id`; how many `faces` each side has, and how many were `left_out` of training because they
    are near copies of, or in one group with, faces that are held out."""

    id: str
    folder: Path
    faces: dict[str, int]
    left_out: int

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return {"id": self.id, "folder": str(self.folder), **self.faces, "left_out": self.left_out}


def take(store: LabelStore, root: Path) -> Snapshot:
    """A snapshot of all faces with pixels and a label, in a folder of `root`; the one that is there if nothing changed.

    Raises SnapshotError when no face has a label, StoreError when the disk does not obey.
    """
    lines, left_out = _manifest(_labelled(store))
    if not lines:
        raise SnapshotError("No face has a label yet; label some, or import labelled ones.")
    text = "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines)
    number = hashlib.sha256(text.encode()).hexdigest()[:16]
    with sentences():
        folder = root / number
        if not (folder / MANIFEST).is_file():
            _write(store, folder, lines, text)
    counts = Counter(line["split"] for line in lines)
    return Snapshot(number, folder, {side: counts[side] for side in SIDES}, left_out)


def forget(root: Path, withdrawn: set[int]) -> list[str]:
    """Take the faces `withdrawn` out of all snapshots in `root`; the ids of those that held any.

    Such a snapshot is marked first, and from then on refused for training. Asked again it does nothing more.
    """
    touched = []
    with sentences():
        for manifest in sorted(root.glob(f"*/{MANIFEST}")):
            lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
            gone = [line for line in lines if line["item"] in withdrawn]
            if gone:
                _forget(manifest.parent, [line for line in lines if line["item"] not in withdrawn], gone)
            if gone or _marked(manifest.parent) & withdrawn:
                touched.append(manifest.parent.name)
    return touched


def trained_on(models: Path, snapshots: Iterable[str]) -> list[str]:
    """The versions in the folder `models` that were trained on one of `snapshots`."""
    wanted, found = set(snapshots), []
    for path in sorted(models.glob("*/bundle.json")):
        try:
            provenance = json.loads(path.read_text(encoding="utf-8")).get("provenance", {})
        except (OSError, ValueError):
            continue
        if provenance.get("snapshot") in wanted:
            found.append(path.parent.name)
    return found


def _labelled(store: LabelStore) -> Iterator[tuple[Item, dict[str, float]]]:
    """Every face with pixels that somebody labelled, and its votes."""
    query = """SELECT items.*, judgements.label, judgements.second, judgements.votes FROM items
               JOIN standing ON standing.item = items.id JOIN judgements ON judgements.id = standing.judgement
               WHERE image IS NOT NULL AND standing.label IS NOT NULL ORDER BY image, items.id"""
    with store.database.reading() as connection:
        item, votes = None, Counter()
        for row in connection.execute(query):
            if item is None or row["id"] != item.id:
                if item is not None:
                    yield item, dict(votes)
                item, votes = item_of(row), Counter()
            votes.update(_votes(row["label"], row["second"], row["votes"]))
        if item is not None:
            yield item, dict(votes)


def _votes(label: str, second: str | None, votes: str | None) -> dict[str, float]:
    if votes:
        return json.loads(votes)
    return {label: 1.0, second: SECOND_SHARE} if second else {label: 1.0}


def _manifest(faces: Iterable[tuple[Item, dict[str, float]]]) -> tuple[list[dict], int]:
    """The lines of the manifest, and how many faces were left out of training."""
    faces = list(faces)
    held_out = {item.group for item, _ in faces if _side(item) != "train"}
    lines, left_out = [], 0
    for item, votes in faces:
        if _side(item) == "train" and item.group in held_out:
            left_out += 1
            continue
        lines.append({
            "image": item.image, "box": item.box, "landmarks": item.landmarks, "votes": votes, "group": item.group,
            "split": _side(item), "item": item.id, "source": item.source,
        })  # fmt: skip
    return lines, left_out


def _side(item: Item) -> str:
    """The side the face's set gave it, or that of its group."""
    return item.split or side_of(item.group)


def _write(store: LabelStore, folder: Path, lines: list[dict], manifest: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=folder.parent))
    try:
        (partial / IMAGES).mkdir()
        for name in {line["image"] for line in lines}:
            _put(store.images.path(name), partial / IMAGES / f"{name}.png")
        (partial / MANIFEST).write_text(manifest, encoding="utf-8")
        os.replace(partial, folder)
    except OSError:
        if not (folder / MANIFEST).is_file():  # somebody else took the same one meanwhile
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(source: Path, target: Path) -> None:
    """The same picture under a second name where the disk can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _marked(folder: Path) -> set[int]:
    """The faces that were withdrawn from the snapshot `folder`."""
    try:
        return set(json.loads((folder / MARK).read_text(encoding="utf-8"))["items"])
    except (OSError, ValueError, KeyError):
        return set()


def _forget(folder: Path, left: list[dict], gone: list[dict]) -> None:
    mark = {"items": sorted(_marked(folder) | {line["item"] for line in gone}), "at": now()}
    _replace(folder / MARK, json.dumps(mark) + "\n")
    needed = {line["image"] for line in left}
    for line in gone:
        if line["image"] not in needed:
            (folder / IMAGES / f"{line['image']}.png").unlink(missing_ok=True)
    _replace(folder / MANIFEST, "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in left))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
