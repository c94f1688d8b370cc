"""What a fine-tune remembers with: `Rehearsal`, faces as the network sees them half-way up, and the base benchmark.

Latent replay (Pellegrini et al. 2020, arXiv:1912.01100): the layers below the replay point stay as they are, so instead
of pictures it is enough to keep what those layers make of them. They ship as whole numbers of eight bits, and hold for
every model whose lower layers are those they were made with.

    python -m fer rehearsal --data ferplus:FER+          # after the shipped model was changed
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fer.bundle import SHIPPED, ModelBundle
from fer.datasets import FaceSet, load
from fer.files import replace_file

FILE = SHIPPED / "rehearsal.safetensors"
# Block of the network's features before which is replayed, of 19: 64 × 6 × 6 numbers a face at 96 pixels. EXPERIMENTS.md has others.
POINT = 8
SIDES = ("learn", "choose", "benchmark")
COUNTS = {"learn": 1500, "choose": 1200, "benchmark": 1600}  # faces at most of each side: 9.9 MB
BATCH = 64


class RehearsalError(ValueError):
    """The rehearsal activations are missing, damaged, or of another model; the message says what to do."""


@dataclass(frozen=True)
class Activations:
    """N faces at one point of the network.

    `codes` (N, C, H, W) are what the layers below make of them, float16 or float32, or int8 where they are that times
    `scale` float32 (C, 1, 1). `targets` float32 (N, K) sum to 1; `labels` int64 (N,) is the class that counts, -1 where
    none does.
    """

    codes: Tensor
    scale: Tensor | None
    targets: Tensor
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    def at(self, rows: Tensor | slice) -> Tensor:
        """float32 (n, C, H, W) of the faces in `rows`."""
        chosen = self.codes[rows].float()
        return chosen if self.scale is None else chosen * self.scale

    def subset(self, rows: np.ndarray) -> "Activations":
        """The faces at `rows`, an int array."""
        chosen = torch.from_numpy(rows)
        return Activations(self.codes[chosen], self.scale, self.targets[chosen], self.labels[rows])

    def through(self, part: nn.Module) -> "Activations":
        """The same faces further up: what `part`, which does not learn, makes of them."""
        with torch.inference_mode():
            raised = [part(self.at(slice(start, start + BATCH))) for start in range(0, len(self), BATCH)]
        # A clone, for tensors made in inference mode cannot be learned from.
        return Activations(torch.cat(raised).clone(), None, self.targets, self.labels)

    def quantised(self, scale: Tensor | None = None) -> "Activations":
        """The same faces in int8; what is beyond `scale`, which the faces themselves decide where it is None, is cut off."""
        if scale is None:
            scale = (self.codes.float().abs().amax(dim=(0, 2, 3)) / 127).clamp(min=1e-8)[:, None, None].clone()
        codes = (self.codes.float() / scale).round().clamp(-127, 127).to(torch.int8)
        return Activations(codes, scale, self.targets, self.labels)


@dataclass(frozen=True)
class Rehearsal:
    """Faces at block `point` (0: the input itself) of a network whose lower layers are `lower` (see `lower_layers`).

    `sides`: "learn" to rehearse, "choose" to choose how much of what was learned is kept, "benchmark" to report what was
    forgotten. None of the last two was learned from by the model that ships.
    """

    point: int
    lower: str
    data: str  # where the faces come from, in words
    sides: dict[str, Activations]

    def check(self, bundle: ModelBundle) -> None:
        """Raises RehearsalError unless these are activations of `bundle`."""
        if lower_layers(bundle, self.point) != self.lower:
            raise RehearsalError(
                f"The rehearsal activations that ship are not those of {bundle.version}, whose lower layers were trained too; "
                "give the faces themselves with --rehearsal ferplus:FOLDER."
            )


def lower_layers(bundle: ModelBundle, point: int) -> str:
    """A fingerprint of all that decides the activations at block `point`: the layers below, and the preprocessing."""
    digest = hashlib.sha256(json.dumps([bundle.arch, bundle.preprocess.as_dict(), point], sort_keys=True).encode())
    for key, value in sorted(bundle.network.features[:point].state_dict().items()):
        if value.is_floating_point():  # not the counters of batch norms, which change nothing
            digest.update(key.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def activations(
    bundle: ModelBundle, faces: FaceSet, point: int, views: Callable[[int], list[Tensor]] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Activations:  # fmt: skip
    """The `faces` at block `point` of `bundle`'s network, float16.

    `views` gives what is looked at of the face with a number, float32 (3, S, S) each; by default the one crop that the
    app would see. All views of one face follow each other.
    """
    below = bundle.network.features[:point]
    views = views or (lambda index: [_seen(bundle, faces, index)])
    together = max(1, BATCH // len(views(0)))
    codes, repeats = [], []
    for start in progress(range(0, len(faces), together)):
        seen = [views(index) for index in range(start, min(start + together, len(faces)))]
        repeats += [len(one) for one in seen]
        with torch.inference_mode():
            batch = torch.stack([view for one in seen for view in one])
            codes.append(below(batch.contiguous(memory_format=torch.channels_last)).half().contiguous())
    rows = np.repeat(np.arange(len(faces)), repeats)
    targets = torch.from_numpy(faces.targets[rows].astype(np.float32))
    return Activations(torch.cat(codes).clone(), None, targets, faces.labels[rows])


def build(
    bundle: ModelBundle, source: str, point: int = POINT, counts: dict[str, int] = COUNTS,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Rehearsal:  # fmt: skip
    """The rehearsal of `bundle` from the train and val splits of `source`, ``KIND:PATH``.

    Faces to learn from are drawn evenly; those of val are divided by `half_of`, so that whoever measures on one half
    knows that nothing was chosen on it. Raises DataError.
    """
    train, val = load(source, "train").for_training(), load(source, "val").for_evaluation()
    halves = np.array([half_of(path.name) for path in val.paths])
    drawn = {
        "learn": train.subset(_drawn(np.arange(len(train)), counts["learn"])),
        "choose": val.subset(_drawn(np.flatnonzero(halves == 0), counts["choose"])),
        "benchmark": val.subset(_drawn(np.flatnonzero(halves == 1), counts["benchmark"])),
    }
    sides: dict[str, Activations] = {}
    for side, faces in drawn.items():
        scale = sides["learn"].scale if sides else None
        sides[side] = activations(bundle, faces, point, progress=progress).quantised(scale)
    return Rehearsal(point, lower_layers(bundle, point), train.name, sides)


def half_of(name: str) -> int:
    """0 or 1, by a hash of a file's `name`: half of any set of faces, the same for good."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 2


def save(rehearsal: Rehearsal, path: Path) -> None:
    """Write `rehearsal` as one safetensors file."""
    tensors = {"scale": rehearsal.sides["learn"].scale}
    for side, one in rehearsal.sides.items():
        tensors |= {f"{side}.codes": one.codes, f"{side}.labels": torch.from_numpy(one.labels).to(torch.int8)}
        # A share of ten votes is a multiple of a tenth, or of the ninths and eighths that are left: to a 255th.
        tensors[f"{side}.targets"] = (one.targets * 255).round().to(torch.uint8)
    about = {"point": str(rehearsal.point), "lower": rehearsal.lower, "data": rehearsal.data}
    replace_file(path, lambda partial: save_file({key: one.contiguous() for key, one in tensors.items()}, partial, metadata=about))


def read(path: Path = FILE) -> Rehearsal:
    """The rehearsal in the file `path`. Raises RehearsalError where it is missing or damaged."""
    if not path.is_file():
        raise RehearsalError(f"{path.name} is missing; restore it, or make it with python -m fer rehearsal --data ferplus:FOLDER.")
    try:
        with safe_open(path, framework="pt") as file:
            about, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
        return Rehearsal(int(about["point"]), about["lower"], about["data"], {side: _side(tensors, side) for side in SIDES})
    except Exception as error:  # safetensors raises its own type
        raise RehearsalError(f"{path.name} is damaged ({error}); restore it.") from error


def _side(tensors: dict[str, Tensor], side: str) -> Activations:
    targets = tensors[f"{side}.targets"].float()
    return Activations(
        tensors[f"{side}.codes"], tensors["scale"], targets / targets.sum(dim=1, keepdim=True).clamp(min=1),
        tensors[f"{side}.labels"].to(torch.int64).numpy(),
    )  # fmt: skip


def _seen(bundle: ModelBundle, faces: FaceSet, index: int) -> Tensor:
    image = faces.image(index)
    return bundle.preprocess(image, faces.face(index, image))


def _drawn(rows: np.ndarray, count: int) -> np.ndarray:
    """`count` of `rows` at most, the same each time, in order."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:count])
