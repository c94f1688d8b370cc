"""What the tests of models share: real bundles, each the shipped one with another last layer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from fer import bundle as bundles
from fer.bundle import WEIGHTS

PROMOTE = {"code": "better", "promote": True, "words": "Better: 84 of 120."}
REFUSE = {"code": "not better", "promote": False, "words": "Not better: 60 of 120."}


def write_model(folder: Path, version: str, tilt: float = 1.0, verdict: dict | None = None, **provenance: object) -> Path:
    """A model called `version` in `folder`, whose last layer leans by `tilt` to the first of the eight classes."""
    shipped = bundles.load()
    with torch.no_grad():
        shipped.network.classifier[1].bias[0] += tilt
    made = {"date": "2026-11-21", "started_from": {"version": shipped.version, "provenance": shipped.provenance}, **provenance}
    bundles.save(replace(shipped, version=version, provenance=made), folder)
    if verdict:
        (folder / "report.json").write_text(json.dumps({"kind": "finetune", "verdict": verdict}), encoding="utf-8")
    return folder


def flip(folder: Path, at: int = -1) -> None:
    """Change one byte of the weights in `folder`."""
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[at] ^= 1
    (folder / WEIGHTS).write_bytes(content)
