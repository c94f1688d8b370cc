"""``python -m fer``: what goes to stdout, what to stderr, and with which exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from conftest import ROOT, picture
from PIL import Image

from fer.__main__ import main
from fer.bundle import CARD, SHIPPED
from fer.emotions import CLASSES, SEVEN_CLASSES
from fer.train import TrainConfig

READING = {"image", "width", "height", "ms", "model", "faces"}
FACE = {"box", "score", "expression", "confidence", "scores"}
TINY = ["--init", "none", "--size", "32", "--epochs", "1", "--batch", "4"]


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def assert_one_sentence(error: str) -> None:
    assert error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error, error


def fer(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "fer", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture
def holiday(tmp_path: Path, collins: Path) -> Path:
    """A folder with a face, noise in a folder inside, and a file that is no picture."""
    folder = tmp_path / "holiday"
    (folder / "more").mkdir(parents=True)
    shutil.copy(collins, folder / "face.jpg")
    picture((80, 60)).save(folder / "more" / "noise.PNG")
    (folder / "notes.txt").write_text("sunny")
    return folder


# --- predict ------------------------------------------------------------------------------------


def test_predict_prints_one_object_a_picture_and_nothing_else(holiday, capsys):
    assert main(["predict", "--json", str(holiday)]) == 0
    face, noise = lines(capsys.readouterr().out)
    assert READING <= set(face) and READING <= set(noise)
    assert (face["image"], noise["image"]) == ("face.jpg", "noise.PNG")
    assert (noise["width"], noise["height"], noise["faces"]) == (80, 60, [])
    (one,) = face["faces"]
    assert FACE <= set(one) and tuple(one["scores"]) == CLASSES
    assert sum(one["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert one["expression"] == max(one["scores"], key=one["scores"].get) == "happiness"
    assert one["confidence"] == one["scores"]["happiness"] and 0 < one["score"] <= 1


def test_faces_come_by_their_left_edge(capsys, tmp_path, collins):
    with Image.open(collins) as image:
        pair = Image.new("RGB", (2 * image.width, image.height))
        pair.paste(image, (0, 0))
        pair.paste(image, (image.width, 0))
    pair.save(tmp_path / "pair.png")
    assert main(["predict", "--json", str(tmp_path / "pair.png")]) == 0
    (answer,) = lines(capsys.readouterr().out)
    left, right = (face["box"][0] for face in answer["faces"])
    assert left < answer["width"] / 2 < right


def test_predict_in_words_names_the_expression(holiday, capsys):
    assert main(["predict", str(holiday)]) == 0
    out = capsys.readouterr().out
    assert "face.jpg: 1 face\n  happiness" in out and "noise.PNG: no faces" in out


def test_files_and_folders_are_read_in_the_order_given(holiday, collins, capsys):
    assert main(["predict", "--json", str(collins), str(holiday), str(holiday / "face.jpg")]) == 0
    names = [answer["image"] for answer in lines(capsys.readouterr().out)]
    assert names == [collins.name, "face.jpg", "noise.PNG", "face.jpg"]


def test_an_unreadable_picture_among_good_ones_does_not_stop_them(holiday, capsys):
    (holiday / "broken.jpg").write_bytes((holiday / "face.jpg").read_bytes()[:5000])
    assert main(["predict", "--json", str(holiday), str(holiday / "gone.jpg")]) == 1
    captured = capsys.readouterr()
    answers = {answer["image"]: answer for answer in lines(captured.out)}
    assert answers["face.jpg"]["faces"] and answers["noise.PNG"]["faces"] == []
    assert "damaged" in answers["broken.jpg"]["error"] and "does not exist" in answers["gone.jpg"]["error"]
    assert "error: broken.jpg is damaged" in captured.err and "error: gone.jpg does not exist" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name is Unicode")
@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "words"])
def test_a_picture_whose_name_is_not_unicode_does_not_stop_the_others(holiday, capsys, form):
    shutil.copy(holiday / "face.jpg", os.fsencode(holiday) + b"/caf\xe9.jpg")
    assert main(["predict", *form, str(holiday)]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("happiness") >= 2 and "noise.PNG" in captured.out
    assert "error" not in captured.err


def test_a_folder_without_pictures_is_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("sunny")
    assert main(["predict", "--json", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert_one_sentence(captured.err)
    assert "has no pictures" in captured.err and captured.out == ""


def test_predict_as_its_own_process(holiday):
    (holiday / "broken.jpg").write_text("no picture")
    run = fer("predict", "--json", holiday)
    assert run.returncode == 1
    assert [answer["image"] for answer in lines(run.stdout)] == ["broken.jpg", "face.jpg", "noise.PNG"]
    assert "broken.jpg is not a picture" in run.stderr and "Traceback" not in run.stderr


# --- what is not there --------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["predict", "evaluate", "bench", "card"])
def test_a_model_that_is_not_there_is_one_sentence(command, collins, face_folder, tmp_path, capsys):
    rest = {
        "predict": [str(collins)],
        "evaluate": ["--data", f"folder:{face_folder}"],
        "bench": ["crop", "--data", f"folder:{face_folder}"],
        "card": ["--data", "Faces."],
    }[command]
    assert main([command, *rest, "--model", str(tmp_path / "nowhere")]) == 1
    captured = capsys.readouterr()
    assert_one_sentence(captured.err)
    assert "bundle.json is missing" in captured.err and captured.out == ""


@pytest.mark.parametrize("kind", ["ferplus", "folder"])
@pytest.mark.parametrize("where", ["nowhere", "empty", "file.zip"])
@pytest.mark.parametrize("command", ["train", "evaluate", "bench"])
def test_data_that_are_not_there_or_not_right_are_one_sentence(command, where, kind, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.zip").write_bytes(b"PK")
    out = ["--out", str(tmp_path / "run")]
    rest = {"train": [*TINY, *out], "evaluate": out, "bench": ["crop"]}[command]
    assert main([command, *rest, "--data", f"{kind}:{tmp_path / where}"]) == 1
    captured = capsys.readouterr()
    assert_one_sentence(captured.err)
    assert where in captured.err and captured.out == ""
    assert not (tmp_path / "run").exists()


def test_data_of_another_kind_are_one_sentence(face_folder, capsys):
    assert main(["evaluate", "--data", f"ferplus:{face_folder}"]) == 1
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "label.csv is missing" in error


def test_training_without_data_says_what_to_give(tmp_path, capsys):
    assert main(["train", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "--data" in error and not (tmp_path / "run").exists()


def test_a_bench_of_crops_without_data_says_what_to_give(capsys):
    assert main(["bench", "crop"]) == 1
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "--data" in error


@pytest.mark.parametrize("arguments", [[], ["dance"], ["predict"], ["train", "--data", "folder:x"], ["bench", "dance"]])
def test_wrong_usage_ends_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m fer" in capsys.readouterr().err


# --- evaluate -----------------------------------------------------------------------------------


def test_evaluate_prints_its_report_on_one_line(face_folder, capsys):
    assert main(["evaluate", "--data", f"folder:{face_folder}", "--json"]) == 0
    (report,) = lines(capsys.readouterr().out)
    assert (report["n"], report["split"], tuple(report["classes"])) == (6, "test", CLASSES)
    assert {name: one["n"] for name, one in report["per_class"].items() if one["n"]} == {
        "happiness": 2, "neutral": 2, "surprise": 2,
    }  # fmt: skip
    assert report["accuracy"] == sum(report["confusion"][i][i] for i in range(8)) / 6
    assert 0 <= report["dedup"]["n"] <= 6


def test_evaluate_as_its_own_process_keeps_stdout_for_the_report(face_folder):
    run = fer("evaluate", "--data", f"folder:{face_folder}", "--split", "all", "--json")
    assert run.returncode == 0, run.stderr
    (report,) = lines(run.stdout)
    assert (report["n"], report["split"], report["dedup"]) == (24, "all", None)


def test_evaluate_in_words_is_a_table(face_folder, capsys):
    assert main(["evaluate", "--data", f"folder:{face_folder}", "--split", "val"]) == 0
    out = capsys.readouterr().out
    assert "val: 6 faces" in out and "accuracy" in out and "contempt" in out


def test_evaluate_writes_its_report_and_a_picture(face_folder, tmp_path, capsys):
    out = tmp_path / "new" / "reports"
    assert main(["evaluate", "--data", f"folder:{face_folder}", "--split", "val", "--json", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["report-val.json", "report-val.png"]
    assert lines((out / "report-val.json").read_text()) == lines(capsys.readouterr().out)
    with Image.open(out / "report-val.png") as image:
        assert image.format == "PNG"


def test_a_folder_with_a_test_split_alone_is_evaluated(face_folder, tmp_path, capsys):
    shutil.copytree(face_folder / "test", tmp_path / "test")
    assert main(["evaluate", "--data", f"folder:{tmp_path}", "--json"]) == 0
    (report,) = lines(capsys.readouterr().out)
    assert report["n"] == 6


@pytest.mark.parametrize(
    ("given", "classes", "n"),
    [("7", SEVEN_CLASSES, 6), ("8", CLASSES, 6), ("Happy,neutral", ("happiness", "neutral"), 4)],
)
def test_the_protocol_may_be_limited_to_some_classes(face_folder, capsys, given, classes, n):
    assert main(["evaluate", "--data", f"folder:{face_folder}", "--classes", given, "--json"]) == 0
    (report,) = lines(capsys.readouterr().out)
    assert (tuple(report["classes"]), report["n"]) == (classes, n)


@pytest.mark.parametrize(("given", "words"), [("sleepy", "sleepy"), ("9", "9"), ("contempt,fear", "no face")])
def test_classes_that_are_unknown_or_not_there_are_one_sentence(face_folder, capsys, given, words):
    assert main(["evaluate", "--data", f"folder:{face_folder}", "--classes", given]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: ") and words in captured.err
    assert "Traceback" not in captured.err and captured.out == ""


def test_a_split_in_which_no_face_is_counted_is_one_sentence(tmp_path, capsys):
    for name in ("FER2013Train", "FER2013Test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "label.csv").write_text('a.png,"(0, 0, 48, 48)",5,5,0,0,0,0,0,0,0,0\n')
        picture((48, 48)).save(tmp_path / name / "a.png")
    assert main(["evaluate", "--data", f"ferplus:{tmp_path}", "--json"]) == 1
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "no face" in error


def test_a_label_file_that_names_missing_pictures_is_one_sentence(tmp_path, capsys):
    for name in ("FER2013Train", "FER2013Test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "label.csv").write_text('gone.png,"(0, 0, 48, 48)",9,0,0,0,0,0,0,0,0,0\n')
    assert main(["evaluate", "--data", f"ferplus:{tmp_path}", "--json"]) == 1
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "gone.png does not exist" in error


# --- train, and what came out -------------------------------------------------------------------


def test_a_model_is_trained_evaluated_and_used_by_commands_alone(face_folder, tmp_path, collins, capsys):
    out = tmp_path / "run"
    data = ["--data", f"folder:{face_folder}"]
    assert main(["train", *data, *TINY, "--out", str(out), "--json"]) == 0
    (trained,) = lines(capsys.readouterr().out)
    assert trained["val"]["n"] == 6 and Path(trained["bundle"]) == out / "bundle"

    model = ["--model", trained["bundle"]]
    assert main(["evaluate", *data, *model, "--split", "val", "--out", trained["bundle"], "--json"]) == 0
    (report,) = lines(capsys.readouterr().out)
    assert (report["model"], report["confusion"]) == (trained["version"], trained["val"]["confusion"])

    assert main(["card", "--data", "Six people.", *model]) == 0
    card = (out / "bundle" / CARD).read_text()
    assert card.startswith(f"# {trained['version']}\n") and "Six people." in card
    capsys.readouterr()

    assert main(["predict", str(collins), *model, "--json"]) == 0
    (answer,) = lines(capsys.readouterr().out)
    assert answer["model"] == trained["version"] and len(answer["faces"]) == 1


def test_the_same_folder_with_other_settings_is_one_sentence(face_folder, tmp_path, capsys):
    command = ["train", "--data", f"folder:{face_folder}", *TINY, "--out", str(tmp_path / "run"), "--json"]
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--seed", "5"]) == 1
    captured = capsys.readouterr()
    assert_one_sentence(captured.err)
    assert "other settings" in captured.err and captured.out == ""


def test_a_run_stopped_by_the_keyboard_says_that_it_goes_on(face_folder, tmp_path):
    flags = ["--data", f"folder:{face_folder}", *TINY, "--epochs", "500", "--out", str(tmp_path / "run"), "--json"]
    command = [sys.executable, "-m", "fer", "train", *flags]
    # A test run in the background of a shell ignores interrupts, and so would its child.
    listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **listening
    ) as run:
        try:
            assert any("epoch 1: " in line for line in run.stderr)
            run.send_signal(signal.SIGINT)
            out, error = run.communicate(timeout=60)
        finally:
            run.kill()
    assert (run.returncode, out) == (130, "")
    assert "goes on where it was" in error and "Traceback" not in error


def test_the_help_lists_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for field in fields(TrainConfig):
        assert "--" + field.name.replace("_", "-") in words
        assert f"(default: {field.default})" in words


# --- card ---------------------------------------------------------------------------------------


def test_card_writes_the_card_beside_the_model(tmp_path, capsys):
    model = shutil.copytree(SHIPPED, tmp_path / "model")
    data = (model / CARD).read_text(encoding="utf-8").split("## Data\n\n")[1].split("\n\n## Figures")[0]
    before = (model / CARD).read_bytes()
    (model / CARD).unlink()
    assert main(["card", "--data", data, "--model", str(model)]) == 0
    assert (model / CARD).read_bytes() == before
    assert CARD in capsys.readouterr().out


def test_a_card_of_a_model_without_reports_is_one_sentence(tmp_path, capsys):
    model = shutil.copytree(SHIPPED, tmp_path / "model", ignore=shutil.ignore_patterns("report-*"))
    assert main(["card", "--data", "Faces.", "--model", str(model)]) == 1
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "run evaluate with --out" in error


def test_a_card_of_a_model_without_provenance_is_one_sentence(tmp_path, capsys):
    model = shutil.copytree(SHIPPED, tmp_path / "model")
    description = json.loads((model / "bundle.json").read_text())
    (model / "bundle.json").write_text(json.dumps({**description, "provenance": {}}))
    assert main(["card", "--data", "Faces.", "--model", str(model)]) == 1
    assert_one_sentence(capsys.readouterr().err)
