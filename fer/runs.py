"""A training run is a folder: `RunPaths` names every file in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """The files of the run in `root`."""

    root: Path

    @property
    def config(self) -> Path:
        """`TrainConfig` as JSON, and the command that started the run."""
        return self.root / "config.json"

    @property
    def status(self) -> Path:
        """State, process, step and steps: rewritten with every checkpoint while the run is alive."""
        return self.root / "status.json"

    @property
    def metrics(self) -> Path:
        """One JSON line per finished epoch."""
        return self.root / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        """Loss and accuracy over epochs, as a picture."""
        return self.root / "curves.png"

    @property
    def checkpoint(self) -> Path:
        """All that is needed to go on after a stop."""
        return self.root / "checkpoint" / "last.pt"

    @property
    def bundle(self) -> Path:
        """The model that came out, a folder."""
        return self.root / "bundle"

    @property
    def report(self) -> Path:
        """The model's `Report` on the validation split."""
        return self.root / "report.json"
