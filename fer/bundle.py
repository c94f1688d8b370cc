"""A model as it is kept and shipped: weights, and everything needed to use them rightly.

A bundle is a folder of two files. ``model.safetensors`` holds the tensors and, in its header, what
they mean: architecture, classes and preprocessing. ``bundle.json`` repeats that, adds temperature
and provenance, and names the SHA-256 of the weights. Where the two disagree the bundle is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as as_bytes
from torch import nn

from fer.files import replace_file, replace_json
from fer.model import build, forward_logits
from fer.transforms import Preprocess

FORMAT = 1
WEIGHTS, DESCRIPTION, CARD = "model.safetensors", "bundle.json", "card.md"
SHIPPED = Path(__file__).parent / "weights"


class BundleError(ValueError):
    """A bundle is missing, damaged or contradicts itself; the message says which file and what to do."""


@dataclass(frozen=True)
class ModelBundle:
    """A network in evaluation mode and what belongs to it.

    `temperature` divides the logits before the softmax (Guo et al. 2017). `provenance` is JSON: how
    the weights came about. `version` names the model on screen and in stored predictions.
    """

    version: str
    arch: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    network: nn.Module
    temperature: float = 1.0
    provenance: dict = field(default_factory=dict)

    def probabilities(self, batch: torch.Tensor, classes: tuple[str, ...] | None = None) -> torch.Tensor:
        """Calibrated probabilities float32 (N, K) of `batch` float32 (N, 3, size, size).

        With `classes` the others are masked before the softmax, and K is their number.
        """
        unknown = set(classes or ()) - set(self.classes)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))} is no class of {self.version}")
        with torch.inference_mode():
            logits = forward_logits(self.network, batch) / self.temperature
        if classes is not None:
            logits = logits[:, [self.classes.index(name) for name in classes]]
        return logits.softmax(dim=1)


def save(bundle: ModelBundle, folder: Path) -> None:
    """Write `bundle` into `folder`; the weights first, then the description that names them."""
    tensors = {key: value.contiguous() for key, value in bundle.network.state_dict().items()}
    meaning = _meaning(bundle.arch, bundle.classes, bundle.preprocess)
    content = as_bytes(tensors, {"meaning": meaning})  # for safetensors reports a full disk as a fault of its own
    replace_file(folder / WEIGHTS, lambda partial: partial.write_bytes(content))
    description = {
        "format": FORMAT,
        "version": bundle.version,
        "arch": bundle.arch,
        "classes": list(bundle.classes),
        "preprocess": bundle.preprocess.as_dict(),
        "temperature": bundle.temperature,
        "sha256": _sha256(folder / WEIGHTS),
        "provenance": bundle.provenance,
    }
    replace_json(folder / DESCRIPTION, description)


def load(folder: Path | str = SHIPPED) -> ModelBundle:
    """The bundle in `folder`, ready to use; by default the one that ships.

    Raises BundleError when a file is missing or damaged, or when classes, preprocessing, checksum
    and weights do not belong together.
    """
    folder = Path(folder)
    description = _read_description(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise BundleError(f"{_short(weights)} is missing; restore it, or choose another model.")
    try:
        preprocess = Preprocess.from_dict(description["preprocess"])
        classes = tuple(description["classes"])
        arch, temperature, checksum = description["arch"], float(description["temperature"]), description["sha256"]
        version = description["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{_short(folder / DESCRIPTION)} is incomplete or wrong ({error}); restore it.") from error
    if _sha256(weights) != checksum:
        raise BundleError(f"{_short(weights)} is not the file that {DESCRIPTION} describes (checksum differs); restore both.")
    if not 0 < temperature < float("inf"):
        raise BundleError(f"{_short(folder / DESCRIPTION)} has temperature {temperature}; it must be above 0.")
    network = _network(weights, arch, classes, preprocess)
    return ModelBundle(version, arch, classes, preprocess, network, temperature, description.get("provenance", {}))


def origin(weights: Path | str) -> dict | None:
    """Version and provenance of the bundle that the file `weights` belongs to; None for a file without one."""
    weights = Path(weights)
    if not (weights.is_file() and (weights.parent / DESCRIPTION).is_file()):
        return None
    description = _read_description(weights.parent)
    if description.get("sha256") != _sha256(weights):
        return None
    return {"version": description.get("version", ""), "provenance": description.get("provenance", {})}


def _network(weights: Path, arch: str, classes: tuple[str, ...], preprocess: Preprocess) -> nn.Module:
    try:
        with safe_open(weights, framework="pt") as file:
            meaning = (file.metadata() or {}).get("meaning")
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except Exception as error:  # safetensors raises its own type
        raise BundleError(f"{_short(weights)} cannot be read as safetensors; restore it.") from error
    if meaning != _meaning(arch, classes, preprocess):
        raise BundleError(
            f"{_short(weights)} was trained with other classes or another preprocessing than {DESCRIPTION} says; restore both."
        )
    try:
        network = build(arch, len(classes))
        network.load_state_dict(tensors)
    except (ValueError, RuntimeError) as error:  # torch says RuntimeError for shapes that do not fit
        raise BundleError(f"{_short(weights)} does not fit the architecture {arch}; restore it.") from error
    return network.eval()


def _read_description(folder: Path) -> dict:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise BundleError(f"{_short(path)} is missing, so {folder.name} is not a model folder; restore it, or choose another model.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{_short(path)} is not valid JSON; restore it.") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise BundleError(f"{_short(path)} is not a bundle of format {FORMAT}; update the app or choose another model.")
    return description


def _meaning(arch: str, classes: tuple[str, ...], preprocess: Preprocess) -> str:
    """What the weights mean, as canonical JSON: two equal strings, two equal uses."""
    value = {"arch": arch, "classes": list(classes), "preprocess": preprocess.as_dict()}
    return json.dumps(value, sort_keys=True)


def _short(path: Path) -> str:
    """The file and its folder: these sentences are shown to visitors, whom the rest of the path does not concern."""
    return f"{path.parent.name}/{path.name}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
