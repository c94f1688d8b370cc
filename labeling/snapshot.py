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
from labeling.trust import weigh, weighed

MANIFEST, IMAGES, MARK, TRAINED = "manifest.jsonl", "images", "WITHDRAWN.json", "TRAINED.jsonl"
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
    held: int = 0  # labels of newcomers that are not in it: they wait for a second opinion

    def as_dict(self) -> dict:
        """Plain JSON values."""
        held = {"held": self.held} if self.held else {}
        return {"id": self.id, "folder": str(self.folder), **self.faces, "left_out": self.left_out, **held}


def take(store: LabelStore, root: Path) -> Snapshot:
    """A snapshot of all faces with pixels and a label, in a folder of `root`; the one that is there if nothing changed.

    Labels that are held, or above the share of one contributor, are not in it (labeling.trust).
    Raises SnapshotError when no face has a label, StoreError when the disk does not obey.
    """
    lines, left_out = gathered(store)
    if not lines:
        held = weighed(store).held
        raise SnapshotError(
            f"The {held:,} labels given so far wait for a second opinion; say what you see on the Label tab, or release whoever "
            "gave them on the Data tab." if held else "No face has a label yet; label some, or import labelled ones."
        )  # fmt: skip
    text = "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines)
    number = hashlib.sha256(text.encode()).hexdigest()[:16]
    with sentences():
        folder = root / number
        if not _sound(folder):
            _write(store, folder, lines, text)
    if store.withdrawn() & {line["item"] for line in lines}:
        forget(root, store.withdrawn())
        raise SnapshotError("A face was withdrawn while the snapshot was being taken; take it again.")
    counts = Counter(line["split"] for line in lines)
    return Snapshot(number, folder, {side: counts[side] for side in SIDES}, left_out, weighed(store).held)


def forget(root: Path, withdrawn: set[int]) -> list[str]:
    """Take the faces `withdrawn` out of all snapshots in `root`; the ids of those that still held any.

    Such a snapshot is marked first, and from then on refused for training. A picture that its manifest does not name
    may be of any face, and goes too.
    """
    touched = []
    with sentences():
        for manifest in sorted(root.glob(f"[!.]*/{MANIFEST}")):
            lines = _lines(manifest) or []
            gone = {line["item"] for line in lines} & withdrawn
            pictures = {path.stem for path in (manifest.parent / IMAGES).glob("*")}
            if withdrawn and (gone or pictures - {line["image"] for line in lines}):
                _forget(manifest.parent, [line for line in lines if line["item"] not in withdrawn], gone)
                touched.append(manifest.parent.name)
    return touched


def clear_abandoned(root: Path) -> None:
    """Remove what processes that were killed while taking a snapshot left in `root`."""
    for partial in root.glob(".*.partial"):
        if not _alive(partial.name[1:].partition("-")[0]):
            shutil.rmtree(partial, ignore_errors=True)


def learned_from(root: Path, snapshots: Iterable[str]) -> list[str]:
    """The models that noted in one of `snapshots` in `root` that they were trained on it."""
    found = []
    for number in snapshots:
        try:
            lines = (root / number / TRAINED).read_text(encoding="utf-8").splitlines()
            found += [json.loads(line)["version"] for line in lines]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def trained_on(models: Path, snapshots: Iterable[str]) -> list[str]:
    """The versions in the folder `models` that learned from one of `snapshots`, or began as one that did."""
    wanted, found = set(snapshots), []
    for path in sorted(models.glob("*/bundle.json")):
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if wanted & set(_ancestry(description)):
            found.append(path.parent.name)
    return found


def learned_by(workspace: Path, version: str) -> set[int]:
    """The items that the model `version` in the folder `workspace`, or one that it began as, has learned from."""
    try:
        description = json.loads((workspace / "models" / version / "bundle.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the one that ships
        return set()
    manifests = [workspace / "snapshots" / number / MANIFEST for number in _ancestry(description)]
    lines = [line for manifest in manifests if manifest.is_file() for line in _lines(manifest) or []]
    return {line["item"] for line in lines if line.get("split") == "train"}


def _ancestry(description: object) -> Iterator[str]:
    """The snapshots that a model, described as in its bundle.json, and those it began as have learned from."""
    provenance = description.get("provenance") if isinstance(description, dict) else None
    if isinstance(provenance, dict):
        if isinstance(provenance.get("snapshot"), str):
            yield provenance["snapshot"]
        yield from _ancestry(provenance.get("started_from"))


def _labelled(store: LabelStore) -> Iterator[tuple[Item, dict[str, float]]]:
    """Every face with pixels that somebody labelled, and the votes that training may use."""
    query = """SELECT items.*, judgements.label, judgements.second, judgements.votes, judgement FROM items
               JOIN standing ON standing.item = items.id JOIN judgements ON judgements.id = standing.judgement
               WHERE image IS NOT NULL AND standing.label IS NOT NULL ORDER BY image, items.id"""
    with store.database.reading() as connection:
        left_out = weigh(connection).left_out
        item, votes = None, Counter()
        for row in connection.execute(query):
            if row["judgement"] in left_out:
                continue
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


def gathered(store: LabelStore) -> tuple[list[dict], int]:
    """The lines of the manifest of a snapshot taken now, and how many faces were left out of training."""
    faces = list(_labelled(store))
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
    clear_abandoned(folder.parent)
    partial = Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-", suffix=".partial", dir=folder.parent))
    try:
        (partial / IMAGES).mkdir()
        for name in {line["image"] for line in lines}:
            _put(store.images.path(name), partial / IMAGES / f"{name}.png")
        (partial / MANIFEST).write_text(manifest, encoding="utf-8")
        if folder.exists() and not _sound(folder):
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except OSError:
        if not _sound(folder):  # else somebody took the same one meanwhile
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(source: Path, target: Path) -> None:
    """A copy: a link would let whoever edits a snapshot damage the picture that is kept."""
    shutil.copyfile(source, target)


def _sound(folder: Path) -> bool:
    """Whether the snapshot in `folder` is there and as it was taken."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
        lines = _lines(folder / MANIFEST)
        return (
            not (folder / MARK).exists() and lines is not None and _hash(manifest)[:16] == folder.name
            and all(_hash((folder / IMAGES / f"{line['image']}.png").read_bytes()) == line["image"] for line in lines)
        )  # fmt: skip
    except OSError:
        return False


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _lines(manifest: Path) -> list[dict] | None:
    """The lines of a manifest; None where it is none."""
    try:
        lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    except ValueError:
        return None
    whole = all(isinstance(line, dict) and {"item", "image"} <= line.keys() for line in lines)
    return lines if whole else None


def _alive(pid: str) -> bool:
    """Whether a process with that number runs."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True


def _marked(folder: Path) -> set[int]:
    """The faces that were withdrawn from the snapshot `folder`."""
    try:
        return set(json.loads((folder / MARK).read_text(encoding="utf-8"))["items"])
    except (OSError, ValueError, KeyError):
        return set()


def _forget(folder: Path, left: list[dict], gone: set[int]) -> None:
    mark = {"items": sorted(_marked(folder) | gone), "at": now()}
    _replace(folder / MARK, json.dumps(mark) + "\n")
    needed = {line["image"] for line in left}
    for path in (folder / IMAGES).glob("*"):
        if path.stem not in needed:
            path.unlink()
    _replace(folder / MANIFEST, "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in left))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
