"""FER2013's table in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exchanged import grey, known, part_of, pixels, studio

from labeling.exchange import bring_in, export
from labeling.pictures import open_face
from labeling.store import LabelStore

WORDS = [str(value) for value in np.asarray(open_face(grey(0))).ravel()]


def table(folder: Path, *rows: str, header: str = "emotion,pixels,Usage") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "fer2013.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "fer2013.csv"


def test_a_row_is_a_face_of_its_side_named_as_in_ferplus(tmp_path):
    flipped = " ".join(reversed(WORDS))
    path = table(tmp_path / "set", f"3,{' '.join(WORDS)},Training", f"6,{flipped},PrivateTest")
    store = LabelStore(tmp_path / "labels")
    assert bring_in(store, str(path)).source == "fer2013:fer2013"
    first, second = store.item(1), store.item(2)
    assert (first.name, first.split, second.name, second.split) == ("fer0000000.png", "train", "fer0000001.png", "test")
    assert [store.annotations(one)[0].label for one in (1, 2)] == ["happiness", "neutral"]
    assert store.picture(first) == grey(0)


def test_rows_that_cannot_be_used_are_named(tmp_path):
    face = " ".join(WORDS)
    rows = [f"0,{face},Training", f"7,{face},Training", f"-1,{face},Training", "x,1 2 3,Training",
            "0,1 2 3,Training", "0,1 2 3 256,Training", "0,a b c d,Training", "0,,Training", "0"]  # fmt: skip
    report = bring_in(LabelStore(tmp_path / "labels"), f"fer2013:{table(tmp_path / 'set', *rows)}")
    assert (report.faces, report.problem_count) == (1, 8)
    assert report.problems[0].sentence == "“7” is not an emotion of FER2013, 0 to 6."
    assert report.problems[3].sentence == "Its 3 pixels are not a square of values from 0 to 255."


def test_what_fer2013_can_hold_comes_back(tmp_path):
    store, again = studio(tmp_path / "one", chips=False), LabelStore(tmp_path / "two")
    report = export(store, f"fer2013:{tmp_path / 'out'}")
    assert report.faces == 5
    assert report.left_out == {"without a label": 1, "unknown, which FER2013 does not know": 1}
    bring_in(again, f"fer2013:{tmp_path / 'out'}")
    labels = [again.annotations(number)[0].label for number in range(1, 6)]
    # Of two equals the one named first in LABELS is taken.
    assert labels == ["happiness", "anger", "neutral", "sadness", "disgust"]
    assert [again.item(number).split for number in range(1, 4)] == ["train", "val", "test"]


@pytest.mark.data
def test_real_faces_keep_their_pixels_sides_and_leading_labels(ferplus, tmp_path):
    sample = part_of(ferplus, tmp_path / "ferplus", 100)
    store, again = LabelStore(tmp_path / "one"), LabelStore(tmp_path / "two")
    bring_in(store, str(sample))
    report = export(store, f"fer2013:{tmp_path / 'out'}")
    bring_in(again, f"fer2013:{tmp_path / 'out'}")
    one, two = (known(place, "split", "said") for place in (store, again))
    assert len(two) == report.faces > 250 and two.keys() <= one.keys(), "pictures are the same, to the pixel"
    assert all(two[image]["split"] == one[image]["split"] for image in two)
    assert all(next(iter(two[image]["said"]))[1] == next(iter(one[image]["said"]))[1] for image in two)
    assert {picture.dtype for picture in pixels(again).values()} == {np.dtype("uint8")}
