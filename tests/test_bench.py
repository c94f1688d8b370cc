"""The benches: how faces are staged, which found face is taken, and what the figures must reach."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from fer.__main__ import main
from fer.bench import BENCHES, continual, errors
from fer.bench.crop import Staged, stage, staged_face
from fer.faces import Face
from fer.picture import open_picture


def found(x: float, y: float, side: float = 100.0) -> Face:
    """A found face centred on (x, y)."""
    whole = Face.whole(Image.new("RGB", (1, 1)))
    return Face((x - side / 2, y - side / 2, x + side / 2, y + side / 2), whole.landmarks, 0.9)


@pytest.mark.parametrize("seed", range(8))
def test_a_staged_face_lies_whole_on_its_canvas(seed):
    white = Image.new("RGB", (48, 48), "white")
    staged = stage(white, np.random.default_rng(seed))
    assert staged.canvas.width >= 640 and staged.canvas.height >= 480
    assert 3 * 48 <= staged.side <= 6 * 48
    face = (np.asarray(staged.canvas) == 255).all(axis=2)
    assert face.sum() == pytest.approx(staged.side**2, rel=0.02)
    rows, columns = np.nonzero(face)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(staged.centre, abs=1)


def test_staging_depends_on_its_random_numbers_alone():
    face = picture((48, 48))
    one, same, other = (stage(face, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.canvas.tobytes() == same.canvas.tobytes() and one.centre == same.centre
    assert one.canvas.tobytes() != other.canvas.tobytes()


def test_the_found_face_nearest_the_staged_one_is_taken():
    staged = Staged(Image.new("RGB", (640, 480)), (300, 200), 200)
    near, nearer, far = found(330, 200), found(300, 190), found(500, 200)
    assert staged_face(staged, [far, near, nearer]) is nearer


@pytest.mark.parametrize("faces", [[], [found(351, 200)], [found(300, 260)]])
def test_a_face_elsewhere_is_not_taken_for_the_staged_one(faces):
    assert staged_face(Staged(Image.new("RGB", (640, 480)), (300, 200), 200), faces) is None


def test_a_staged_photograph_is_found_again(recognizer, collins):
    faces = recognizer.detector.find(open_picture(collins))
    crop = recognizer.bundle.preprocess.crop(open_picture(collins), faces[0]).resize((64, 64))
    staged = stage(crop, np.random.default_rng(0))
    face = staged_face(staged, recognizer.detector.find(staged.canvas))
    assert face is not None and face.landmarks is not None


def test_every_bench_can_be_named_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    assert set(re.findall(r"\{(.*?)\}", capsys.readouterr().out)[0].split(",")) == set(BENCHES)


def test_the_bench_of_crops_compares_the_same_faces(face_folder, capsys):
    assert main(["bench", "crop", "--data", f"folder:{face_folder}", "--limit", "3", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert answer["faces"] == 3 and 0 < answer["found"] <= 1
    assert answer["difference"] == pytest.approx(
        answer["accuracy_through_detector"] - answer["accuracy_direct"], abs=2e-4
    )


@pytest.mark.data
def test_faces_of_ferplus_are_read_on_canvases_as_when_fed_directly(ferplus, capsys):
    assert main(["bench", "crop", "--data", f"ferplus:{ferplus}", "--limit", "500", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["faces"] == 500
    assert answer["found"] >= 0.9
    assert abs(answer["difference"]) <= 0.04


@pytest.mark.data
def test_the_bench_of_errors_finds_labels_that_were_turned_wrong(ferplus, capsys):
    assert main(["bench", "errors", "--data", f"ferplus:{ferplus}", "--limit", "200", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert (answer["faces"], answer["flipped"], answer["seeds"]) == (400, 0.05, 5)
    assert answer["average_precision"] >= answer["average_precision_plain"] > 0.5
    assert answer["recall"] >= answer["recall_plain"] > 0.5
    for name in ("average_precision", "recall"):
        low, middle, high = answer[f"{name}_difference"]
        assert low <= middle <= high and middle == pytest.approx(answer[name] - answer[f"{name}_plain"], abs=2e-4)
    if (ferplus / "fer2013_labels.csv").is_file():
        assert 0 < answer["fer2013"]["faces"] <= 400 and 0 < answer["fer2013"]["wrong"] < 0.5
        assert 0 < answer["fer2013"]["average_precision"] <= 1


def test_the_bench_of_errors_wants_data(capsys):
    assert main(["bench", "errors"]) == 1
    assert "--data is missing" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(3))
def test_turned_labels_are_all_wrong_and_five_of_a_hundred(seed):
    truth = np.arange(400) % 8
    labels, wrong = errors._flipped(truth, seed)
    assert wrong.sum() == 20 and np.array_equal(labels != truth, wrong) and set(labels) <= set(range(8))
    assert not np.array_equal(wrong, errors._flipped(truth, seed + 1)[1])


def test_precision_and_recall_of_the_bench_are_those_of_the_textbook():
    wrong = np.zeros(40, dtype=bool)
    wrong[[0, 3]] = True
    order = -np.arange(40.0)  # the wrong ones at places 1 and 4
    assert errors._average_precision(order, wrong) == pytest.approx((1 + 2 / 4) / 2)
    assert errors._recall(order, wrong) == 0.5  # one of two among the first two of forty


def test_the_bench_of_the_store_labels_together_on_a_made_workspace(face_folder, monkeypatch, capsys):
    monkeypatch.setattr("fer.bench.store.SECONDS", 3.0)
    assert main(["bench", "store", "--data", f"folder:{face_folder}", "--limit", "300", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert (answer["items"], answer["judgements"], answer["errors"]) == (300, 900, 0)
    assert answer["labels_given"] == 20 * 3
    assert all(0 < answer[f"{name}_ms"]["p50"] <= answer[f"{name}_ms"]["p95"] for name in ("next", "label", "stats"))
    assert answer["database_megabytes"] > 0 and answer["picture_megabytes"] > 0


def test_the_bench_of_the_store_says_when_pictures_run_out(face_folder, monkeypatch, capsys):
    monkeypatch.setattr("fer.bench.store.SHIFTS", 1)
    assert main(["bench", "store", "--data", f"folder:{face_folder}", "--limit", "100"]) == 1
    assert "--limit" in capsys.readouterr().err


def test_a_made_workspace_is_one_the_store_could_have_made(face_folder, tmp_path):
    from fer import datasets
    from fer.bench.store import make_workspace
    from labeling.store import LabelStore

    faces = datasets.load(f"folder:{face_folder}", "all")
    assert make_workspace(tmp_path, faces, 40, "a model", lambda items: items) == (40, 120)
    store = LabelStore(tmp_path / "labels")
    assert store.unscored("a model", 1) == []
    with store.database.reading() as connection:
        standing = {tuple(row) for row in connection.execute("SELECT item, annotator, judgement, label FROM standing")}
        judged = {tuple(row) for row in connection.execute("SELECT item, annotator, id, label FROM judgements")}
    assert standing == judged and len(judged) == 120
    store.close()


# --- continual ----------------------------------------------------------------------------------


def test_a_door_viewer_keeps_the_size_and_shows_the_middle_larger():
    face = np.zeros((48, 48, 3), dtype=np.uint8)
    face[20:28, 20:28] = 255
    seen = continual.door_viewer(Image.fromarray(face))
    assert seen.size == (48, 48) and seen.mode == "RGB"
    rows, columns = np.nonzero(np.asarray(seen)[:, :, 0])
    assert 8 < rows.max() - rows.min() + 1 < 40 and np.asarray(seen).sum() > 2 * face.sum()
    assert (rows.mean(), columns.mean()) == pytest.approx((23.5, 23.5), abs=1)  # nothing is moved aside


def test_a_door_viewer_leaves_what_lies_half_a_side_from_the_middle_and_presses_the_rim():
    across = np.repeat(np.arange(49, dtype=np.uint8)[None], 49, axis=0)
    seen = np.asarray(continual.door_viewer(Image.fromarray(across)))[24].astype(int)
    assert seen[24] == 24 and abs(seen[0] - 0) <= 1 and abs(seen[48] - 48) <= 1
    moves = np.diff(seen)
    assert (moves >= 0).all() and moves[24] <= 1 < moves[1:4].sum()  # slow in the middle, fast at the rim
    assert np.array_equal(seen, 48 - seen[::-1])


def test_a_door_viewer_repeats_border_pixels_in_the_corners():
    face = np.asarray(picture((48, 48)))
    seen = np.asarray(continual.door_viewer(Image.fromarray(face)))
    assert np.array_equal(seen[0, 0], face[0, 0]) and np.array_equal(seen[-1, -1], face[-1, -1])


def test_a_worn_face_is_the_face_seen_through_the_door_viewer(face_folder):
    from fer import datasets

    plain = datasets.load(f"folder:{face_folder}", "val")
    worn = continual.Worn(plain.name, plain.split, plain.protocol, plain.paths, plain.targets, plain.labels)
    assert len(worn) == len(plain) and isinstance(worn.subset(np.arange(2)), continual.Worn)
    for index in range(2):
        image = plain.image(index)
        assert worn.image(index).tobytes() == continual.door_viewer(image).tobytes() != image.tobytes()


def test_corrections_of_a_half_are_all_views_of_the_chosen_faces():
    import torch

    from fer.rehearsal import Activations

    faces, views = 4, 3
    codes = torch.arange(faces * views).float().reshape(-1, 1, 1, 1)
    labels = np.repeat(np.arange(faces), views)
    worn = Activations(codes, None, torch.nn.functional.one_hot(torch.from_numpy(labels), 8).float(), labels)
    seen = Activations(codes[::views], None, worn.targets[::views], labels[::views])
    halves = continual.Halves(worn, views, seen, seen)
    chosen = halves.corrections(np.array([2, 0]))
    assert chosen.codes.flatten().tolist() == [6, 7, 8, 0, 1, 2] and chosen.labels.tolist() == [2, 2, 2, 0, 0, 0]
    assert chosen.targets.argmax(dim=1).tolist() == [2, 2, 2, 0, 0, 0]
