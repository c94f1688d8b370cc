"""Import and export: faces and labels between the store and the files of other tools.

    report = bring_in(store, "ferplus:/data/ferplus")
    export(store, "hf:/data/my-faces")

An import may be begun again at any time: what is here already is passed over.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import heapq
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Protocol

from PIL import Image

from labeling import pictures
from labeling.database import StoreError
from labeling.formats import ferplus, fer2013, folder, hugging_face, label_studio, table, video
from labeling.formats.records import Problem, Record, Said, plain_text
from labeling.items import Item, NewItem, UnknownItem, item_of
from labeling.judgements import Annotation, Judgement, annotation_of
from labeling.reports import ExportReport, ImportReport, Tally
from labeling.store import LabelStore
from labeling.tree import Tree, TreeError, open_tree

Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class Kind:
    """A form in which faces come: how to tell it and read it; `needs` says in words what makes it."""

    fits: Callable[[Tree], bool]
    read: Callable[[Tree], Iterator[Record | Problem]]
    needs: str


# Which one fits is asked in this order: those with marks of their own before those that take any pictures.
KINDS: dict[str, Kind] = {
    "ferplus": Kind(ferplus.fits, ferplus.read, "a folder FER2013Train, FER2013Valid or FER2013Test with a label.csv"),
    "fer2013": Kind(fer2013.fits, fer2013.read, "a table in UTF-8 with the columns emotion, pixels, Usage"),
    "labelstudio": Kind(label_studio.fits, label_studio.read, "a JSON list of Label Studio's tasks"),
    "hf": Kind(hugging_face.fits, hugging_face.read, "a metadata.jsonl"),
    "csv": Kind(table.fits, table.read, "a table in UTF-8 with a column image and a column label"),
    "folder": Kind(folder.fits, folder.read, "pictures"),
    "video": Kind(video.fits, video.read, f"a video ({', '.join(video.CONTAINERS)})"),
    "photo": Kind(folder.fits, folder.photos, "pictures"),
}
WRITERS: dict[str, ModuleType] = {
    "ferplus": ferplus, "fer2013": fer2013, "labelstudio": label_studio, "hf": hugging_face, "csv": table,
    "folder": folder,
}  # fmt: skip
CHUNK = 200  # items read from the store at once
NO_PICTURE, UNREADABLE = "without a picture", "with a picture that cannot be read"
_NOTHING_STORED = " Nothing was stored of this."  # said by the store of one part, untrue of an import


class ExchangeError(ValueError):
    """An import or export as a whole cannot be done; the message is for the person who asked."""


class Chip(Protocol):
    """A face cut from a photo, as it is kept."""

    image: Image.Image
    face: object  # with `box` and `landmarks` in pixels of the image

    def png(self) -> bytes: ...


class Cutter(Protocol):
    """Finds faces in photos and cuts them; the app and the command line pass in `fer.cutter.Cutter`."""

    def open(self, content: bytes) -> Image.Image:
        """The picture upright, RGB, without metadata. Raises ValueError."""

    def faces(self, image: Image.Image) -> Sequence[Chip]:
        """The faces of a photo."""

    def crop(self, image: Image.Image, box: tuple, landmarks: tuple | None) -> Image.Image:
        """The square of a kept face, as a network is given it."""


@dataclass(frozen=True)
class Counted:
    """Something to be gone through, of a known length, which progress bars ask for."""

    many: Iterable
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator:
        return iter(self.many)


def silent(many: Iterable) -> Iterable:
    """No progress bar."""
    return many


# --- import -------------------------------------------------------------------------------------


def bring_in(store: LabelStore, source: str, cutter: Cutter | None = None, progress: Progress = silent) -> ImportReport:
    """Bring the faces and labels of `source` into `store`; the report, which also lies in the folder ``imports``.

    `source` is KIND:PATH, or a PATH whose kind is seen from the files. What cannot be used is named in the
    report and passed over. Raises ExchangeError where nothing can be read or the disk does not obey; what had
    arrived until then is kept, and the same import goes on from there.
    """
    kind, path = _kind_and_path(source, (*KINDS, "zip"))
    try:
        tree = open_tree(path)
        kind = _checked(kind, tree) if kind in KINDS else _recognised(tree)
        entering = Entering(store, f"{kind}:{tree.name}", cutter)
        for problem in tree.refused:
            entering.tally.note(problem)
        entering.bring(progress(_counted(kind, tree)))
    except TreeError as error:
        raise ExchangeError(str(error)) from error
    report = entering.tally.report(entering.source)
    if not (report.faces or report.known or report.without_face):
        first = f" {report.problems[0].name}: {report.problems[0].sentence}" if report.problems else ""
        raise ExchangeError(f"No face could be brought in from {path.name}.{first}")
    _keep_report(store, report, kind)
    return report


class Entering:
    """An import under way: turns records into faces and judgements, and counts."""

    def __init__(self, store: LabelStore, source: str, cutter: Cutter | None) -> None:
        self.store, self.source, self.cutter, self.tally = store, source, cutter, Tally()
        self._seen: set[int] = set()
        self._answered: set[tuple[str, str]] = set()
        self._said_before = _said_before(store)

    def bring(self, entries: Iterable[Record | Problem]) -> None:
        """Put everything into the store. Raises ExchangeError."""
        try:
            for part in self.store.bring(self._faces(entries)):
                self._count(part.items, part.fresh)
                self.tally.judgements += part.judged
        except StoreError as error:
            so_far = f" {self.tally.faces} new faces had arrived and are kept; import again for the rest."
            raise ExchangeError(str(error).removesuffix(_NOTHING_STORED) + so_far) from error

    def _faces(self, entries: Iterable[Record | Problem]) -> Iterator[tuple[NewItem, list[Judgement]]]:
        for entry in entries:
            if isinstance(entry, Problem):
                self.tally.note(entry)
                continue
            try:
                found = self._ready_made(entry) if entry.ready_made else self._cut(entry)
            except (ValueError, OSError) as error:
                if isinstance(error, ExchangeError):
                    raise
                self.tally.note(Problem(entry.name, _sentence(error)))
                continue
            self.tally.unlabelled += 0 if entry.said else len(found)
            yield from found

    def _ready_made(self, record: Record) -> list[tuple[NewItem, list[Judgement]]]:
        image = pictures.open_face(record.content())
        content = pictures.png(image)
        box = _inside(record.box, image) if record.box else (0.0, 0.0, float(image.width), float(image.height))
        item = self._item(record, content, image, box, record.landmarks)
        return [(item, self._judgements(hashlib.sha256(content).hexdigest(), record.said))]

    def _cut(self, record: Record) -> list[tuple[NewItem, list[Judgement]]]:
        if self.cutter is None:
            raise ExchangeError("These are photos, and the detector that finds faces in them is not at hand here.")
        chips = self.cutter.faces(self.cutter.open(record.content()))
        self.tally.without_face += not chips
        return [(self._item(record, one.png(), one.image, one.face.box, one.face.landmarks), []) for one in chips]

    def _item(self, record: Record, content: bytes, image: Image.Image, box: tuple, landmarks: tuple | None) -> NewItem:
        name = plain_text(record.name)
        group = plain_text(record.group or f"{self.source}/{name}")
        return NewItem(self.source, group, content, *image.size, box, landmarks, name, record.split)

    def _judgements(self, picture: str, said: Sequence[Said]) -> list[Judgement]:
        """What is new of `said` about the picture with that hash. Of a person's two answers the first counts."""
        new = []
        for one in said:
            request = _request(picture, one.annotator, one.label, one.second, one.votes)
            if (picture, one.annotator) not in self._answered and request not in self._said_before:
                new.append(one.judgement(request))
            self._answered.add((picture, one.annotator))
        return new

    def _count(self, items: Sequence[int], fresh: int) -> None:
        numbers = set(items)
        new = heapq.nlargest(fresh, numbers)  # ids only grow
        self.tally.faces += fresh
        self.tally.known += len(numbers - self._seen) - fresh
        self.tally.repeated += len(items) - len(numbers - self._seen)
        self.tally.near_duplicates += sum(item.twin is not None for item in self.store.items(new))
        self._seen |= numbers


def _kind_and_path(text: str, kinds: Iterable[str]) -> tuple[str | None, Path]:
    """The two parts of KIND:PATH; None for a path alone. Raises ExchangeError for an empty one."""
    kind, colon, path = text.partition(":")
    if not colon or kind not in kinds:
        kind, path = None, text
    if not path.strip():
        raise ExchangeError(f"“{text}” names no files; write KIND:PATH with KIND one of {', '.join(kinds)}.")
    return kind, Path(os.path.expanduser(path))


def _recognised(tree: Tree) -> str:
    """The kind of the files in `tree`. Raises ExchangeError."""
    found = next((name for name, kind in KINDS.items() if kind.fits(tree)), None)
    if found is None:
        raise ExchangeError(f"{tree.name} holds no faces in any form known here ({', '.join(KINDS)}).{_refused(tree)}")
    return found


def _checked(kind: str, tree: Tree) -> str:
    """`kind`, where the files in `tree` are of it. Raises ExchangeError."""
    if not KINDS[kind].fits(tree):
        raise ExchangeError(
            f"{tree.name} holds nothing of the kind {kind}: {KINDS[kind].needs} is needed.{_refused(tree)}"
        )
    return kind


def _refused(tree: Tree) -> str:
    return f" {tree.refused[0].name}: {tree.refused[0].sentence}" if tree.refused else ""


def _counted(kind: str, tree: Tree) -> Iterable[Record | Problem]:
    """What `tree` holds, of a known length; counting reads no picture. Only of a video the end is not known before."""
    read = KINDS[kind].read
    if kind == "video" or (kind == "folder" and video.fits(tree)):
        return read(tree)
    return Counted(read(tree), sum(1 for _ in read(tree)))


def _inside(box: tuple, image: Image.Image) -> tuple:
    """`box`, if some of it lies in `image`. Raises ValueError otherwise."""
    if box[0] >= image.width or box[1] >= image.height or box[2] <= 0 or box[3] <= 0:
        raise ValueError(f"The box {box} lies outside the picture of {image.width}×{image.height} pixels.")
    return box


def _request(picture: str, annotator: str, label: str, second: str | None, votes: dict | None) -> str:
    """The request of an imported judgement: the same one of the same picture is the same request, in any import."""
    words = json.dumps([picture, annotator, label, second, sorted(votes.items()) if votes else None])
    return f"import:{hashlib.sha256(words.encode()).hexdigest()[:32]}"


def _said_before(store: LabelStore) -> set[str]:
    """Requests that the judgements here would have if they had been imported.

    So an export that comes back adds nothing: neither a judgement a second time, nor one taken back since.
    """
    query = """SELECT image, annotator, label, second, votes FROM judgements AS j JOIN items ON items.id = j.item
               WHERE kind = 'label' AND image IS NOT NULL"""
    with store.database.reading() as connection:
        return {_request(*row[:4], json.loads(row[4]) if row[4] else None) for row in connection.execute(query)}


def _keep_report(store: LabelStore, report: ImportReport, kind: str) -> None:
    time = dt.datetime.now(dt.timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    # The faces have arrived; that their report could not be written is no reason to say they have not.
    with suppress(OSError):
        report.keep(store.database.path.parent / "imports" / f"{time}-{kind}.json")


def _sentence(error: Exception) -> str:
    """What is wrong with a picture, without the folders that an OSError names."""
    return f"It cannot be read ({error.strerror})." if isinstance(error, OSError) else str(error)


# --- export -------------------------------------------------------------------------------------


def export(store: LabelStore, target: str, cutter: Cutter | None = None, progress: Progress = silent) -> ExportReport:
    """Write all faces and the labels that count now to the new folder `target`, KIND:PATH.

    Raises ExchangeError where the folder is not empty, the kind is unknown, no face can be written, or the disk
    does not obey; then nothing is left behind.
    """
    kind, path = _kind_and_path(target, WRITERS)
    if kind is None:
        raise ExchangeError(f"“{target}” is not KIND:PATH with KIND one of {', '.join(WRITERS)}.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ExchangeError(f"{path.name} is there already and not empty; choose a new folder.")
    leaving = Leaving(store, WRITERS[kind], cutter)
    building = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        building.mkdir(parents=True)
        leaving.left_out += leaving.writer.write(leaving.records(progress), building)
        leaving.check()
        if path.exists():
            path.rmdir()  # empty; not every system renames onto a folder
        building.rename(path)
    except OSError as error:
        raise ExchangeError(f"{path.name} could not be written ({error.strerror}); nothing was exported.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return ExportReport(f"{kind}:{path}", leaving.written, dict(leaving.left_out))


class Leaving:
    """An export under way: gives the store's faces as `writer` wants them, and counts what stays behind."""

    def __init__(self, store: LabelStore, writer: ModuleType, cutter: Cutter | None) -> None:
        self.store, self.writer, self.cutter = store, writer, cutter
        self.total, self.left_out = 0, Counter()

    @property
    def written(self) -> int:
        """How many faces did not stay behind."""
        return self.total - self.left_out.total()

    def check(self) -> None:
        """Raise ExchangeError where nothing was written."""
        if not self.written:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            raise ExchangeError(f"There is no face to export{f' ({reasons})' if reasons else ''}; nothing was written.")

    def records(self, progress: Progress) -> Iterator[Record]:
        """The faces, oldest first, each with its picture at hand."""
        for item, said in progress(Counted(_with_labels(self.store), _faces_in(self.store))):
            self.total += 1
            name, box = item.name or f"face-{item.id}", item.box or _frame(item)
            record = Record(name, None, said, item.group, item.split, box, item.landmarks)
            if item.image is None and self.writer is table:
                yield record
                continue
            try:
                content = self.store.picture(item)
            except UnknownItem:  # never kept, or withdrawn since the export began
                self.left_out[NO_PICTURE] += 1
                continue
            except StoreError:
                self.left_out[UNREADABLE] += 1
                continue
            cut = self.writer.READY_MADE and _is_cut_from_more(item)
            yield replace(record, content=partial(self._cropped if cut else _as_kept, item, content))

    def _cropped(self, item: Item, content: bytes) -> bytes:
        if self.cutter is None:
            raise ExchangeError(
                "Faces cut from photos are among these, and the program that crops them is not at hand here."
            )
        return pictures.png(self.cutter.crop(self.cutter.open(content), item.box, item.landmarks))


def _faces_in(store: LabelStore) -> int:
    with store.database.reading() as connection:
        return connection.execute("SELECT count(*) FROM items").fetchone()[0]


def _with_labels(store: LabelStore) -> Iterator[tuple[Item, tuple[Said, ...]]]:
    """Every face with the labels that count now."""
    last = 0
    while True:
        with store.database.reading() as connection:
            query = "SELECT * FROM items WHERE id > ? ORDER BY id LIMIT ?"
            items = [item_of(row) for row in connection.execute(query, (last, CHUNK))]
            if not items:
                return
            query = """SELECT j.* FROM standing AS s JOIN judgements AS j ON j.id = s.judgement
                       WHERE s.item BETWEEN ? AND ? AND s.label IS NOT NULL ORDER BY j.id"""
            said: dict[int, list[Said]] = {}
            for row in connection.execute(query, (items[0].id, items[-1].id)):
                said.setdefault(row["item"], []).append(_words_of(annotation_of(row)))
        yield from ((item, tuple(said.get(item.id, ()))) for item in items)
        last = items[-1].id


def _words_of(one: Annotation) -> Said:
    return Said(one.annotator, one.label, one.second, one.votes, one.at)


def _is_cut_from_more(item: Item) -> bool:
    """Whether the picture shows more than the face, as chips do."""
    return item.landmarks is not None or item.box not in (None, _frame(item))


def _frame(item: Item) -> tuple[float, ...] | None:
    """The box that is all of the picture; None without one."""
    return None if item.width is None else (0.0, 0.0, float(item.width), float(item.height))


def _as_kept(item: Item, content: bytes) -> bytes:
    return content
