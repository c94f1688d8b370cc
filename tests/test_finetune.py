"""A fine-tune as a run: what comes out, what bad input leaves behind, and what is left of one that was cut off."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import short_finetune
from label_workspaces import fill, read_only, small_disk
from short_finetune import LABELS, SIDES, run_folder, settings, shorten, snapshot

from fer import bundle as bundles
from fer import datasets, finetune, processes, runs
from fer.__main__ import main
from fer.config import FinetuneConfig, read_finetune
from fer.emotions import CLASSES
from fer.registry import Registry
from fer.runs import Run

REPORT = {
    "kind", "version", "base", "snapshot", "snapshot_folder", "speed", "seconds", "blend", "temperature", "learned_from",
    "held_out", "corrections", "benchmark", "verdict", "flips",
}  # fmt: skip


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick fine-tune is short, here and in every process that is started."""
    shorten(monkeypatch.setattr)
    monkeypatch.setattr(finetune.torch, "set_num_threads", lambda _: None)  # of this process
    monkeypatch.setenv("PYTHONPATH", str(Path(short_finetune.__file__).parent))
    monkeypatch.setattr(processes, "give_way", lambda _: None)  # that a run does is tested with the runs
    begin = runs.start
    monkeypatch.setattr(runs, "start", lambda folder, module, config, label: begin(folder, "short_finetune", config, label))


def do(workspace: Path, taken: Path, name: str = "20261121-115530-quick", **changed: str) -> tuple[Run, int]:
    """A run in this process, and its exit code."""
    run = run_folder(workspace, settings(workspace, taken, **changed), name)
    return run, finetune.main([str(run.paths.root)])


def taught(workspace: Path) -> list:
    """The versions of a workspace beside the one that ships."""
    return [one for one in Registry(workspace / "models").versions() if not one.shipped]


def assert_refused(run: Run, err: str, workspace: Path, *words: str) -> None:
    """The run has failed with one sentence that has `words` in it, on the screen too, and left no version."""
    status = run.status()
    assert status.state == "failed" and all(word in status.error for word in words), status
    assert "\n" not in status.error and str(workspace) not in status.error and "Error" not in status.error
    assert err.strip().splitlines()[-1] == status.error
    assert "Traceback" not in err
    assert taught(workspace) == [] and not list(workspace.rglob("*.partial"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A finished run and its workspace; look, but do not change it."""
    workspace = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch.setattr)
        patch.setattr(finetune.torch, "set_num_threads", lambda _: None)
        run, code = do(workspace, snapshot(workspace))
    assert code == 0, run.status()
    return run, workspace


# --- what comes out -----------------------------------------------------------------------------


def test_the_report_says_what_the_tabs_show(done):
    run, workspace = done
    report = run.report()
    assert set(report) == REPORT and report["kind"] == "finetune" and report["speed"] == "quick"
    assert (report["learned_from"], report["held_out"]) == (32, 16) and 0 <= report["blend"] <= 1
    (folder,) = (workspace / "snapshots").iterdir()
    assert (report["snapshot"], report["snapshot_folder"]) == (folder.name, str(folder))
    assert report["base"] == bundles.load().version and report["seconds"] > 0 and report["temperature"] > 0
    assert report["corrections"]["n"] == 16 and report["benchmark"]["n"] == short_finetune.FACES
    assert report["verdict"]["code"] == "not enough to tell" and report["verdict"]["promote"] is False


def test_the_version_is_kept_with_card_and_report_and_not_promoted(done):
    run, workspace = done
    report, (version,) = run.report(), taught(workspace)
    assert version.version == report["version"] and version.damaged is None and not version.active
    assert (version.parent, version.snapshot) == (report["base"], report["snapshot"])
    assert version.report() == report and version.version in version.card.read_text()
    assert Registry(workspace / "models").active().shipped
    loaded = bundles.load(version.folder)
    assert loaded.provenance["blend"] == report["blend"] and str(workspace) not in json.dumps(loaded.provenance)
    assert loaded.provenance["started_from"]["version"] == report["base"] and loaded.temperature == report["temperature"]


def test_the_snapshot_names_the_version_and_the_run_is_over(done):
    run, workspace = done
    (line,) = (Path(run.report()["snapshot_folder"]) / "TRAINED.jsonl").read_text().splitlines()
    assert json.loads(line) == {"version": run.report()["version"]}
    status = run.status()
    assert (status.state, status.step, status.error) == ("finished", status.steps, None)
    assert not run.paths.checkpoint.exists() and not list(workspace.rglob("*.partial"))


def test_the_curves_have_a_line_for_the_beginning_and_the_end(done):
    lines = done[0].metrics()
    names = {"step", "loss", "base_accuracy", "corrections_accuracy", "learning_rate"}
    assert all(set(line) == names for line in lines)
    assert lines[0]["step"] == 0 and lines[0]["loss"] is None and lines[-1]["step"] == done[0].status().steps
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})


def test_what_the_model_now_reads_wrongly_comes_first(tmp_path):
    import numpy as np

    faces = datasets.load(f"snapshot:{snapshot(tmp_path)}", "test").for_evaluation()
    right, wrong = np.eye(8)[faces.labels] * 0.7, np.eye(8)[(faces.labels + 1) % 8]
    before, after = right.copy(), right.copy()
    before[[1, 4]] = wrong[[1, 4]] * [[0.5], [0.9]]  # mended
    after[[2, 6]] = wrong[[2, 6]] * [[0.6], [0.8]]  # broken
    flips = finetune._flips(faces, before, after)
    assert [one["broken"] for one in flips] == [True, True, False, False]
    assert [one["image"] for one in flips[:2]] == [faces.paths[6].name, faces.paths[2].name]  # the surest first
    assert flips[0]["before"] == flips[0]["label"] != flips[0]["after"] and flips[0]["after_confidence"] == 0.8
    assert {one["image"] for one in flips[2:]} == {faces.paths[1].name, faces.paths[4].name}


def test_without_held_out_faces_nothing_can_be_told_and_nothing_breaks(tmp_path):
    run, code = do(tmp_path, snapshot(tmp_path, ("train",) * 24))
    report = run.report()
    assert code == 0 and report["held_out"] == 0 and report["corrections"] is None and report["flips"] == []
    assert report["verdict"]["code"] == "not enough to tell" and not report["verdict"]["promote"]
    assert all(line["corrections_accuracy"] is None for line in run.metrics())
    assert taught(tmp_path)[0].card.is_file()


def test_held_out_faces_on_one_side_only_are_enough_to_compare(tmp_path):
    run, code = do(tmp_path, snapshot(tmp_path, ("train",) * 24 + ("test",) * 8))
    assert code == 0 and run.report()["corrections"]["n"] == 8


def test_the_same_labels_teach_the_same_model_and_another_seed_another(done, tmp_path):
    taken = snapshot(tmp_path)
    same, other = do(tmp_path, taken)[0], do(tmp_path, taken, "20261121-115531-quick", seed=1)[0]
    assert same.report()["version"] == done[0].report()["version"] != other.report()["version"]
    assert same.paths.metrics.read_text() == done[0].paths.metrics.read_text()
    assert len(taught(tmp_path)) == 2


def test_the_gate_promotes_what_is_better_where_that_was_asked_for(tmp_path, monkeypatch):
    better = finetune.Verdict("better", True, "Better: 70 of 80.")
    monkeypatch.setattr(finetune, "verdict", lambda *_: better)
    run, code = do(tmp_path, snapshot(tmp_path), promote="if-better")
    (version,), (line,) = taught(tmp_path), Registry(tmp_path / "models").history()[-1:]
    assert code == 0 and version.active and (line["who"], line["why"]) == ("the gate", better.words)


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides", "labels", "words"),
    [
        (SIDES, ("unknown", "NF"), ("0 labelled faces of 0 expressions", "label more")),
        (SIDES, ("fear",), ("32 labelled faces of 1 expression", "two")),
        (("train",) * 19 + ("test",) * 9, LABELS, ("19 labelled faces", "at least 20")),
        (("test",) * 30, LABELS, ("0 labelled faces",)),
    ],
)
def test_labels_that_cannot_teach_are_refused(tmp_path, capsys, sides, labels, words):
    run, code = do(tmp_path, snapshot(tmp_path, sides, labels))
    assert code == 1
    assert_refused(run, capsys.readouterr().err, tmp_path, *words)


def altered(folder: Path, what: str) -> None:
    """Do something to a snapshot that nobody should."""
    picture = sorted((folder / "images").iterdir())[3]
    if what == "manifest":
        manifest = folder / "manifest.jsonl"
        manifest.write_text(manifest.read_text().replace("neutral", "fear"))
    elif what == "picture":
        picture.write_bytes(picture.read_bytes() + b"x")
    elif what == "picture gone":
        picture.unlink()
    elif what == "withdrawn":
        (folder / "WITHDRAWN.json").write_text("{}")
    elif what == "gone":
        folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("manifest", "is not what was taken"), ("picture", "was altered"), ("picture gone", "take a new"),
        ("withdrawn", "were withdrawn"), ("gone", "is not there"),
    ],
)  # fmt: skip
def test_a_snapshot_that_was_changed_is_refused(tmp_path, capsys, what, words):
    taken = snapshot(tmp_path)
    altered(taken, what)
    run, code = do(tmp_path, taken)
    assert code == 1
    assert_refused(run, capsys.readouterr().err, tmp_path, words)
    assert not (taken / "TRAINED.jsonl").exists()


@pytest.mark.parametrize("when", ["learning", "comparing", "keeping"])
def test_a_snapshot_that_is_withdrawn_meanwhile_makes_no_version(tmp_path, capsys, monkeypatch, when):
    taken = snapshot(tmp_path)
    module, name = {
        "learning": (finetune, "_learn"), "comparing": (finetune, "_judged"), "keeping": (datasets, "note_training"),
    }[when]  # fmt: skip
    work = getattr(module, name)

    def withdrawn(*arguments):
        altered(taken, "withdrawn")
        return work(*arguments)

    monkeypatch.setattr(module, name, withdrawn)
    run, code = do(tmp_path, taken)
    assert code == 1
    assert_refused(run, capsys.readouterr().err, tmp_path, "were withdrawn")
    assert not run.paths.report.exists() and not run.paths.bundle.exists()
    assert run.paths.checkpoint.exists() and finetune.main([str(run.paths.root)]) == 1  # nor when it is resumed


def test_a_base_that_is_gone_is_refused(tmp_path, capsys):
    run, code = do(tmp_path, snapshot(tmp_path), base=str(tmp_path / "models" / "gone"))
    assert code == 1
    assert_refused(run, capsys.readouterr().err, tmp_path, "gone")


def test_a_base_with_other_lower_layers_needs_faces_to_rehearse_on(tmp_path, capsys):
    base = bundles.load()
    next(base.network.features[0].parameters()).data.add_(0.01)
    bundles.save(replace(base, version="other"), tmp_path / "other")
    run, code = do(tmp_path, snapshot(tmp_path), base=str(tmp_path / "other"))
    assert code == 1
    assert_refused(run, capsys.readouterr().err, tmp_path, "--rehearsal", "other")


def test_faces_to_rehearse_on_are_read_where_they_are_given(tmp_path, face_folder, monkeypatch):
    monkeypatch.setattr(finetune, "COUNTS", {"learn": 8, "choose": 4, "benchmark": 4})
    run, code = do(tmp_path, snapshot(tmp_path), rehearsal=f"folder:{face_folder}")
    assert code == 0 and run.report()["benchmark"]["n"] <= 4 and run.config()["rehearsal"]
    assert str(face_folder) not in taught(tmp_path)[0].folder.joinpath("bundle.json").read_text()


def test_faces_to_rehearse_on_that_are_not_there_are_refused(tmp_path, capsys):
    run, code = do(tmp_path, snapshot(tmp_path), rehearsal="ferplus:nowhere")
    assert code == 1
    assert_refused(run, capsys.readouterr().err, tmp_path, "nowhere")


@pytest.mark.parametrize("cut", [1000, 0])
def test_a_damaged_checkpoint_is_refused(tmp_path, capsys, cut):
    run = run_folder(tmp_path, settings(tmp_path, snapshot(tmp_path)))
    run.paths.checkpoint.parent.mkdir()
    run.paths.checkpoint.write_bytes(b"x" * cut)
    assert finetune.main([str(run.paths.root)]) == 1
    assert_refused(run, capsys.readouterr().err, tmp_path, "last.pt", "damaged")


def test_pictures_that_make_the_loss_no_number_end_the_run(tmp_path, capsys, monkeypatch):
    def broken(_):
        raise FloatingPointError("the loss became nan at step 3; look for damaged pictures")

    monkeypatch.setattr(finetune.Lesson, "learn", broken)
    run, code = do(tmp_path, snapshot(tmp_path))
    assert code == 1
    assert_refused(run, capsys.readouterr().err, tmp_path, "nan")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"speed": "slow"}, "quick or full"), ({"promote": "yes"}, "if-better"), ({"data": "ferplus:x"}, "snapshot:DIR"),
        ({"seed": -1}, "≥ 0"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        FinetuneConfig(**{"data": "snapshot:x", **settings})


@pytest.mark.parametrize("text", ["", "[]", "7", '{"data": 7}', "{"])
def test_a_damaged_config_is_one_sentence(tmp_path, capsys, text):
    run = run_folder(tmp_path, {})
    run.paths.config.write_text(text)
    with pytest.raises(ValueError):
        read_finetune(run.paths)
    assert finetune.main([str(run.paths.root)]) == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "Traceback" not in err


def test_usage(capsys):
    assert finetune.main([]) == 2 and "RUN_DIR" in capsys.readouterr().err


# --- disks --------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_run_and_with_space_again_it_goes_on_to_the_same_end(done, tmp_path, capsys, monkeypatch):
    taken, save = snapshot(tmp_path), finetune._save
    disk = tmp_path / "disk"
    with small_disk(disk, "60m"):
        run, steps = run_folder(disk, settings(disk, taken)), []

        def filled(paths, lesson, state):
            if lesson.step == 5:
                steps.append(fill(disk))
            save(paths, lesson, state)

        monkeypatch.setattr(finetune, "_save", filled)
        assert finetune.main([str(run.paths.root)]) == 1
        err, before = capsys.readouterr().err, run.paths.checkpoint.read_bytes()
        assert "Traceback" not in err and "disk of the workspace is full" in err and str(disk) not in err
        steps[0].unlink()
        assert len(steps) == 1 and taught(disk) == [] and not list(disk.rglob("*.partial")) and before
        monkeypatch.setattr(finetune, "_save", save)
        assert finetune.main([str(run.paths.root)]) == 0
        assert run.paths.metrics.read_text() == done[0].paths.metrics.read_text()
        assert run.report()["version"] == done[0].report()["version"] and len(taught(disk)) == 1


def test_a_disk_that_is_full_at_the_end_leaves_no_half_version(tmp_path, capsys, monkeypatch):
    taken, disk, keep = snapshot(tmp_path), tmp_path / "disk", finetune.keep
    with small_disk(disk, "60m"):
        run, ballast = run_folder(disk, settings(disk, taken)), []

        def filled(*arguments):
            ballast.append(fill(disk))
            keep(*arguments)

        monkeypatch.setattr(finetune, "keep", filled)
        assert finetune.main([str(run.paths.root)]) == 1
        assert "Traceback" not in (err := capsys.readouterr().err) and "disk of the workspace is full" in err and str(disk) not in err
        ballast[0].unlink()
        assert taught(disk) == [] and not list(disk.rglob("*.partial")) and run.paths.checkpoint.exists()
        monkeypatch.setattr(finetune, "keep", keep)
        assert finetune.main([str(run.paths.root)]) == 0 and len(taught(disk)) == 1


def test_a_models_folder_that_cannot_be_written_leaves_no_version(tmp_path, capsys):
    models = tmp_path / "models"
    models.mkdir()
    with read_only(models):
        run, code = do(tmp_path, snapshot(tmp_path))
        err = capsys.readouterr().err
        assert code == 1 and "Traceback" not in err
        assert_refused(run, err, tmp_path, "models cannot be changed")
    assert run.paths.checkpoint.exists() and finetune.main([str(run.paths.root)]) == 0
    assert len(taught(tmp_path)) == 1


# --- real processes -----------------------------------------------------------------------------


def until(true, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def test_one_json_line_is_all_that_the_command_prints(done, tmp_path, capfd):
    taken = snapshot(tmp_path)
    arguments = ["finetune", "--workspace", str(tmp_path), "--data", f"snapshot:{taken}", "--speed", "quick", "--json"]
    assert main(arguments) == 0
    out, err = capfd.readouterr()
    (line,) = out.splitlines()
    answer = json.loads(line)
    (run,) = runs.listed(tmp_path / "runs")
    assert set(answer) == REPORT | {"run", "active"} and (answer["run"], answer["active"]) == (run.id, False)
    assert "Traceback" not in err + run.log() and run.status().state == "finished"
    assert len(taught(tmp_path)) == 1 and not list(tmp_path.rglob("*.partial"))


def test_two_starts_at_once_make_one_run_and_a_stop_keeps_what_was_learned(tmp_path, monkeypatch):
    monkeypatch.setenv("SHORT_STEPS", "100000")
    taken, said = snapshot(tmp_path), []

    def begin() -> None:
        try:
            said.append(runs.start(tmp_path / "runs", "fer.finetune", settings(tmp_path, taken), "quick"))
        except runs.RunError as error:
            said.append(error)

    both = [threading.Thread(target=begin) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    (run,), (error,) = ([one for one in said if isinstance(one, kind)] for kind in (Run, runs.RunError))
    assert str(error).endswith(".") and len(runs.listed(tmp_path / "runs")) == 1
    try:
        until(lambda: run.status().step > 0 or run.status().state not in runs.ALIVE)
        runs.stop(run)
        status = run.status()
        assert status.state == "stopped" and status.error is None and run.paths.checkpoint.is_file() and taught(tmp_path) == []
        assert "Traceback" not in run.log() and "stopped; resume the run" in run.log()
    finally:
        if run.status().state in runs.ALIVE:
            os.kill(run.status().pid, signal.SIGKILL)


def test_what_cannot_be_read_is_told_by_the_command(tmp_path, capfd):
    assert main(["finetune", "--workspace", str(tmp_path), "--json"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and "holds no labels" in err and len(err.splitlines()) == 1
    assert main(["finetune", "--workspace", str(tmp_path), "--data", "ferplus:x"]) == 2
    assert "is not snapshot:DIR" in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_run_that_fails_is_told_by_the_command(tmp_path, capfd):
    taken = snapshot(tmp_path, ("train",) * 5)
    assert main(["finetune", "--workspace", str(tmp_path), "--data", f"snapshot:{taken}", "--speed", "quick", "--json"]) == 1
    out, err = capfd.readouterr()
    assert out == "" and "at least 20 of two are needed" in err and "Traceback" not in err
    (run,) = runs.listed(tmp_path / "runs")
    assert run.status().state == "failed" and "Traceback" not in run.log()


def test_classes_of_the_snapshot_are_those_of_the_shipped_model():
    assert bundles.load().classes == CLASSES and set(LABELS) <= set(CLASSES)


def test_what_a_kill_left_of_a_report_in_the_registry_is_cleared_away(done, tmp_path):
    run, registry = done[0], Registry(tmp_path / "models")
    version = registry.add(run.paths.bundle)
    (version.folder / "report.json.7.7.partial").write_text("{")
    assert registry.add(run.paths.bundle, run.paths.report).report() == run.report()
    assert not list(tmp_path.rglob("*.partial"))


def test_whoever_asks_twice_to_stop_does_not_save_what_is_half_done(tmp_path, monkeypatch):
    learn = finetune.Lesson.learn

    def interrupted(lesson):
        learn(lesson)
        if lesson.step == 4:
            raise KeyboardInterrupt  # as of a second Ctrl-C
        return 0.0

    monkeypatch.setattr(finetune.Lesson, "learn", interrupted)
    run, code = do(tmp_path, snapshot(tmp_path))
    saved = finetune.torch.load(run.paths.checkpoint, weights_only=True)
    assert code == 130 and run.status().state == "stopped" and saved["lesson"]["step"] == 3
