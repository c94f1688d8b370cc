"""Data sets on disk: FER+'s majority rule, folder layouts, and one sentence for what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from label_workspaces import FAR_APART, chip, face, png, says

from fer.__main__ import main
from fer.chips import Chip
from fer.datasets import NOT_COUNTED, SPLITS, DataError, load, majority, split_of
from fer.emotions import CLASSES, FERPLUS_COLUMNS
from fer.evaluate import read_logits, softmax
from fer.picture import open_picture
from labeling.items import NewItem
from labeling.snapshot import take
from labeling.store import LabelStore

FOLDERS = {"train": "FER2013Train", "val": "FER2013Valid", "test": "FER2013Test"}
BOX = "(0, 0, 48, 48)"


def votes(**counts: int) -> list[int]:
    return [counts.get(name, 0) for name in FERPLUS_COLUMNS]


def shares(**parts: float) -> list[float]:
    return [parts.get(name, 0.0) for name in CLASSES]


def write_ferplus(root: Path, rows: list[list], pictures: tuple[str, ...] = ()) -> str:
    """A ``ferplus:`` source whose three splits all hold `rows` of label.csv, and the `pictures`."""
    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True)
        lines = [",".join(f'"{value}"' if "," in str(value) else str(value) for value in row) for row in rows]
        (root / folder / "label.csv").write_text("".join(line + "\n" for line in lines))
        for name in pictures:
            picture((48, 48)).save(root / folder / name)
    return f"ferplus:{root}"


def write_classes(root: Path, folders: dict[str, int]) -> None:
    for folder, count in folders.items():
        (root / folder).mkdir(parents=True)
        for index in range(count):
            picture((32, 32), seed=index).save(root / folder / f"{folder}-{index}.png")


def sentence_of(source: str, split: str = "test") -> str:
    """What `load` says when it refuses, which is one line."""
    with pytest.raises(DataError) as caught:
        load(source, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "label", "target"),
    [
        (votes(neutral=6, sadness=4), "neutral", shares(neutral=0.6, sadness=0.4)),
        (votes(anger=3, fear=7), "fear", shares(anger=0.3, fear=0.7)),
        (votes(happiness=6, unknown=2, NF=2), "happiness", shares(happiness=1)),
    ],
)
def test_an_expression_with_more_than_half_of_the_votes_is_counted(row, label, target):
    targets, labels = majority(np.array([row], float))
    assert labels[0] == CLASSES.index(label)
    assert targets[0] == pytest.approx(target)


@pytest.mark.parametrize(
    ("row", "label", "target"),
    [
        (votes(neutral=5, sadness=1, anger=1, disgust=1, fear=1, NF=1), "neutral", shares(neutral=1)),
        (votes(surprise=2, neutral=1, happiness=1, anger=1, fear=1, unknown=1), "surprise", shares(surprise=1)),
        (votes(sadness=4, anger=3, disgust=1, fear=1, contempt=1), "sadness", shares(sadness=4 / 7, anger=3 / 7)),
    ],
)
def test_single_votes_are_dropped_before_the_majority_is_taken(row, label, target):
    targets, labels = majority(np.array([row], float))
    assert labels[0] == CLASSES.index(label)
    assert targets[0] == pytest.approx(target)


@pytest.mark.parametrize(
    ("row", "target"),
    [
        (votes(neutral=5, sadness=5), shares(neutral=0.5, sadness=0.5)),
        (votes(neutral=4, sadness=4, anger=2), shares(neutral=0.4, sadness=0.4, anger=0.2)),
    ],
)
def test_a_tie_is_not_counted_but_trained_on(row, target):
    targets, labels = majority(np.array([row], float))
    assert labels[0] == NOT_COUNTED
    assert targets[0] == pytest.approx(target)


@pytest.mark.parametrize(
    ("row", "target"),
    [
        (votes(neutral=4, sadness=2, anger=2, fear=1, NF=1), shares(neutral=0.5, sadness=0.25, anger=0.25)),
        (votes(happiness=5, sadness=2, unknown=3), shares(happiness=5 / 7, sadness=2 / 7)),
    ],
)
def test_exactly_half_of_the_votes_is_not_enough(row, target):
    targets, labels = majority(np.array([row], float))
    assert labels[0] == NOT_COUNTED
    assert targets[0] == pytest.approx(target)


@pytest.mark.parametrize(
    "row",
    [votes(unknown=6, neutral=4), votes(NF=10), votes(NF=4, happiness=3, neutral=3), [1] * 10, [0] * 10],
    ids=["unknown leads", "not a face", "NF leads without majority", "single votes only", "no votes"],
)
def test_a_face_without_a_leading_expression_is_neither_counted_nor_trained_on(row):
    targets, labels = majority(np.array([row], float))
    assert labels[0] == NOT_COUNTED
    assert not targets.any()


def test_every_target_sums_to_one_or_is_empty():
    drawn = np.random.default_rng(0).multinomial(10, [0.1] * 10, size=2000)
    targets, labels = majority(drawn.astype(float))
    sums = targets.sum(axis=1)
    assert np.all(np.isclose(sums, 1, atol=1e-6) | (sums == 0)) and 0 < (sums == 0).sum() < len(sums)
    assert np.all(sums[labels != NOT_COUNTED] > 0)
    assert np.array_equal(targets[labels != NOT_COUNTED].argmax(axis=1), labels[labels != NOT_COUNTED])


@pytest.mark.data
@pytest.mark.parametrize(("split", "counted"), [("train", 25_045), ("val", 3_191), ("test", 3_137)])
def test_ferplus_counts_the_faces_that_the_rule_gives(ferplus, split, counted):
    assert len(load(f"ferplus:{ferplus}", split).for_evaluation()) == counted


@pytest.mark.data
def test_the_test_split_of_ferplus_has_these_faces_per_class(ferplus):
    labels = load(f"ferplus:{ferplus}", "test").for_evaluation().labels
    assert dict(zip(CLASSES, np.bincount(labels, minlength=8).tolist())) == {
        "neutral": 1083, "happiness": 892, "surprise": 394, "sadness": 382,
        "anger": 269, "disgust": 16, "fear": 86, "contempt": 15,
    }  # fmt: skip


@pytest.mark.data
def test_pictures_of_ferplus_are_grey_faces_of_48_pixels(ferplus):
    image = load(f"ferplus:{ferplus}", "test").image(0)
    red, green, blue = image.split()
    assert (image.mode, image.size) == ("RGB", (48, 48))
    assert red.tobytes() == green.tobytes() == blue.tobytes()


def test_ferplus_is_read_from_its_label_files(tmp_path):
    rows = [["a.png", BOX, *votes(anger=9)], ["b.png", BOX, *votes(anger=5, fear=5)], ["c.png", BOX, *votes(NF=10)]]
    faces = load(write_ferplus(tmp_path, rows, ("a.png", "b.png", "c.png")), "val")
    assert [path.name for path in faces.paths] == ["a.png", "b.png", "c.png"]
    assert [path.name for path in faces.for_evaluation().paths] == ["a.png"]
    assert [path.name for path in faces.for_training().paths] == ["a.png", "b.png"]
    assert faces.image(1).size == (48, 48)


def test_all_splits_together_hold_every_face(tmp_path):
    source = write_ferplus(tmp_path, [["a.png", BOX, *votes(anger=9)]], ("a.png",))
    assert [path.parent.name for path in load(source, "all").paths] == list(FOLDERS.values())


def test_split_folders_are_taken_as_they_are(face_folder):
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        faces = load(f"folder:{face_folder}", split)
        assert len(faces) == count
        assert {path.relative_to(face_folder).parts[0] for path in faces.paths} == {split}
        for path, label, target in zip(faces.paths, faces.labels, faces.targets):
            assert CLASSES[label] == path.parent.name
            assert target.tolist() == shares(**{path.parent.name: 1.0})


def test_without_split_folders_every_picture_is_in_exactly_one_split(tmp_path):
    write_classes(tmp_path, {"happiness": 40, "sadness": 40})
    parts = [set(load(f"folder:{tmp_path}", split).paths) for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(load(f"folder:{tmp_path}", "all")) == 80
    assert len(parts[0]) > len(parts[1]) + len(parts[2])


def test_a_picture_stays_in_its_split_when_others_come_and_the_folder_moves(tmp_path):
    write_classes(tmp_path / "before", {"happiness": 30})
    before = {split: {path.name for path in load(f"folder:{tmp_path / 'before'}", split).paths} for split in SPLITS}
    write_classes(tmp_path / "after", {"happiness": 60, "anger": 10})
    for split in SPLITS:
        assert before[split] <= {path.name for path in load(f"folder:{tmp_path / 'after'}", split).paths}


def test_the_hash_gives_eighty_ten_ten():
    drawn = [split_of(f"{index}.png") for index in range(5000)]
    for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert drawn.count(split) / len(drawn) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    ("folder", "name"), [("Happy", "happiness"), ("SAD", "sadness"), ("angry", "anger"), ("Surprised", "surprise")]
)
def test_folders_may_have_the_names_that_people_use(tmp_path, folder, name):
    write_classes(tmp_path / "test", {folder: 1})
    assert load(f"folder:{tmp_path}", "test").labels.tolist() == [CLASSES.index(name)]


def test_files_that_are_no_pictures_are_passed_over(tmp_path):
    write_classes(tmp_path / "test", {"fear": 2})
    (tmp_path / "test" / "fear" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "test" / ".cache").mkdir()
    assert len(load(f"folder:{tmp_path}", "test")) == 2


def test_a_folder_named_like_a_picture_is_no_picture(tmp_path):
    write_classes(tmp_path / "test", {"fear": 2})
    (tmp_path / "test" / "fear" / "album.jpg").mkdir()
    faces = load(f"folder:{tmp_path}", "test")
    assert [faces.image(index).size for index in range(len(faces))] == [(32, 32)] * 2


def test_a_subset_keeps_pictures_and_labels_together(face_folder):
    faces = load(f"folder:{face_folder}", "train")
    by_index = faces.subset(np.array([7, 2]))
    assert by_index.paths == (faces.paths[7], faces.paths[2])
    assert by_index.labels.tolist() == [faces.labels[7], faces.labels[2]]
    by_mask = faces.subset(np.arange(12) == 7)
    assert by_mask.paths == (faces.paths[7],) and by_mask.targets.tolist() == [faces.targets[7].tolist()]


def test_an_unknown_class_folder_is_named(tmp_path):
    write_classes(tmp_path / "test", {"happiness": 1, "sleepy": 1})
    assert "sleepy" in sentence_of(f"folder:{tmp_path}") and "happiness" in sentence_of(f"folder:{tmp_path}")


@pytest.mark.parametrize("kind", ["ferplus", "folder"])
def test_a_path_that_does_not_exist_is_named(tmp_path, kind):
    assert "nowhere" in sentence_of(f"{kind}:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("kind", ["ferplus", "folder"])
def test_a_file_in_place_of_a_folder_is_refused(tmp_path, kind):
    (tmp_path / "ferplus.zip").write_bytes(b"PK")
    assert "ferplus.zip is not a folder" in sentence_of(f"{kind}:{tmp_path / 'ferplus.zip'}")


@pytest.mark.parametrize("source", ["ferplus", "imagenet:somewhere", ":somewhere"])
def test_a_source_that_is_not_kind_and_path_is_refused(source):
    assert "KIND:PATH with KIND one of ferplus" in sentence_of(source)


@pytest.mark.parametrize("kind", ["ferplus", "folder"])
def test_the_home_of_nobody_is_refused(kind):
    assert "~no-such-user" in sentence_of(f"{kind}:~no-such-user/faces")


@pytest.mark.parametrize("source", ["ferplus:", "folder:"])
def test_an_empty_path_is_not_the_current_folder(source):
    assert "an empty path is not a folder" in sentence_of(source)


def test_an_unknown_split_is_refused(face_folder):
    assert "holdout" in sentence_of(f"folder:{face_folder}", "holdout")


def test_an_empty_folder_is_refused(tmp_path):
    assert "class folders" in sentence_of(f"folder:{tmp_path}")


def test_class_folders_without_pictures_are_refused(tmp_path):
    (tmp_path / "happiness").mkdir()
    assert "no pictures" in sentence_of(f"folder:{tmp_path}")


def test_a_split_that_is_not_there_is_refused(tmp_path):
    write_classes(tmp_path / "train", {"happiness": 1})
    assert "no pictures in its val split" in sentence_of(f"folder:{tmp_path}", "val")


def test_a_ferplus_folder_without_label_file_is_refused(tmp_path):
    source = write_ferplus(tmp_path, [])
    (tmp_path / FOLDERS["test"] / "label.csv").unlink()
    assert "label.csv" in sentence_of(source) and "FERPlus" in sentence_of(source)


GOOD = ["a.png", BOX, *votes(anger=9)]


@pytest.mark.parametrize(
    "rows",
    [[GOOD, GOOD[:-1]], [GOOD[:-1]] * 10, [GOOD + [0]] * 10, [GOOD, ["a.png"]], [GOOD, ["a.png", BOX, *["many"] * 10]]],
    ids=["one row short", "every row short", "every row long", "name only", "words for votes"],
)
def test_a_label_file_with_wrong_columns_is_refused(tmp_path, rows):
    assert "label.csv" in sentence_of(write_ferplus(tmp_path, rows))


def test_a_label_file_with_a_byte_order_mark_is_read(tmp_path):
    source = write_ferplus(tmp_path, [GOOD], ("a.png",))
    table = tmp_path / FOLDERS["test"] / "label.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())  # as spreadsheets save it
    assert load(source, "test").image(0).size == (48, 48)


def test_a_label_file_that_is_no_text_is_refused(tmp_path):
    source = write_ferplus(tmp_path, [])
    (tmp_path / FOLDERS["test"] / "label.csv").write_bytes(b"\xff\xfe\x00\x80")
    assert "label.csv" in sentence_of(source)


def test_a_row_that_names_a_missing_picture_is_refused_by_its_name(tmp_path):
    faces = load(write_ferplus(tmp_path, [["gone.png", BOX, *votes(anger=9)]]), "test")
    with pytest.raises(DataError, match="gone.png does not exist"):
        faces.image(0)


def test_a_damaged_picture_is_refused_by_its_name(tmp_path):
    write_classes(tmp_path / "test", {"fear": 1})
    (path,) = (tmp_path / "test").rglob("*.png")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="fear-0.png"):
        load(f"folder:{tmp_path}", "test").image(0)


# --- snapshots of collected labels --------------------------------------------------------------


@pytest.fixture
def collected(tmp_path: Path):
    """Labelled faces of one person on each side, and the folder of a snapshot of them."""
    store = LabelStore(tmp_path / "labels")
    said = {
        "train": says("a", "happiness", second="surprise"), "val": says("b", "NF"),
        "test": says("c", "neutral", "FER+", votes={"neutral": 5, "sadness": 4, "unknown": 1}),
    }  # fmt: skip
    for number, (side, judgement) in enumerate(said.items()):
        (item,) = store.add([NewItem("test", f"clip {number}", face(number), 112, 112, (0, 0, 112, 112), split=side)])
        store.judge(item, judgement)
    yield store, take(store, tmp_path / "snapshots").folder
    store.close()


def test_a_snapshot_is_read_as_the_votes_say(collected):
    store, folder = collected
    sets = {split: load(f"snapshot:{folder}", split) for split in SPLITS}
    assert {split: len(faces) for split, faces in sets.items()} == dict.fromkeys(SPLITS, 1)
    assert sets["train"].labels.tolist() == [CLASSES.index("happiness")], "two thirds of the votes"
    np.testing.assert_allclose(sets["train"].targets, [shares(happiness=2 / 3, surprise=1 / 3)], atol=1e-6)
    assert sets["val"].labels.tolist() == [NOT_COUNTED] and not sets["val"].targets.any(), "no face, no expression"
    assert sets["test"].labels.tolist() == [NOT_COUNTED], "half of the votes is not more than half"
    np.testing.assert_allclose(sets["test"].targets, [shares(neutral=5 / 9, sadness=4 / 9)], atol=1e-6)
    everything = load(f"snapshot:{folder}", "all")
    assert (len(everything), len(everything.for_evaluation()), len(everything.for_training())) == (3, 1, 2)
    assert everything.paths[0].read_bytes() == store.picture(store.item(1))
    assert everything.face(0, everything.image(0)).box == (0.0, 0.0, 112.0, 112.0)


def test_a_face_of_a_snapshot_is_cropped_as_the_app_crops_it(recognizer, collins, tmp_path):
    cut = Chip.cut(open_picture(collins), recognizer.detector.find(open_picture(collins))[0], recognizer.bundle.preprocess)
    store = LabelStore(tmp_path / "labels")
    (item,) = store.add([NewItem("photo", "p", cut.png(), *cut.image.size, cut.face.box, cut.face.landmarks)])
    store.judge(item, says("r"))
    faces = load(f"snapshot:{take(store, tmp_path / 'snapshots').folder}", "all")
    kept = store.item(item)
    shown = Chip.of(store.picture(kept), kept.box, kept.landmarks)
    preprocess = recognizer.bundle.preprocess
    given = faces.face(0, faces.image(0))
    assert given.landmarks == kept.landmarks and given.box == kept.box
    np.testing.assert_array_equal(preprocess(faces.image(0), given), preprocess(shown.image, shown.face))
    (read,) = recognizer.read(collins).faces
    logits = read_logits(recognizer.bundle.network, preprocess, faces)
    said = softmax(logits / recognizer.bundle.temperature)
    np.testing.assert_allclose(said[0], [read.prediction.scores[name] for name in CLASSES], atol=0.01)
    store.close()


def altered(folder: Path, what: str) -> str:
    """A source with the snapshot `folder`, after something was done to it."""
    image = next((folder / "images").iterdir())
    manifest = folder / "manifest.jsonl"
    if what == "manifest altered":
        manifest.write_text(manifest.read_text().replace("happiness", "fear"))
    elif what == "manifest missing":
        manifest.unlink()
    elif what == "image altered":
        image.unlink()  # the store has the same file under another name
        image.write_bytes(face(7))
    elif what == "image missing":
        image.unlink()
    elif what == "withdrawn":
        (folder / "WITHDRAWN.json").write_text("{}")
    elif what == "renamed":
        folder = folder.rename(folder.with_name("my-faces"))
    return f"snapshot:{folder}"


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        ("manifest altered", "is not what was taken as snapshot"), ("manifest missing", "give the folder of a snapshot"),
        ("image altered", "was altered since the snapshot was taken"), ("image missing", "cannot be read"),
        ("withdrawn", "were withdrawn; take a new snapshot"), ("renamed", "is not what was taken as snapshot my-faces"),
    ],
)  # fmt: skip
def test_a_snapshot_that_is_not_what_was_taken_is_refused(collected, what, complaint):
    assert complaint in sentence_of(altered(collected[1], what), "all")


def test_a_snapshot_is_found_by_any_way_to_its_folder(collected, monkeypatch):
    _, folder = collected
    (folder.parent / "newest").symlink_to(folder)
    monkeypatch.chdir(folder)
    for path in (f"{folder}/", folder.parent / "newest", "."):
        assert len(load(f"snapshot:{path}", "all")) == 3, path


def many_collected(folder: Path) -> Path:
    """A snapshot with enough faces on every side to run a training."""
    store = LabelStore(folder / "labels")
    faces = [
        (NewItem("test", f"clip {at} {side}", png(chip(at).rotate(turn)), 112, 112, (0, 0, 112, 112), split=side),
         [says(f"{side} {at} {turn}", ("happiness", "neutral", "surprise")[at % 3])])
        for turn, side in ((0, "train"), (90, "val"), (180, "test")) for at in FAR_APART
    ]  # fmt: skip
    list(store.bring(faces))
    taken = take(store, folder / "snapshots").folder
    store.close()
    return taken


def test_a_snapshot_is_evaluated_and_trained_on_like_any_data_set(tmp_path, capsys):
    folder = many_collected(tmp_path)
    assert main(["evaluate", "--data", f"snapshot:{folder}", "--split", "all", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == len(load(f"snapshot:{folder}", "all")) > 10
    tiny = ["--init", "none", "--size", "32", "--epochs", "1", "--batch", "4"]
    assert main(["train", "--data", f"snapshot:{folder}", *tiny, "--out", str(tmp_path / "run"), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["val"]["n"] == len(load(f"snapshot:{folder}", "val"))
    provenance = json.loads((tmp_path / "run" / "bundle" / "bundle.json").read_text())["provenance"]
    assert provenance["snapshot"] == folder.name, "a withdrawal names the models by this"


def test_training_on_a_snapshot_with_withdrawn_faces_is_refused_before_anything_is_written(tmp_path, capsys):
    source = altered(many_collected(tmp_path), "withdrawn")
    assert main(["train", "--data", source, "--init", "none", "--out", str(tmp_path / "run")]) == 1
    assert "were withdrawn; take a new snapshot" in capsys.readouterr().err and not (tmp_path / "run").exists()
