"""Makes a workspace with the version at hand, to be kept: ``python tests/workspaces/make.py tests/workspaces/schema-1``.

Once committed it is never made again: later versions must open what earlier ones wrote. The faces are those of
the samples that ship.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from fer.cutter import Cutter  # noqa: E402
from fer.transforms import Preprocess  # noqa: E402
from labeling.items import NewItem  # noqa: E402
from labeling.judgements import Judgement  # noqa: E402
from labeling.snapshot import take  # noqa: E402
from labeling.store import LabelStore, Score  # noqa: E402

CODE = "KEPT-KEPT-KEPT-KEPT"
PURPOSE = "to see whether later versions can read this"


def make(workspace: Path) -> None:
    """Four faces: one contributed under a code, one imported with ten votes, one labelled by two, one withdrawn."""
    cutter = Cutter(Preprocess())
    photo = cutter.open((ROOT / "fer" / "samples" / "eileen-collins.jpg").read_bytes())
    (chip,) = cutter.faces(photo)
    store = LabelStore(workspace / "labels")
    faces = [
        NewItem("photo", f"photo:{number}", chip_png(chip, number), *chip.image.size, chip.face.box, chip.face.landmarks)
        for number in range(4)
    ]
    store.contribute(faces[0], Judgement("first", "Ada", "fear", "surprise", True, "a-model", [0.125] * 8), CODE, PURPOSE)
    imported = NewItem("ferplus:set", "set/a.png", faces[1].png, *chip.image.size, (0, 0, 64, 64), None, "a.png", "test")
    votes = Judgement("import:a", "FER+", "happiness", votes={"happiness": 7, "neutral": 2, "unknown": 1})
    list(store.bring([(imported, [votes])]))
    (third,) = store.add([faces[2]])
    store.judge(third, Judgement("second", "Ada", "anger"))
    store.judge(third, Judgement("third", "Grace", "disgust"))
    store.judge(third, Judgement("fourth", "Grace", None))
    store.undo("second")
    store.score([Score(third, "a-model", np.eye(8)[4], np.arange(64) / 64)])
    store.contribute(faces[3], Judgement("gone", "Eve", "sadness"), "GONE-GONE-GONE-GONE", PURPOSE)
    store.withdraw("GONE-GONE-GONE-GONE")
    take(store, workspace / "snapshots")
    store.database.fold()
    store.close()


def chip_png(chip, number: int) -> bytes:
    """The chip small, upright or turned, so that no two are alike."""
    from fer.chips import Chip

    return Chip(chip.image.resize((96, 96)).rotate(90 * number), chip.face).png()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
