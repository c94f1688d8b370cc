"""The models of a workspace, and which of them serves: `Registry`.

A version is a folder in ``models/``, named like the model: its bundle, its card, and the report of how it was made.
Which one serves is in `fer.promotions`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fer.emotions import CLASSES
from fer.files import json_object, replace_file
from fer.origins import FILE as ORIGINS
from fer.origins import Origin, Origins
from fer.promotions import Promotions

if TYPE_CHECKING:
    from fer.bundle import ModelBundle

SHIPPED = Path(__file__).parent / "weights"
# Named as in fer.bundle, which needs torch; a list of models does not.
WEIGHTS, DESCRIPTION, CARD, REPORT = "model.safetensors", "bundle.json", "card.md", "report.json"
TAKEN = ("shipped", "active.json", "history.jsonl", ORIGINS)  # names in the folder that no version can have
WHO, WHY = 80, 500  # characters kept of who promoted and why
T = TypeVar("T")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")


class RegistryError(ValueError):
    """A model is not there, cannot be used or cannot be kept; the message is one sentence."""


@dataclass(frozen=True)
class ModelVersion:
    """One model of a workspace, as its files describe it.

    `parent` is the version it began as, `snapshot` the labels it learned from, `command` how, `date` when (ISO).
    `figures` holds what was measured, by the name of the faces: {n, accuracy, …}, with accuracy_before where it was
    compared with its parent. `damaged` says why it cannot be loaded. `withdrawn` is set where faces were withdrawn
    from a snapshot that it, or a model it goes back to, has learned from: it may be used, but should be replaced.
    `origin` says where it was fetched, of one that came from the Hub.
    """

    version: str
    folder: Path
    parent: str | None = None
    snapshot: str | None = None
    command: str | None = None
    date: str | None = None
    figures: dict[str, dict] = field(default_factory=dict)
    active: bool = False
    shipped: bool = False
    damaged: str | None = None
    withdrawn: bool = False
    card: Path | None = None
    origin: Origin | None = None

    def report(self) -> dict | None:
        """The report of how it was made and compared with its parent; None where there is none."""
        return json_object(self.folder / REPORT)

    def verdict(self) -> dict | None:
        """What the gate said of it: {code, promote, words}; None where it was never asked."""
        said = (self.report() or {}).get("verdict")
        return said if isinstance(said, dict) and {"code", "promote", "words"} <= said.keys() else None

    def as_dict(self) -> dict:
        """Plain JSON values: what the file says, and the verdict."""
        return {
            "version": self.version, "folder": str(self.folder), "parent": self.parent, "snapshot": self.snapshot,
            "command": self.command, "date": self.date, "figures": self.figures, "active": self.active,
            "shipped": self.shipped, "damaged": self.damaged, "withdrawn": self.withdrawn,
            "card": self.card and str(self.card), "verdict": self.verdict(), "origin": self.origin and self.origin.as_dict(),
        }  # fmt: skip


class Registry:
    """The models in the folder `root`, and the one in `shipped`, which is always among them.

    May be used by several processes at once.
    """

    def __init__(self, root: Path, shipped: Path = SHIPPED) -> None:
        self.root, self.shipped = Path(root), Path(shipped)
        self.origins = Origins(self.root)
        self._promotions = Promotions(self.root)

    @property
    def pointer_file(self) -> Path:
        """The file that says which version serves; it is replaced with every promotion, and missing before the first."""
        return self._promotions.file

    def versions(self) -> list[ModelVersion]:
        """All of them, newest first."""
        active = self._standing()[0]
        return sorted((self._row(folder, folder == active) for folder in self._named().values()), key=_when, reverse=True)

    def find(self, version: str) -> ModelVersion:
        """The version called `version`, "shipped", or by a beginning that only one has. Raises RegistryError."""
        wanted, named = str(version).strip(), self._named()
        chosen = [self.shipped] if wanted == "shipped" else [named[wanted]] if wanted in named else []
        chosen = chosen or [folder for name, folder in named.items() if wanted and name.startswith(wanted)]
        if len(chosen) != 1:
            found = "Several models begin with" if chosen else "There is no model"
            raise RegistryError(f"{found} “{_plain(wanted, 120)}”; there are {', '.join(sorted(named))}.")
        return self._row(chosen[0], chosen[0] == self._standing()[0])

    def folder(self, model: str | Path) -> Path:
        """The bundle's folder of `model`: a version, or itself a folder. Raises RegistryError for what is neither."""
        path, known = Path(model), {"shipped", *self._named()}
        if (path / DESCRIPTION).is_file() or len(path.parts) > 1 or path.is_dir() and str(model) not in known:
            return path
        return self.find(str(model)).folder

    def add(self, bundle_folder: Path, report: Path | None = None) -> ModelVersion:
        """Keep a copy of the bundle in `bundle_folder`, with the file `report` as its report if given.

        It is there as a whole or not at all. What is there already under that name stays, unless it is damaged.
        Raises RegistryError for a damaged bundle, or another model of the same name.
        """
        source = Path(bundle_folder)
        version = (json_object(source / DESCRIPTION) or {}).get("version", "")
        fault = _fault(source, version)
        if fault:
            raise RegistryError(f"The model cannot be kept: {fault}")
        if not NAME.fullmatch(version) or version in TAKEN:
            raise RegistryError(f"“{_plain(version, 120)}” cannot be the name of a model; use letters, digits, dots and dashes.")
        ships = version == self._name(self.shipped)
        target = self.shipped if ships else self.root / version
        with self._locked():
            if ships or _fault(target, version) is None:
                if _checksum(target) != _checksum(source) or _use(target) != _use(source):
                    raise RegistryError(f"There is another model called {version} already; give the new one another name.")
            else:
                self._copy(source, target)
            if report and not ships:
                for abandoned in target.glob("*.partial"):  # by a process that was killed just here
                    abandoned.unlink()
                replace_file(target / REPORT, lambda partial: shutil.copyfile(report, partial))
        return self.find(version)

    def note_origin(self, origin: Origin) -> Origin:
        """Remember where a version was fetched. Raises RegistryError where the disk does not obey."""
        with self._locked():
            self.origins.note(origin)
        return origin

    def active(self) -> ModelVersion:
        """The one that serves: what the pointer names or, if that is damaged, the last good one before it."""
        return self._row(self._standing()[0], True)

    def warning(self) -> str | None:
        """Why another than the promoted model serves, in one sentence; None while all is well."""
        return self._standing()[1]

    def load_active(self) -> tuple["ModelBundle", str | None]:
        """The model that serves, and a sentence where it is not the one that was promoted, saying why.

        Raises BundleError when not even the shipped one can be loaded.
        """
        from fer import bundle

        loaded, refused = self._first_good(_loaded)
        loaded = loaded or bundle.load(self.shipped)
        return loaded, refused and _instead(*refused, loaded.version)

    def promote(self, version: str, who: str, why: str = "") -> ModelVersion:
        """From now on `version` serves, because `who` wants it for the reason `why`. Nothing is done where it does already.

        Raises RegistryError when it is not there, cannot be loaded, or nobody is named.
        """
        who, why = _signed(who), _plain(why, WHY)
        chosen = self.find(version)
        _loaded(chosen.folder, chosen.version)
        with self._locked():
            if not self.points_to(chosen):
                before = [line["id"] for line in self._promotions.chain() if line["id"]]
                back = before[0] if before else None
                self._promotions.record(chosen.version, chosen.shipped, "promote", who, why, back)
        return self.find(chosen.version)

    def rollback(self, who: str, why: str = "") -> ModelVersion:
        """The model that served before the active one serves again; before all others that is the shipped one.

        A version that cannot be loaded any more is passed over. Raises RegistryError where there is no way back.
        """
        who, why = _signed(who), _plain(why, WHY)
        with self._locked():
            lines = [line for line in self._promotions.chain()[1:] if self._sound(self._folder_of(line))]
            chosen = self._row(self._folder_of(lines[0]) if lines else self.shipped, False)
            if not lines and self.points_to(chosen):
                raise RegistryError("The model that ships is active, and none was before it; there is nothing to go back to.")
            back = lines[0].get("back") if lines else None
            self._promotions.record(chosen.version, chosen.shipped, "rollback", who, why, back)
        return self.find(chosen.version)

    def points_to(self, chosen: ModelVersion) -> bool:
        """Whether it is `chosen` that was promoted, be it damaged or not; before the first promotion the shipped one."""
        if not self.pointer_file.exists():
            return chosen.shipped
        pointer = self._promotions.pointer()
        return pointer is not None and self._folder_of(pointer) == chosen.folder

    def misgiving(self, chosen: ModelVersion) -> str | None:
        """Why `chosen` should be promoted only by somebody who says why, in one sentence; else None.

        The one that ships, and those that served before, were found good already; any other needs the gate's consent.
        """
        served = {line["version"] for line in (*self.history(), *self._promotions.chain())}
        if chosen.shipped or chosen.version in served:
            return None
        said = chosen.verdict()
        if said is None:
            return f"{chosen.version} was never compared with the model it should replace."
        return None if said["promote"] is True else _plain(said["words"], 1000)

    def history(self) -> list[dict]:
        """Every promotion and way back, oldest first: {id, action, version, at, who, why, back}."""
        return self._promotions.history()

    # --- what serves ----------------------------------------------------------------------------

    def _standing(self) -> tuple[Path, str | None]:
        """Folder of the model that serves, as far as can be told without loading it, and what was refused."""
        folder, refused = self._first_good(_checked)
        folder = folder or self.shipped
        return folder, refused and _instead(*refused, self._name(folder))

    def _first_good(self, take: Callable[[Path, str], T]) -> tuple[T | None, tuple[str, str] | None]:
        """What `take` makes of the folder and name of the first version in force for which it raises no RegistryError,
        None where there is none; and the first that was refused, with the reason."""
        fault = self._promotions.fault()
        refused = (f"{self.root.name}/{self.pointer_file.name}", fault) if fault else None
        for line in self._promotions.chain():
            folder = self._folder_of(line)
            try:
                return take(folder, self._name(folder)), refused
            except RegistryError as error:
                refused = refused or (self._name(folder), str(error))
        return None, refused

    def _folder_of(self, line: dict) -> Path:
        """The folder of the version that a line of history, or the pointer, names."""
        version = line["version"]
        if line.get("shipped") is True or version in ("shipped", self._name(self.shipped)):
            return self.shipped
        return self.root / (version if NAME.fullmatch(version) else "unknown")

    def _sound(self, folder: Path) -> bool:
        try:
            _loaded(folder, self._name(folder))
        except RegistryError:
            return False
        return True

    # --- what there is --------------------------------------------------------------------------

    def _named(self) -> dict[str, Path]:
        """The folder of each version, by its name."""
        folders = [path.parent for path in self.root.glob(f"*/{DESCRIPTION}") if NAME.fullmatch(path.parent.name)]
        return {**{folder.name: folder for folder in sorted(folders)}, self._name(self.shipped): self.shipped}

    def _name(self, folder: Path) -> str:
        """The name of the version in `folder`: that of the folder, but that the shipped one tells its own."""
        said = (json_object(folder / DESCRIPTION) or {}).get("version") if folder == self.shipped else None
        return said if isinstance(said, str) else folder.name

    def _row(self, folder: Path, active: bool) -> ModelVersion:
        made = (json_object(folder / DESCRIPTION) or {}).get("provenance")
        made = made if isinstance(made, dict) else {}
        parent = made["started_from"] if isinstance(made.get("started_from"), dict) else {}
        name = self._name(folder)
        return ModelVersion(
            version=name, folder=folder, parent=_text(parent.get("version")), snapshot=_text(made.get("snapshot")),
            command=_text(made.get("command")), date=_text(made.get("date")), figures=_figures(folder, made), active=active,
            shipped=folder == self.shipped, damaged=_fault(folder, name), withdrawn=self._withdrawn(made),
            card=folder / CARD if (folder / CARD).is_file() else None, origin=self.origins.of(name),
        )  # fmt: skip

    def _withdrawn(self, made: object) -> bool:
        """Whether faces were withdrawn from a snapshot that a model, or one it goes back to, has learned from."""
        while isinstance(made, dict):
            snapshot = _text(made.get("snapshot")) or ""
            if NAME.fullmatch(snapshot) and (self.root.parent / "snapshots" / snapshot / "WITHDRAWN.json").exists():
                return True
            before = made.get("started_from")
            made = before.get("provenance") if isinstance(before, dict) else None
        return False

    def _copy(self, source: Path, target: Path) -> None:
        """A copy of the bundle in `source` appears as `target`, in place of a damaged one. Under the lock."""
        partial = Path(tempfile.mkdtemp(suffix=".partial", prefix=".", dir=self.root))
        try:
            for name in [WEIGHTS, DESCRIPTION, CARD, *(path.name for path in source.glob("report*.json"))]:
                if (source / name).is_file():
                    replace_file(partial / name, lambda copy, name=name: shutil.copyfile(source / name, copy))
            _checked(partial, target.name)
            partial.chmod(self.root.stat().st_mode)  # mkdtemp makes private ones
            if target.exists():
                os.replace(target, partial.with_name(f".{secrets.token_hex(6)}.partial"))
            os.replace(partial, target)
        finally:
            # This one's, and of processes that were killed: nobody else copies now.
            for abandoned in self.root.glob(".*.partial"):
                shutil.rmtree(abandoned, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the registry for a moment: of two promotions at once the second sees what the first has done.

        The lock ends with the process, however that ends. Raises RegistryError where the disk does not obey.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with (self.root / ".lock").open("w") as file:
                with suppress(OSError):  # some network disks know no locks; every single write is whole without
                    fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            fault = error.strerror or error
            raise RegistryError(f"The models cannot be changed ({fault}); see to the disk of the workspace.") from error


# --- one folder ---------------------------------------------------------------------------------


def _loaded(folder: Path, name: str) -> "ModelBundle":
    """The model called `name` in `folder`. Raises RegistryError when it cannot be loaded or its classes are not the app's."""
    from fer import bundle

    _checked(folder, name)
    try:
        loaded = bundle.load(folder)
    except bundle.BundleError as error:
        raise RegistryError(str(error)) from error
    if loaded.classes != CLASSES:
        others = ", ".join(loaded.classes)
        raise RegistryError(f"{name} names other expressions ({others}) than the app; choose another model.")
    return loaded


def _checked(folder: Path, name: str) -> Path:
    """`folder`. Raises RegistryError when its files tell that the model called `name` in it cannot be used."""
    fault = _fault(folder, name)
    if fault:
        raise RegistryError(fault)
    return folder


def _fault(folder: Path, name: str) -> str | None:
    """Why the model called `name` in `folder` cannot be used, in one sentence, as far as its two files tell; else None."""
    description = json_object(folder / DESCRIPTION)
    short = f"{folder.name}/{DESCRIPTION}"
    if description is None:
        return f"{short} is {'damaged' if (folder / DESCRIPTION).exists() else 'missing'}; restore it, or choose another model."
    if not isinstance(description.get("version"), str) or not isinstance(description.get("sha256"), str):
        return f"{short} is incomplete; restore it, or choose another model."
    if description["version"] != name:
        return f"{short} describes the model {_plain(description['version'], 120)}; restore it, or choose another model."
    checksum = _checksum(folder)
    if checksum is None:
        return f"{folder.name}/{WEIGHTS} is missing; restore it, or choose another model."
    if checksum != description["sha256"]:
        return f"{folder.name}/{WEIGHTS} is not the file that {DESCRIPTION} describes (checksum differs); restore both."
    return None


def _use(folder: Path) -> dict:
    """How the model in `folder` is used, beside its weights: two that differ in it give different scores."""
    said = json_object(folder / DESCRIPTION) or {}
    return {name: said.get(name) for name in ("arch", "classes", "preprocess", "temperature")}


def _checksum(folder: Path) -> str | None:
    """SHA-256 of the weights; None where they cannot be read."""
    try:
        seen = (folder / WEIGHTS).stat()
        return _sha256(folder / WEIGHTS, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _sha256(path: Path, *seen: int) -> str:
    """SHA-256 of the file; `seen`, its times and size, tell a changed file from one that was read before."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _figures(folder: Path, made: dict) -> dict[str, dict]:
    """What the reports beside a bundle say, or else its provenance, by the name of the faces."""
    found = {}
    for path in sorted(folder.glob("report*.json")):
        report = json_object(path) or {}
        if report.get("kind") == "finetune":
            for name in ("corrections", "benchmark"):
                found |= {name: _compared(report[name])} if isinstance(report.get(name), dict) else {}
        elif isinstance(report.get("accuracy"), float):
            found[f"{report.get('data')} {report.get('split')}"] = {
                name: report[name] for name in ("n", "accuracy", "macro_f1", "macro_f1_50", "ece") if name in report
            }
    measured, kept = made.get("candidates"), _text(made.get("kept"))
    if not found and isinstance(measured, dict) and isinstance(measured.get(kept), float):
        found["validation"] = {"accuracy": measured[kept]}
    return found


def _compared(comparison: dict) -> dict:
    """What `ModelVersion.figures` keep of a comparison as JSON gives it."""
    kept = {"n": "n", "accuracy": "accuracy_after", "accuracy_before": "accuracy_before", "macro_f1": "macro_f1_after", "p": "p"}
    return {name: comparison[given] for name, given in kept.items() if given in comparison}


def _when(one: ModelVersion) -> tuple[float, bool, str]:
    """Later is larger; of two made on the same day the one that ships is the older."""
    try:
        when = datetime.fromisoformat(one.date or "")
        seconds = (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        seconds = (one.folder / DESCRIPTION).stat().st_mtime if (one.folder / DESCRIPTION).exists() else 0.0
    return seconds, not one.shipped, one.version


# --- words and lines ----------------------------------------------------------------------------


def _instead(name: str, fault: str, serving: str) -> str:
    return f"{name} cannot be used, so {serving} serves in its place: {fault}"


def _signed(who: str) -> str:
    who = _plain(who, WHO)
    if not who:
        raise RegistryError("Say who does this; the history of the models keeps it.")
    return who


def _plain(text: object, most: int) -> str:
    """`text` on one line, without control characters, `most` characters at most."""
    return " ".join("".join(one if one.isprintable() else " " for one in str(text or "")).split())[:most].strip()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
