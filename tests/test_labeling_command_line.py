"""python -m labeling: import, export, and what they share with stats and withdraw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COLLINS, ROOT, picture
from exchanged import grey, studio
from label_workspaces import face

from labeling.__main__ import main

HIDDEN = """
import sys
for name in ("torch", "torchvision", "facenet_pytorch", "gradio"):
    sys.modules[name] = None  # as if it were not installed
from labeling.__main__ import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A folder of two ready-made faces in two classes, and a picture that is none."""
    for name, content in {"joy/a.png": face(0), "fear/b.png": grey(1), "fear/c.png": b"broken"}.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(content)
    return tmp_path / "set"


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "labeling", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_import_makes_the_workspace_and_says_what_came_with_a_bar_on_stderr(tmp_path, classes):
    done = run("import", f"folder:{classes}", "--workspace", tmp_path / "new")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "folder:set: 2 new faces, 2 new labels", "1 part passed over:",
        "  fear/c.png: It is not a picture that can be read here; use JPEG, PNG or WebP.",
    ]  # fmt: skip
    assert "3/3" in done.stderr and (tmp_path / "new" / "labels" / "labels.db").is_file()


def test_json_is_one_object_and_nothing_else(tmp_path, classes):
    done = run("import", classes, "--workspace", tmp_path / "new", "--json")
    report = json.loads(done.stdout)
    assert (report["source"], report["faces"], report["judgements"]) == ("folder:set", 2, 2)
    assert report["problems"][0]["name"] == "fear/c.png" and report["problem_count"] == 1
    done = run("export", f"csv:{tmp_path / 'out'}", "--workspace", tmp_path / "new", "--json")
    assert json.loads(done.stdout) == {"target": f"csv:{tmp_path / 'out'}", "faces": 2, "left_out": {}}


def test_ready_made_faces_need_no_torch(tmp_path, classes):
    for arguments in (["import", classes], ["export", f"ferplus:{tmp_path / 'out'}"], ["stats"]):
        command = [sys.executable, "-c", HIDDEN, *map(str, arguments), "--workspace", str(tmp_path / "new")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "FER2013Train" / "label.csv").is_file()


def test_photos_are_cut_by_the_detector(tmp_path, capsys):
    assert main(["import", str(COLLINS), "--workspace", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faces"] == 1
    assert main(["export", f"labelstudio:{tmp_path / 'out'}", "--workspace", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"1 face in labelstudio:{tmp_path / 'out'}\n"


def test_chips_are_cropped_by_the_preprocessing_of_the_model(tmp_path, capsys):
    from PIL import Image

    from fer import bundle, datasets
    from fer.chips import Chip

    store = studio(tmp_path / "labels")
    assert main(["export", f"folder:{tmp_path / 'out'}", "--workspace", str(tmp_path)]) == 0
    assert "6 faces in folder:" in capsys.readouterr().out
    item = store.item(8)
    chip = Chip.of(store.picture(item), item.box, item.landmarks)
    with Image.open(next((tmp_path / "out").rglob("oath-ceremony.png"))) as image:
        assert image.tobytes() == bundle.load().preprocess.crop(chip.image, chip.face).tobytes()
    assert len(datasets.load(f"folder:{tmp_path / 'out'}", "all")) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "nowhere"], "error: nowhere does not exist; check the name and the folder.\n"),
        (["export", "csv:out"], " holds no labels; name the folder the app uses with --workspace\n"),
        (["export", "nonsense"], " holds no labels; "),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_one(tmp_path, capsys, arguments, words):
    assert main([*arguments, "--workspace", str(tmp_path / "new")]) == 1
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""


def test_names_that_are_no_text_do_not_stop_it(tmp_path):
    odd = b"\xff\xfe.png"
    folder = tmp_path / "set" / "fear"
    folder.mkdir(parents=True)
    try:
        with open(bytes(folder) + b"/" + odd, "wb") as file:
            file.write(face())
        with open(bytes(folder) + b"/x" + odd, "wb") as file:
            file.write(b"broken")
    except OSError:
        pytest.skip("this disk takes only names that are text")
    picture((16, 16)).save(folder / "good.png")
    done = run("import", tmp_path / "set", "--workspace", tmp_path / "new")
    assert done.returncode == 0 and "2 new faces" in done.stdout and "x??.png" in done.stdout


def test_snapshot_says_how_many_faces_each_side_has_and_loads_as_a_data_set(tmp_path, classes, capsys):
    from fer import datasets

    assert main(["import", f"folder:{classes}", "--workspace", str(tmp_path / "new"), "--json"]) == 0
    capsys.readouterr()
    assert main(["snapshot", "--workspace", str(tmp_path / "new"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["train"] + answer["val"] + answer["test"] == 2
    assert len(datasets.load(f"snapshot:{answer['folder']}", "all")) == 2
    assert main(["snapshot", "--workspace", str(tmp_path / "new")]) == 0
    assert f"use it as snapshot:{tmp_path / 'new' / 'snapshots' / answer['id']}" in capsys.readouterr().out


def test_sync_sends_what_is_new_and_reads_what_others_sent(tmp_path, classes, capsys, monkeypatch):
    from local_hub import TOKEN, LocalHub

    with LocalHub() as hub:
        for name, value in {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN}.items():
            monkeypatch.setenv(name, value)
        assert main(["import", f"folder:{classes}", "--workspace", str(tmp_path / "a")]) == 0
        done = run("sync", "--repository", "tester/labels", "--workspace", tmp_path / "a")
        assert (done.returncode, done.stdout) == (0, "tester/labels: 0 faces and 0 labels came, 2 went, 0 wait\n"), done.stderr
        monkeypatch.setenv("FER_LABELS_REPO", "tester/labels")
        done = run("sync", "--workspace", tmp_path / "b", "--json")
        answer = json.loads(done.stdout)
        assert (answer["faces"], answer["labels"], answer["waiting"], answer["problem"]) == (2, 2, 0, None)
        hub.stop()
        capsys.readouterr()
        done = run("sync", "--workspace", tmp_path / "b")
        assert done.returncode == 1 and "error: The Hub cannot be reached; look at the network." in done.stderr.splitlines()
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "error: there is no repository to sync with; "), (["--repository", "labels"], "cannot be the name of a repository; write USER/NAME.")],
)
def test_sync_needs_a_repository(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.delenv("FER_LABELS_REPO", raising=False)
    assert main(["sync", *arguments, "--workspace", str(tmp_path)]) == 1
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_every_command_that_the_readme_names_is_there():
    import re

    named = set(re.findall(r"python -m labeling (\w+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert len(named) >= 5
    for command in named:
        assert run(command, "--help").returncode == 0, command
