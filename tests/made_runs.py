"""Runs as they lie in a workspace, made by hand: what tests of the workshop and of its tabs look at."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from conftest import picture
from label_workspaces import png

from fer import processes
from fer.comparison import compare, verdict
from fer.emotions import CLASSES

NAME = "20261121-115530-quick"


def snapshot(root: Path, sides: str = "train train val test test", label: str = "fear") -> Path:
    """A snapshot of faces of noise, one on each of `sides`."""
    lines, contents = [], [png(picture((48, 48), seed)) for seed in range(len(sides.split()))]
    for number, (side, content) in enumerate(zip(sides.split(), contents, strict=True)):
        lines.append({"image": hashlib.sha256(content).hexdigest(), "box": [0, 0, 48, 48], "landmarks": None,
                      "votes": {label: 1.0}, "group": f"clip {number}", "split": side, "item": number, "source": "test"})  # fmt: skip
    manifest = "".join(json.dumps(line) + "\n" for line in lines)
    folder = root / hashlib.sha256(manifest.encode()).hexdigest()[:16]
    (folder / "images").mkdir(parents=True)
    (folder / "manifest.jsonl").write_text(manifest)
    for line, content in zip(lines, contents, strict=True):
        (folder / "images" / f"{line['image']}.png").write_bytes(content)
    return folder


def names(folder: Path) -> list[str]:
    """The pictures of a snapshot."""
    return sorted(path.name for path in (folder / "images").iterdir())


def write_run(runs: Path, name: str = NAME, speed: str = "quick", config: dict | None = None, **status: object) -> Path:
    """A run that stands as `status` says; one that is alive has this process for its own."""
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    this = processes.this()
    said = {"state": "running", "pid": os.getpid(), "born": this.born, "boot": this.boot, "step": 9, "steps": 30, "seconds": 50.0}
    (folder / "config.json").write_text(json.dumps(config or {"module": "fer.finetune", "speed": speed}))
    (folder / "status.json").write_text(json.dumps({**said, **status}))
    return folder


def write_curves(folder: Path, lines: int = 20) -> None:
    """Curves as a run of `lines` steps leaves them, and a log."""
    metrics = [{"step": step, "loss": round(2.0 / step, 4), "base_accuracy": 0.86, "corrections_accuracy": round(0.5 + step / 100, 4),
                "learning_rate": 0.001} for step in range(1, lines + 1)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    (folder / "train.log").write_text("".join(f"step {line['step']}: loss {line['loss']}\n" for line in metrics))


def finished(runs: Path, name: str = NAME, speed: str = "quick", **report: object) -> Path:
    """The folder of a run that has ended, with a report."""
    folder = write_run(runs, name, speed, state="finished", step=30)
    made = {"kind": "finetune", "version": "a", "speed": speed, "seconds": 50.0, "learned_from": 200, "held_out": 100, "flips": []}
    (folder / "report.json").write_text(json.dumps({**made, **report}))
    return folder


def judged(mended: int, broken: int, n: int = 80) -> dict:
    """The parts of a report on `n` held-out faces, of which so many changed, and its verdict."""
    labels = np.arange(n) % len(CLASSES)
    wrong = (labels + 1) % len(CLASSES)
    before = np.where(np.arange(n) < mended, wrong, labels)
    after = np.where((np.arange(n) >= mended) & (np.arange(n) < mended + broken), wrong, labels)
    corrections = compare("corrections", labels, before, after, CLASSES)
    base = compare("benchmark", np.arange(1000) % 8, np.arange(1000) % 8, np.arange(1000) % 8, CLASSES)
    return {"corrections": corrections.as_dict(), "benchmark": base.as_dict(), "verdict": verdict(corrections, base).as_dict(),
            "base": "fer-1", "snapshot": "0123456789abcdef", "blend": 0.6, "temperature": 1.1, "held_out": n}  # fmt: skip


def flip(image: str, label: str, before: str, after: str) -> dict:
    """A face that is read otherwise now."""
    return {"image": image, "label": label, "before": before, "after": after, "before_confidence": 0.61, "after_confidence": 0.834,
            "broken": before == label}  # fmt: skip
