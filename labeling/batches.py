"""What goes to the Hub at once: a `Batch`, one zip of records and the pictures they name.

``records.jsonl`` has the version on its first line, then a record a line; ``images/`` the pictures, named by their
SHA-256. Nothing is compressed, no time is kept, and the order is fixed: the same batch is the same file.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from labeling.consents import mark_of
from labeling.records import VERSION, BadRecord, consent_name, line, read
from labeling.schema import now

FOLDER = "batches/"
LARGEST = 64_000_000  # bytes of a batch that is read; they are written smaller, see sync.Pace
_RECORDS, _IMAGES = "records.jsonl", "images/"
_NAME = re.compile(r"batches/[0-9A-Za-z.-]{1,100}\.zip")
_NEVER = (1980, 1, 1, 0, 0, 0)  # a zip cannot do without a time
_MOST = 200_000  # records of a batch that is read


class DamagedBatch(ValueError):
    """A file that is no batch, or none that this version can read; the message says why, and begins with a small letter."""


@dataclass(frozen=True)
class Batch:
    """`records` in the order in which they are applied, and `pictures`, PNG by SHA-256."""

    records: tuple[dict, ...]
    pictures: dict[str, bytes] = field(default_factory=dict)

    def withdrawn(self, gone: Mapping[str, str]) -> tuple[dict, ...]:
        """The records of what was withdrawn; `gone` has uids of faces and `consents.mark_of` codes, each with its time.

        Who agrees again under a code that was withdrawn begins anew: only what was agreed to before that counts.
        """
        agreed: dict[str, str] = {}
        for one in self.records:
            if one["kind"] == "consent":
                name = consent_name(one["code"], one["purpose"])
                agreed[name] = max(agreed.get(name, ""), one["agreed_at"])
        ended = {name for name, at in agreed.items() if _ended(name, at, gone)}
        faces = {one["uid"] for one in self.records if one["kind"] == "item" and one["consent"] in ended} | set(gone)
        return tuple(one for one in self.records if _is_withdrawn(one, faces, ended, gone))

    def without(self, gone: Mapping[str, str]) -> "Batch":
        """What is left once all that was withdrawn is taken out."""
        taken = {id(one) for one in self.withdrawn(gone)}
        records = tuple(one for one in self.records if id(one) not in taken)
        needed = {one["image"] for one in records if one["kind"] == "item"}
        return Batch(records, {name: png for name, png in self.pictures.items() if name in needed})

    @classmethod
    def of(cls, batches: Iterable["Batch"]) -> "Batch":
        """Several as one; what is in two of them is there once."""
        lines: dict[str, dict] = {}
        pictures: dict[str, bytes] = {}
        for batch in batches:
            lines.update({line(one): one for one in batch.records})
            pictures.update(batch.pictures)
        return cls(tuple(lines.values()), pictures)

    def packed(self) -> bytes:
        """The file."""
        text = "".join(f"{one}\n" for one in (json.dumps({"version": VERSION}), *map(line, self.records)))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo(_RECORDS, _NEVER), text.encode())
            for name in sorted(self.pictures):
                archive.writestr(zipfile.ZipInfo(f"{_IMAGES}{name}.png", _NEVER), self.pictures[name])
        return file.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> "Batch":
        """The batch in a file, every picture compared with its name. Raises DamagedBatch."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                entries = archive.infolist()
                if any(one.compress_type != zipfile.ZIP_STORED or one.flag_bits & 1 for one in entries):
                    raise DamagedBatch("it is packed as no batch is")
                records = _records(archive.read(_RECORDS))
                pictures = {
                    one.filename.removeprefix(_IMAGES).removesuffix(".png"): archive.read(one)
                    for one in entries if one.filename != _RECORDS
                }  # fmt: skip
        except DamagedBatch:
            raise
        except (zipfile.BadZipFile, KeyError, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
            raise DamagedBatch(f"it is no whole zip ({type(error).__name__})") from error
        _check(records, pictures)
        return cls(records, pictures)


def new_name(origin: str, number: int = 0) -> str:
    """A name that no other batch has, of the copy `origin`; later ones sort behind."""
    moment = re.sub(r"[^0-9]", "", now())
    return f"{FOLDER}{moment}-{number:03d}-{origin}-{secrets.token_hex(6)}.zip"


def is_batch(path: str) -> bool:
    """Whether `path` in the repository is named as a batch."""
    return _NAME.fullmatch(path) is not None


def _records(text: bytes) -> tuple[dict, ...]:
    try:
        first, *lines = text.decode().removesuffix("\n").split("\n")  # a text may hold other ends of lines
        version = json.loads(first)["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedBatch("its records do not begin with their version") from error
    if version != VERSION:
        raise DamagedBatch(f"it was written by another version of Expression Studio ({version}); update this one")
    if len(lines) > _MOST:
        raise DamagedBatch(f"it has more than {_MOST} records")
    try:
        return tuple(map(read, lines))
    except BadRecord as error:
        raise DamagedBatch(str(error)) from error


def _check(records: tuple[dict, ...], pictures: dict[str, bytes]) -> None:
    """Raise DamagedBatch where a picture is not what its name says, or where what a record names is missing."""
    agreed = {None} | {consent_name(one["code"], one["purpose"]) for one in records if one["kind"] == "consent"}
    if any(one.get("consent") not in agreed for one in records):
        raise DamagedBatch("an agreement is missing")
    for name, content in pictures.items():
        if hashlib.sha256(content).hexdigest() != name:
            raise DamagedBatch(f"the picture {name[:12]}… is not what its name says")
    for one in records:
        if one["kind"] == "item" and one["image"] is not None and one["image"] not in pictures:
            raise DamagedBatch(f"the picture {one['image'][:12]}… is missing")


def _is_withdrawn(record: dict, faces: set[str], ended: set[str], gone: Mapping[str, str]) -> bool:
    kind = record["kind"]
    if kind == "item":
        return record["uid"] in faces
    if kind == "judgement":
        return record["item"] in faces or record["consent"] in ended
    if kind == "consent":
        return consent_name(record["code"], record["purpose"]) in ended
    visitor = kind == "trust" and "#" in record["contributor"]
    return visitor and _ended(record["contributor"][-16:], record["at"], gone)


def _ended(code: str, since: str, gone: Mapping[str, str]) -> bool:
    """Whether what was given under `code` (as it is kept, or its beginning) `since` then was withdrawn."""
    mark = mark_of(code)
    return mark in gone and since <= gone[mark]
