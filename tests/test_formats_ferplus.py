"""FER+ folders in and out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from exchanged import VOTES, grey, known, part_of, pixels, studio

from fer import datasets
from labeling.exchange import bring_in, export
from labeling.formats.records import Problem
from labeling.labels import LABELS
from labeling.store import LabelStore

HEAD = ["fer0000000.png", "(0, 0, 48, 48)"]


def made(folder: Path, *rows: list[str], side: str = "FER2013Train") -> Path:
    (folder / side).mkdir(parents=True, exist_ok=True)
    for index, row in enumerate(rows):
        if row[0].endswith(".png"):
            (folder / side / row[0]).write_bytes(grey(index))
    with (folder / side / "label.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_votes_are_one_judgement_and_the_folder_is_the_side(tmp_path):
    made(tmp_path / "set", [*HEAD, *"0 5 4 0 0 0 0 0 1 0".split()], side="FER2013Valid")
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, f"ferplus:{tmp_path / 'set'}")
    assert (report.source, report.faces, report.judgements, report.problem_count) == ("ferplus:set", 1, 1, 0)
    item, (said,) = store.item(1), store.annotations(1)
    assert (item.split, item.name, item.box, item.landmarks) == (
        "val",
        "FER2013Valid/fer0000000.png",
        (0, 0, 48, 48),
        None,
    )
    assert (said.annotator, said.label, said.votes) == (
        "FER+",
        "happiness",
        {"happiness": 5, "surprise": 4, "unknown": 1},
    )
    assert item.group == "ferplus:set/FER2013Valid/fer0000000.png" and not said.suggested


def test_rows_that_cannot_be_used_are_named_and_the_rest_arrives(tmp_path):
    good = "10 0 0 0 0 0 0 0 0 0".split()
    rows = [
        [*HEAD, *good], ["b.png", "x", "1"], ["c.png", "x", *"abcdefghij"], ["gone.jpg", "x", *good],
        ["e.png", "x", *["0"] * 10], ["../../f.jpg", "x", *good],
    ]  # fmt: skip
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(made(tmp_path / "set", *rows)))
    assert (report.faces, report.judgements, report.unlabelled) == (2, 1, 1)
    assert report.problems == (
        Problem("FER2013Train/label.csv row 2", "It has 3 columns; image, box and 10 votes are needed."),
        Problem("FER2013Train/label.csv row 3", "Its votes are not counts."),
        Problem("FER2013Train/label.csv row 4", "There are votes for gone.jpg, but no such picture."),
        Problem("FER2013Train/label.csv row 6", "There are votes for ../../f.jpg, but no such picture."),
    )


def test_of_a_picture_that_comes_twice_the_test_side_counts(tmp_path):
    made(tmp_path / "set", [*HEAD, *"10 0 0 0 0 0 0 0 0 0".split()])
    made(tmp_path / "set", ["fer0032220.png", "x", *"0 9 1 0 0 0 0 0 0 0".split()], side="FER2013Test")
    store = LabelStore(tmp_path / "labels")
    for repeated in (1, 1):
        assert bring_in(store, f"ferplus:{tmp_path / 'set'}").repeated == repeated
        assert store.item(1).split == "test" and [one.label for one in store.annotations(1)] == ["happiness"]


def test_a_face_keeps_votes_and_side_and_what_one_person_said_counts_as_ten(tmp_path):
    store = studio(tmp_path / "one", chips=False)
    report = export(store, f"ferplus:{tmp_path / 'out'}")
    assert report.faces == 6 and report.left_out == {"without a label": 1}
    again = LabelStore(tmp_path / "two")
    assert bring_in(again, f"ferplus:{tmp_path / 'out'}").problem_count == 0
    votes = [dict(zip(LABELS, row, strict=True)) for row in _votes(tmp_path / "out")]
    assert {label: count for label, count in next(one for one in votes if one["fear"] == 2).items() if count} == VOTES
    assert sorted(sum(one.values()) for one in votes) == [10] * 6
    assert {one.shape for one in pixels(again).values()} == {(48, 48)}
    grey_ones = known(store, "split").keys() & known(again, "split").keys()
    assert len(grey_ones) == 1, "a face that is small and grey already keeps its pixels"


def _votes(folder: Path) -> list[list[int]]:
    rows = [row for table in folder.glob("*/label.csv") for row in csv.reader(table.open(newline=""))]
    return [list(map(int, row[2:])) for row in rows]


@pytest.fixture(scope="module")
def sample(ferplus, tmp_path_factory) -> Path:
    """200 real faces of each side."""
    return part_of(ferplus, tmp_path_factory.mktemp("real") / "ferplus", 200)


@pytest.mark.data
def test_real_faces_come_back_as_they_were(sample, tmp_path):
    store, again = LabelStore(tmp_path / "one"), LabelStore(tmp_path / "two")
    report = bring_in(store, str(sample))
    assert (report.faces, report.judgements, report.repeated, report.problem_count) == (600, 600, 0, 0)
    assert report.source == "ferplus:ferplus" and report.unlabelled == 0
    assert export(store, f"ferplus:{tmp_path / 'out'}").faces == 600
    bring_in(again, f"ferplus:{tmp_path / 'out'}")
    assert _without_times(known(store, "split", "box", "said")) == _without_times(known(again, "split", "box", "said"))
    for side in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        given, back = (
            sorted(csv.reader((root / side / "label.csv").open(newline=""))) for root in (sample, tmp_path / "out")
        )
        assert given == back


def _without_times(faces: dict[str, dict]) -> dict:
    return {image: {**face, "said": {one[:4] for one in face["said"]}} for image, face in faces.items()}


@pytest.mark.data
def test_the_export_of_real_faces_loads_for_training_with_the_same_labels(sample, tmp_path):
    store = LabelStore(tmp_path / "labels")
    bring_in(store, str(sample))
    export(store, f"ferplus:{tmp_path / 'out'}")
    for split in ("train", "val", "test"):
        given, back = (datasets.load(f"ferplus:{root}", split) for root in (sample, tmp_path / "out"))
        order = [[path.name for path in faces.paths] for faces in (given, back)]
        back = back.subset(np.array([order[1].index(name) for name in order[0]]))
        assert len(given) == 200 and (given.labels == back.labels).all() and (given.targets == back.targets).all()
        assert all(given.image(index).tobytes() == back.image(index).tobytes() for index in range(200))
