"""A fine-tune with little to do: fewer steps, views and faces to rehearse on. Tests start it in place of `fer.finetune`.

    python -m short_finetune RUN_DIR        # with SHORT_STEPS steps, 12 by default
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from label_workspaces import BOXES, chip, png

from fer.emotions import CLASSES
from fer.runs import Run, RunPaths

FACES = 48  # to rehearse on, of each side
SIDES = ("train",) * 32 + ("val",) * 8 + ("test",) * 8
LABELS = CLASSES[:4]


def few(rehearsal, count: int = FACES):
    """`rehearsal` with `count` faces of each side, evenly spread."""
    sides = {side: one.subset(np.linspace(0, len(one) - 1, count).astype(int)) for side, one in rehearsal.sides.items()}
    return replace(rehearsal, sides=sides)


def shorten(change=setattr) -> None:
    """Make a quick fine-tune of this process short; `change` sets the attribute of a module."""
    from fer import finetune, lesson, rehearsal

    whole, steps = few(rehearsal.read()), int(os.environ.get("SHORT_STEPS", "12"))
    change(finetune, "read", lambda: whole)
    change(finetune, "SAVE_SECONDS", 0.0)
    short = replace(lesson.RECIPES["quick"], steps=steps, batch=8, views=2)
    change(lesson, "RECIPES", {**lesson.RECIPES, "quick": short})


def snapshot(root: Path, sides: tuple[str, ...] = SIDES, labels: tuple[str, ...] = LABELS) -> Path:
    """A snapshot in ``root/snapshots`` of real faces from the samples, `labels` in turn, which are arbitrary."""
    lines, contents = [], [png(chip(at % len(BOXES), 3 * (at // len(BOXES)))) for at in range(len(sides))]
    for number, (side, content) in enumerate(zip(sides, contents, strict=True)):
        lines.append({"image": hashlib.sha256(content).hexdigest(), "box": [0, 0, 112, 112], "landmarks": None,
                      "votes": {labels[number % len(labels)]: 1.0}, "group": f"clip {number}", "split": side, "item": number,
                      "source": "test"})  # fmt: skip
    manifest = "".join(json.dumps(line) + "\n" for line in lines)
    folder = root / "snapshots" / hashlib.sha256(manifest.encode()).hexdigest()[:16]
    (folder / "images").mkdir(parents=True)
    (folder / "manifest.jsonl").write_text(manifest)
    for line, content in zip(lines, contents, strict=True):
        (folder / "images" / f"{line['image']}.png").write_bytes(content)
    return folder


def settings(workspace: Path, taken: Path, **changed: str) -> dict:
    """config.json of a quick fine-tune on the snapshot `taken`, whose versions come to `workspace`."""
    from fer.bundle import SHIPPED

    return {"data": f"snapshot:{taken}", "base": str(SHIPPED), "speed": "quick", "rehearsal": "", "promote": "never",
            "seed": 0, "models": str(workspace / "models"), **changed}  # fmt: skip


def run_folder(workspace: Path, config: dict, name: str = "20261121-115530-quick") -> Run:
    """The folder of a run of `config` that nobody has started."""
    folder = workspace / "runs" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**config, "module": "short_finetune"}))
    return Run(name, RunPaths(folder))


if __name__ == "__main__":
    from fer.finetune import main

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    shorten()
    raise SystemExit(main())
