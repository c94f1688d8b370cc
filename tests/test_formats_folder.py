"""Folders of classes, and folders of photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import picture
from exchanged import HTML, MiddleCutter, known, studio
from label_workspaces import face, png

from fer import datasets
from labeling.exchange import ExchangeError, bring_in, export
from labeling.labels import LABELS
from labeling.store import LabelStore


def pictures(folder: Path, *names: str) -> Path:
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(face(index))
    return folder


def test_the_folder_is_the_label_and_the_set_says_it(tmp_path):
    names = ("Happy/a.png", "not a face/b.png", "sad/more/c.png")
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(pictures(tmp_path / "Our faces", *names)))
    assert (report.source, report.faces, report.judgements) == ("folder:Our faces", 3, 3)
    said = [store.annotations(number)[0] for number in (1, 2, 3)]
    assert [(one.annotator, one.label) for one in said] == [
        ("Our faces", name) for name in ("happiness", "NF", "sadness")
    ]
    item = store.item(1)
    assert (item.name, item.split, item.group) == ("Happy/a.png", None, "folder:Our faces/Happy/a.png")
    assert item.box == (0, 0, 112, 112) and item.landmarks is None


def test_train_val_and_test_above_the_classes_are_sides(tmp_path):
    pictures(tmp_path / "set", "train/fear/a.png", "validation/fear/b.png", "test/anger/c.png")
    store = LabelStore(tmp_path / "labels")
    bring_in(store, str(tmp_path / "set"))
    found = {store.item(number).name: store.item(number).split for number in (1, 2, 3)}
    assert found == {"train/fear/a.png": "train", "validation/fear/b.png": "val", "test/anger/c.png": "test"}


def test_a_class_of_another_name_is_named_once_in_plain_text(tmp_path):
    odd = HTML.replace("/", "")
    pictures(tmp_path / "set", "fear/a.png", f"{odd}/b.png", f"{odd}/c.png", "d.png")
    report = bring_in(LabelStore(tmp_path / "labels"), str(tmp_path / "set"))
    assert (report.faces, report.problem_count) == (1, 2)
    problem = next(one for one in report.problems if one.name == odd)
    assert problem.sentence.startswith(f"“{odd}” is not a label") and problem.sentence.endswith(
        "2 pictures in it were passed over."
    )


def test_pictures_without_classes_are_photos_to_be_cut(tmp_path):
    pictures(tmp_path / "party", "a.png", "more/b.png")
    (tmp_path / "party" / "c.png").write_bytes(png(picture((64, 48)).point(lambda _: 0)))
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(tmp_path / "party"), MiddleCutter())
    assert (report.source, report.faces, report.unlabelled, report.without_face) == ("folder:party", 2, 2, 1)
    item = store.item(1)
    assert item.landmarks is not None and (item.width, item.height) == (84, 84) and item.group == "folder:party/a.png"


def test_photos_without_a_detector_are_one_sentence(tmp_path):
    with pytest.raises(ExchangeError, match=r"^These are photos, and the detector .* is not at hand here\.$"):
        bring_in(LabelStore(tmp_path / "labels"), str(pictures(tmp_path / "party", "a.png")))


def test_photos_asked_for_are_photos_whatever_their_folder_is_called(tmp_path):
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, f"photo:{pictures(tmp_path / 'set', 'joy/a.png')}", MiddleCutter())
    assert (report.source, report.faces, report.judgements) == ("photo:set", 1, 0)
    single = bring_in(store, str(tmp_path / "set" / "joy" / "a.png"), MiddleCutter())
    assert (single.faces, single.known) == (0, 1)


def test_a_real_photo_becomes_a_chip_as_in_the_app(tmp_path, collins):
    from fer.chips import Chip
    from fer.cutter import Cutter
    from fer.picture import open_picture
    from fer.transforms import Preprocess

    store, cutter = LabelStore(tmp_path / "labels"), Cutter(Preprocess())
    assert bring_in(store, f"photo:{collins}", cutter).faces == 1
    (chip,) = cutter.faces(open_picture(collins))
    item = store.item(1)
    assert isinstance(chip, Chip) and store.picture(item) == chip.png()
    assert item.box == pytest.approx(chip.face.box, abs=1e-3) and len(item.landmarks) == 5
    export(store, f"csv:{tmp_path / 'out'}")
    again = LabelStore(tmp_path / "two")
    bring_in(again, f"csv:{tmp_path / 'out'}")
    assert known(again) == known(store)


def test_what_a_folder_can_hold_comes_back_and_loads_for_training(tmp_path):
    store, again = studio(tmp_path / "one"), LabelStore(tmp_path / "two")
    report = export(store, f"folder:{tmp_path / 'out'}", MiddleCutter())
    assert report.faces == 6 and report.left_out == {"without a label": 1, "not of any expression": 1}
    assert len(datasets.load(f"folder:{tmp_path / 'out'}", "all")) == 6
    bring_in(again, f"folder:{tmp_path / 'out'}")
    one, two = known(store), known(again)
    same = one.keys() & two.keys()
    assert len(same) == 5, "ready-made faces keep their pixels; the chip is cropped"
    for image in same:
        labels = [said[1] for said in one[image]["said"]]
        leading = min(labels, key=LABELS.index)  # of equals the first
        assert {said[1] for said in two[image]["said"]} == {leading}
        assert one[image]["split"] in (None, two[image]["split"])
