"""The settings of a training run: `TrainConfig`, read from and written to its folder, and shown as a command.

Free of torch, so that the command line can say what it takes without loading it.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from fer.datasets import READERS
from fer.flags import option
from fer.runs import RunPaths

if TYPE_CHECKING:
    from fer.augment import Augment
    from fer.transforms import Preprocess


@dataclass(frozen=True)
class TrainConfig:
    """One run. With the data it decides the weights; it is saved beside them as JSON."""

    data: str = option("", "data set as KIND:PATH, with train and val splits; required")
    arch: str = option("mobilenet_v2", "network; mobilenet_v2 is the only one so far")
    init: str = option("imagenet", "starting weights: imagenet (torchvision downloads them), none, or a .safetensors file")
    epochs: int = option(14, "passes over the training split")
    batch: int = option(96, "faces a step")
    learning_rate: float = option(1.5e-3, "peak step size of AdamW (arXiv:1711.05101)")
    warmup: float = option(0.5, "epochs over which the step size rises from 0; it then falls as a half cosine")
    weight_decay: float = option(0.02, "AdamW's decay, not applied to biases and batch norms")
    dropout: float = option(0.3, "share of the features hidden from the last layer")
    average: float = option(0.999, "decay per step of the running average of the weights, which is what is kept")
    size: int = option(96, "side of the network's input, pixels")
    rotate: float = option(12.0, "random turn, ± degrees")
    scale: float = option(0.15, "random zoom, ± fraction")
    shift: float = option(0.10, "random shift, ± fraction of the crop's side")
    light: float = option(0.3, "random contrast and brightness, ± factor")
    erase: float = option(0.25, "probability that a rectangle of the face is hidden (arXiv:1708.04896)")
    limit: int = option(0, "use at most this many faces of each split, to try things out; 0 is all")
    seed: int = option(0, "of every random draw")
    save_seconds: int = option(60, "between two checkpoints")

    def __post_init__(self) -> None:
        # Batch norms need two faces to have a spread.
        if self.epochs < 1 or self.batch < 2 or self.learning_rate <= 0 or self.limit < 0:
            raise ValueError(
                f"epochs must be ≥ 1, batch ≥ 2, learning_rate > 0 and limit ≥ 0; got {self.epochs}, {self.batch}, "
                f"{self.learning_rate}, {self.limit}"
            )
        if min(self.seed, self.rotate, self.scale, self.shift, self.light, self.weight_decay) < 0:
            raise ValueError("seed, rotate, scale, shift, light and weight_decay must be ≥ 0")
        if not (0 <= self.average < 1 and 0 <= self.dropout < 1 and 0 <= self.erase <= 1):
            raise ValueError("average and dropout must be ≥ 0 and below 1, erase 0 to 1")
        self.preprocess()  # raises ValueError for a size that cannot work

    def preprocess(self) -> Preprocess:
        """How the run's faces become input."""
        from fer.transforms import Preprocess

        return Preprocess(size=self.size)

    def augment(self) -> Augment:
        """What the run changes about its training faces."""
        from fer.augment import Augment

        return Augment(self.rotate, self.scale, self.shift, self.light, self.erase)


def read_config(paths: RunPaths) -> TrainConfig:
    """The settings of the run in `paths`. Raises ValueError when the folder holds no run."""
    try:
        values = json.loads(paths.config.read_text(encoding="utf-8"))
        values.pop("command", None)
        return TrainConfig(**values)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{paths.root} is not the folder of a training run ({error})") from error


def command(config: TrainConfig, root: Path) -> str:
    """The command line of a run: the settings that are not the defaults, folders reduced to their last name."""
    changed = [one for one in fields(config) if getattr(config, one.name) != one.default]
    words = [f"--{one.name.replace('_', '-')} {shlex.quote(shown(str(getattr(config, one.name))))}" for one in changed]
    return " ".join(["python -m fer train", *words, "--out", shlex.quote(root.name)])


def shown(word: str) -> str:
    """`word` without the folders that lead to it: where a file lies on somebody's disk is nobody's business."""
    kind, colon, path = word.partition(":")
    if kind not in READERS:
        kind, colon, path = "", "", word
    return kind + colon + Path(path).name if "/" in path or "\\" in path else word
