"""The settings of a run: `TrainConfig` and `FinetuneConfig`, read from and written to its folder, and shown as a command.

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
from fer.run_folder import RunPaths

if TYPE_CHECKING:
    from fer.augment import Augment
    from fer.lesson import Recipe
    from fer.transforms import Preprocess


BESIDE = ("command", "module")  # what config.json holds beside the settings: how to start the run


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
    mirror: float = option(0.5, "probability that left and right of a face change sides")
    freeze_statistics: int = option(0, "1: batch norms use and keep their running statistics; 0: those of each batch")
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
        if not (0 <= self.average < 1 and 0 <= self.dropout < 1 and 0 <= self.erase <= 1 and 0 <= self.mirror <= 1):
            raise ValueError("average and dropout must be ≥ 0 and below 1, erase and mirror 0 to 1")
        if self.freeze_statistics not in (0, 1):
            raise ValueError(f"freeze_statistics must be 0 or 1; got {self.freeze_statistics}")
        self.preprocess()  # raises ValueError for a size that cannot work

    def preprocess(self) -> Preprocess:
        """How the run's faces become input."""
        from fer.transforms import Preprocess

        return Preprocess(size=self.size)

    def augment(self) -> Augment:
        """What the run changes about its training faces."""
        from fer.augment import Augment

        return Augment(self.rotate, self.scale, self.shift, self.light, self.erase, self.mirror)


def read_config(paths: RunPaths) -> TrainConfig:
    """The settings of the run in `paths`. Raises ValueError when the folder holds no run."""
    try:
        values = json.loads(paths.config.read_text(encoding="utf-8"))
        return TrainConfig(**{key: value for key, value in values.items() if key not in BESIDE})
    except (OSError, ValueError, TypeError, AttributeError) as error:
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


@dataclass(frozen=True)
class FinetuneConfig:
    """One fine-tune; saved in the run's folder as JSON."""

    data: str = option("", "the labels as snapshot:DIR; default: a new snapshot of the workspace")
    base: str = option("", "the model to start from, a version or a folder; default: the active one")
    speed: str = option("full", "quick (the last blocks) or full (everything above the replay point)")
    rehearsal: str = option("", "faces to rehearse on, as ferplus:DIR; then every layer learns with --speed full")
    promote: str = option("never", "if-better: use the new version if the gate says so; or never")
    seed: int = option(0, "of every random draw")
    models: str = ""  # folder of the registry that the version is added to; "" for none

    def __post_init__(self) -> None:
        for name, known in (("speed", ("quick", "full")), ("promote", ("never", "if-better"))):
            if getattr(self, name) not in known:
                raise ValueError(f"--{name} must be {' or '.join(known)}, not “{getattr(self, name)}”")
        if self.seed < 0:
            raise ValueError(f"--seed must be ≥ 0; got {self.seed}")
        if not self.data.startswith("snapshot:"):
            raise ValueError(f"“{self.data}” is not snapshot:DIR; take a snapshot with python -m labeling snapshot")

    def recipe(self) -> Recipe:
        """What learns, and how."""
        from fer.lesson import RECIPES, WHOLE

        return WHOLE if self.rehearsal and self.speed == "full" else RECIPES[self.speed]

    @property
    def command(self) -> str:
        """The command line that does the same, folders reduced to their last name."""
        words = [(one.name, getattr(self, one.name)) for one in fields(self) if "help" in one.metadata]
        given = [f"--{name} {shown(str(value))}" for name, value in words if value not in ("", 0, "never")]
        return " ".join(["python -m fer finetune", *given])


def read_finetune(paths: RunPaths) -> FinetuneConfig:
    """The settings of the run in `paths`. Raises ValueError when the folder holds no fine-tune."""
    try:
        values = json.loads(paths.config.read_text(encoding="utf-8"))
        return FinetuneConfig(**{one.name: values[one.name] for one in fields(FinetuneConfig) if one.name in values})
    except (OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{paths.root} is not the folder of a fine-tune ({error})") from error
