"""Versions to the Hub and from there: `push`, `pull`, and `chosen`, what an app starts from. Torch only to try a model.

What comes from the Hub is somebody else's: it is looked at before it is kept, and what it says of how good it is counts for
nothing with the gate.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from fer import card as cards
from fer.files import json_object, replace_json, replace_text
from fer.hub import DESCRIPTION, README, WEIGHTS, HubError, ModelAddress, ModelRepository, Pushed
from fer.origins import Origin
from fer.registry import CARD, REPORT, ModelVersion, Registry, RegistryError

DEEPEST = 200  # levels of a JSON file; each fine-tune of a fine-tune adds two
LARGEST_INPUT = 1024  # side of a network's input, pixels: a larger one would take the memory of the machine
LONGEST_NAME = 500  # characters of what a report says of its data
FROM_HUB = "report-hub.json"  # what a fetched model's own gate said: for people to read, never for ours to believe
PRIVATE = ("flips", "snapshot_folder")  # of a run's report: single faces, and where they lie on this disk


@dataclass(frozen=True)
class Pulled:
    """A `version` that is in the workspace now, where it comes from, and whether it was not there before."""

    version: ModelVersion
    origin: Origin
    new: bool

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return {**self.version.as_dict(), "repository": self.origin.repository, "commit": self.origin.commit, "new": self.new}


def push(registry: Registry, version: str, repository: ModelRepository, public: bool = False) -> Pushed:
    """Put the version called `version` on the Hub, with its card and its reports; no picture, no name of a face goes along.

    Raises HubError, and RegistryError for a version that is damaged, or that `public` must not show.
    """
    chosen = registry.find(version)
    if chosen.damaged:
        raise RegistryError(f"{chosen.version} cannot be pushed: {chosen.damaged}")
    if chosen.withdrawn and public:
        fault = f"{chosen.version} has learned from faces that were withdrawn since, so it is not published"
        raise RegistryError(f"{fault}; train a new model.")
    files: dict[str, bytes | Path] = {name: chosen.folder / name for name in (WEIGHTS, DESCRIPTION)}
    reports = _reports(chosen.folder)
    files |= {name: _as_bytes(report) for name, report in reports.items()}
    origin = registry.origins.of(chosen.parent) if chosen.parent else None
    card = cards.hub_card(chosen, json_object(chosen.folder / DESCRIPTION) or {}, list(reports.values()), repository.name, origin)
    return repository.push(files, card, f"{chosen.version}", public)


def pull(registry: Registry, address: ModelAddress, repository: ModelRepository | None = None) -> Pulled:
    """Keep the model at `address` as a version; what is here already by the same commit is not fetched again.

    Raises HubError where it cannot be fetched or used, RegistryError where it cannot be kept; then nothing is left of it.
    """
    repository = repository or ModelRepository(address.repository)
    commit = repository.commit(address.revision)
    here = _here(registry, registry.origins.by_commit(address.repository, commit))
    if here:
        return _noted(registry, here, address, commit, new=False)
    known = {one.version for one in registry.versions() if not one.damaged}
    try:
        # Elsewhere: a process that is killed leaves nothing among the models.
        with tempfile.TemporaryDirectory(prefix="fer-") as place:
            folder = Path(place) / address.repository.partition("/")[2]
            folder.mkdir()
            repository.fetch(commit, folder)
            _examine(folder, address)
            _settle(folder)
            version = registry.add(folder)
    except OSError as error:
        raise HubError(f"{address} could not be stored ({error.strerror or error}); see to the disk, then pull again.") from error
    return _noted(registry, version, address, commit, new=version.version not in known)


def chosen(registry: Registry, model: str | Path) -> tuple[Path, str | None]:
    """The folder of `model`: a version, a folder, or ``hub:USER/NAME[@REVISION]``; and a sentence where the Hub could not
    be asked for its newest. Raises RegistryError, HubError."""
    if not str(model).startswith("hub:"):
        return registry.folder(model), None
    version, warning = fetched(registry, ModelAddress.parse(str(model)))
    return version.folder, warning


def fetched(registry: Registry, address: ModelAddress) -> tuple[ModelVersion, str | None]:
    """The version at `address`, and a sentence where it is not what the Hub has now, saying why.

    A commit that is here needs no network. Where the Hub cannot be asked, what was fetched before is used; raises
    HubError where nothing was.
    """
    fixed = _here(registry, registry.origins.by_commit(address.repository, address.revision))
    if fixed:
        return fixed, None
    try:
        return pull(registry, address).version, None
    except ValueError as error:  # HubError, RegistryError
        before = registry.origins.by_revision(address.repository, address.revision)
        kept = _here(registry, before)
        if kept:
            return kept, f"{address} serves as it was fetched on {before.at[:10]} (commit {before.commit[:7]}): {error}"
        raise HubError(f"{address} was not fetched: {error}") from error


# --- what goes ----------------------------------------------------------------------------------


def _reports(folder: Path) -> dict[str, dict]:
    """The reports beside a bundle by the names of their files, without what is said of single faces."""
    found = {path.name: json_object(path) for path in sorted(folder.glob("report*.json"))}
    shown = {name: one for name, one in found.items() if one and _can_be_shown(one)}
    return {name: {key: value for key, value in one.items() if key not in PRIVATE} for name, one in shown.items()}


def _as_bytes(report: dict) -> bytes:
    return (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode()


# --- what comes ---------------------------------------------------------------------------------


def _here(registry: Registry, origin: Origin | None) -> ModelVersion | None:
    """The version that `origin` fetched, if it is still here and whole."""
    try:
        version = registry.find(origin.version) if origin else None
    except RegistryError:
        return None
    return version if version and version.version == origin.version and not version.damaged else None


def _noted(registry: Registry, version: ModelVersion, address: ModelAddress, commit: str, new: bool) -> Pulled:
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    origin = registry.note_origin(Origin(version.version, address.repository, address.revision, commit, at))
    return Pulled(registry.find(version.version), origin, new)


def _examine(folder: Path, address: ModelAddress) -> None:
    """Raises HubError where the fetched bundle in `folder` cannot be used as a model of this program."""
    for path in sorted(folder.glob("*.json")):
        if not _is_plain(path):
            raise HubError(f"{path.name} of {address} is no JSON object of a usual depth; choose another model.")
    from fer import bundle
    from fer.emotions import CLASSES

    try:
        loaded = bundle.load(folder)
        if loaded.classes != CLASSES:
            raise HubError(f"it names other expressions ({', '.join(map(str, loaded.classes))[:200]}) than the app.")
        _try_out(loaded)
    except ValueError as error:  # BundleError
        raise HubError(f"{address} cannot be used: {error}") from error


def _try_out(loaded) -> None:
    """Raises HubError where the model does not work: a description may fit its weights and still be nonsense."""
    import torch
    from PIL import Image

    from fer.faces import Face

    fault = HubError("it does not give shares of its expressions for a picture; choose another model.")
    try:
        if not _usual(loaded.preprocess) or not isinstance(loaded.provenance, dict):
            raise fault
        picture = Image.new("RGB", (64, 64), (120, 130, 140))
        shares = loaded.probabilities(loaded.preprocess(picture, Face.whole(picture))[None])
        good = shares.shape == (1, len(loaded.classes)) and bool(torch.isfinite(shares).all())
    except Exception as error:  # whatever a field of the wrong kind leads to
        raise fault from error
    if not good:
        raise fault


def _usual(preprocess) -> bool:
    """Whether crops and inputs are of a size that a machine can hold."""
    numbers = (preprocess.side, preprocess.shift, *preprocess.mean, *preprocess.std)
    sized = type(preprocess.size) is int and preprocess.size <= LARGEST_INPUT and 0.1 <= preprocess.side <= 10
    return sized and abs(preprocess.shift) <= 2 and all(map(math.isfinite, numbers))


def _settle(folder: Path) -> None:
    """Make of what was fetched what a version's folder holds: a card, and reports that can be shown."""
    readme = folder / README
    if readme.is_file():
        replace_text(folder / CARD, cards.card_in(readme.read_text(encoding="utf-8", errors="replace")))
        readme.unlink()
    for path in sorted(folder.glob("report*.json")):
        if not _can_be_shown(json_object(path) or {}):
            path.unlink()
    if (folder / REPORT).is_file():
        replace_json(folder / FROM_HUB, json_object(folder / REPORT))
        (folder / REPORT).unlink()


def _can_be_shown(report: dict) -> bool:
    """Whether a report holds figures where figures are expected: screens and cards rely on it."""
    if not cards.can_be_written(report):
        return False
    if report.get("kind") == "finetune":
        compared = [report.get(name) for name in ("corrections", "benchmark") if report.get(name) is not None]
        figures = ("accuracy_before", "accuracy_after")
        return bool(compared) and all(isinstance(one, dict) and _figures(one, *figures) for one in compared)
    named = all(isinstance(report.get(name), str) and len(report[name]) < LONGEST_NAME for name in ("data", "split", "protocol"))
    return named and _figures(report, "accuracy", "macro_f1")


def _figures(values: dict, *names: str) -> bool:
    """Whether `values` holds a count of faces, the shares `names`, and nothing in place of a number that is none."""
    optional = ("accuracy", "macro_f1", "macro_f1_50", "ece", "macro_f1_before", "macro_f1_after", "p")
    given = [values.get(name) for name in names] + [values[name] for name in optional if name in values]
    shares = all(type(one) in (int, float) and math.isfinite(one) and 0 <= one <= 1 for one in given)
    return shares and type(values.get("n")) is int and values["n"] > 0


def _is_plain(path: Path) -> bool:
    """Whether the file holds a JSON object that nobody needs a deep stack to read."""
    try:
        value = json_object(path)
    except RecursionError:
        return False
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        inside = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level, depth = [one for part in inside for one in part], depth + 1
    return value is not None and not level
