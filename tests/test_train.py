"""A training run: what it writes, that stopping changes no number, and what it refuses before writing."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from safetensors.torch import load_file

from fer import bundle as bundles
from fer import evaluate, pulse, train
from fer.datasets import load
from fer.run_folder import RunPaths
from fer.train import TrainConfig, draw_batch, learning_rate, running_average, steps_per_epoch, train_one_step


class Stopped(Exception):
    """What stands for a stop in the middle of a run."""


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in another order would differ in the last digits."""
    torch.set_num_threads(1)


def tiny(folder: Path, **others) -> TrainConfig:
    """Two epochs of three steps on the twelve faces of `folder`, a checkpoint after every step."""
    small = {"init": "none", "size": 32, "epochs": 2, "batch": 4, "save_seconds": 0}
    return TrainConfig(**{"data": f"folder:{folder}", **small, **others})


def stopping_after(count: int) -> Callable[[Iterable], Iterable]:
    def progress(steps: Iterable) -> Iterable:
        for done, step in enumerate(steps):
            if done == count:
                raise Stopped
            yield step

    return progress


def metrics_of(root: Path) -> list[dict]:
    return [json.loads(line) for line in RunPaths(root).metrics.read_text().splitlines()]


def weights_of(root: Path) -> dict[str, torch.Tensor]:
    return load_file(RunPaths(root).bundle / bundles.WEIGHTS)


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[key], other[key], rtol=0, atol=1e-6) for key in one)


@pytest.fixture(scope="module")
def finished(face_folder, tmp_path_factory) -> Path:
    """A run that nothing interrupted."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("finished")
    train.train(tiny(face_folder), root)
    return root


def test_a_run_writes_all_its_files(finished, face_folder):
    paths = RunPaths(finished)
    config = json.loads(paths.config.read_text())
    assert config.pop("command").startswith("python -m fer train ") and config.pop("module") == "fer.train"
    assert config == asdict(tiny(face_folder))
    status = json.loads(paths.status.read_text())
    assert (status["state"], status["step"], status["steps"], status["pid"]) == ("finished", 6, 6, os.getpid())
    with Image.open(paths.curves) as curves:
        assert curves.format == "PNG"
    assert bundles.load(paths.bundle).preprocess.size == 32
    assert not list(finished.rglob("*.partial"))


def test_a_metrics_line_tells_of_one_epoch(finished):
    lines = metrics_of(finished)
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 3), (2, 6)]
    for line in lines:
        assert line["train_loss"] > 0 and line["val_loss"] > 0
        assert 0 <= line["val_accuracy"] <= 1 and 0 <= line["val_macro_f1"] <= 1


def test_the_report_of_a_run_is_that_of_its_bundle(finished, face_folder):
    bundle, faces = bundles.load(RunPaths(finished).bundle), load(f"folder:{face_folder}", "val")
    logits = evaluate.read_logits(bundle.network, bundle.preprocess, faces)
    report = evaluate.report(logits, faces, model=bundle.version, temperature=bundle.temperature)
    written = json.loads(RunPaths(finished).report.read_text())
    assert written["confusion"] == report.confusion and written["model"] == report.model
    assert written["nll"] == pytest.approx(report.nll, abs=1e-5)


def test_the_most_accurate_of_best_last_and_their_mean_is_kept(face_folder, tmp_path):
    config = tiny(face_folder, epochs=4, learning_rate=0.01, average=0.5)
    bundle = train.train(config, tmp_path)
    accuracies = [line["val_accuracy"] for line in metrics_of(tmp_path)]
    candidates, best = bundle.provenance["candidates"], accuracies.index(max(accuracies)) + 1
    assert candidates[f"epoch {best}"] == max(accuracies) and candidates["epoch 4"] == accuracies[-1]
    assert candidates[bundle.provenance["kept"]] == max(candidates.values())
    assert json.loads(RunPaths(tmp_path).report.read_text())["accuracy"] == max(candidates.values())
    assert bundle.provenance["epochs"] == metrics_of(tmp_path)


@pytest.mark.parametrize("steps", [0, 1, 3, 5])
def test_a_run_that_was_interrupted_and_resumed_gives_the_same(face_folder, finished, tmp_path, steps):
    with pytest.raises(Stopped):
        train.train(tiny(face_folder), tmp_path, stopping_after(steps))
    assert not RunPaths(tmp_path).bundle.exists()
    resumed_at = []
    train.train(tiny(face_folder), tmp_path, lambda left: resumed_at.append(left.start) or left)
    assert resumed_at == [steps]
    assert metrics_of(tmp_path) == metrics_of(finished)
    assert same_weights(weights_of(tmp_path), weights_of(finished))


def losses_of(root: Path) -> list[dict]:
    return [json.loads(line) for line in RunPaths(root).losses.read_text().splitlines()]


# Beats of a run: three steps, the measuring of the epoch, three steps, the measuring, twice that of the candidates.
@pytest.mark.parametrize("beats", [0, 2, 3, 4, 7, 8, 9])
def test_a_run_that_was_asked_to_stop_saves_and_goes_on_to_the_same(face_folder, finished, tmp_path, monkeypatch, beats):
    beat, heard = pulse.Pulse.beat, []

    def stopping(self, step, words=""):
        if len(heard) == beats:
            self.paths.stop.touch()
        heard.append(words)
        beat(self, step, words)

    monkeypatch.setattr(pulse.Pulse, "beat", stopping)
    with pytest.raises(pulse.Stopped):
        train.train(tiny(face_folder, save_seconds=600), tmp_path)
    monkeypatch.undo()
    assert heard[-1].startswith("measuring" if beats in (3, 7, 8, 9) else "training")
    status, steps = json.loads(RunPaths(tmp_path).status.read_text()), [line["step"] for line in losses_of(tmp_path)]
    assert status["state"] == "stopped" and steps == list(range(1, status["step"] + 1))
    resumed_at = []
    train.train(tiny(face_folder), tmp_path, lambda left: resumed_at.append(left.start) or left)
    assert resumed_at == [status["step"]]
    assert metrics_of(tmp_path) == metrics_of(finished) and losses_of(tmp_path) == losses_of(finished)
    assert same_weights(weights_of(tmp_path), weights_of(finished))


def test_a_kill_after_an_epoch_was_measured_anew_leaves_no_line_twice(face_folder, finished, tmp_path, monkeypatch):
    def no_measuring(session, network, words):
        raise pulse.Stopped

    with monkeypatch.context() as patched, pytest.raises(pulse.Stopped):
        patched.setattr(train.Session, "logits", no_measuring)
        train.train(tiny(face_folder), tmp_path)
    with pytest.raises(Stopped):  # measured now, but no checkpoint says so
        train.train(tiny(face_folder), tmp_path, stopping_after(0))
    train.train(tiny(face_folder), tmp_path)
    assert metrics_of(tmp_path) == metrics_of(finished)


def test_the_losses_of_an_epochs_steps_make_its_training_loss(finished):
    losses = [line["loss"] for line in losses_of(finished)]
    assert [np.mean(losses[:3]), np.mean(losses[3:])] == pytest.approx([line["train_loss"] for line in metrics_of(finished)])


def test_a_run_that_cannot_go_on_says_so_in_its_status(face_folder, tmp_path):
    with pytest.raises(FloatingPointError):
        train.train(tiny(face_folder, learning_rate=1e30, epochs=5), tmp_path)
    status = json.loads(RunPaths(tmp_path).status.read_text())
    assert status["state"] == "failed" and "lower --learning-rate" in status["error"]


@pytest.mark.parametrize(("mirror", "mirrored"), [(0.0, {False}), (0.5, {False, True}), (1.0, {True})])
def test_the_share_of_mirrored_faces_is_as_asked(face_folder, mirror, mirrored):
    still = {"rotate": 0.0, "scale": 0.0, "shift": 0.0, "light": 0.0, "erase": 0.0, "batch": 12}
    faces = load(f"folder:{face_folder}", "train")
    plain, _ = draw_batch(tiny(face_folder, mirror=0.0, **still), faces, 0)
    drawn, _ = draw_batch(tiny(face_folder, mirror=mirror, **still), faces, 0)
    turned = [torch.allclose(one, other.flip(2), atol=0.02) for one, other in zip(drawn, plain, strict=True)]
    assert set(turned) == mirrored
    assert all(torch.equal(one, other) for one, other, hit in zip(drawn, plain, turned, strict=True) if not hit)


def test_a_stop_between_metrics_and_checkpoint_leaves_no_line_twice(face_folder, finished, tmp_path, monkeypatch):
    save = train._save_checkpoint

    def no_more_at_the_epoch(session):
        if session.state.step == 3:
            raise Stopped
        save(session)

    monkeypatch.setattr(train, "_save_checkpoint", no_more_at_the_epoch)
    with pytest.raises(Stopped):
        train.train(tiny(face_folder), tmp_path)
    assert len(metrics_of(tmp_path)) == 1
    monkeypatch.undo()
    train.train(tiny(face_folder), tmp_path)
    assert metrics_of(tmp_path) == metrics_of(finished)


def test_a_metrics_line_that_was_cut_off_does_not_keep_a_run_from_going_on(face_folder, finished, tmp_path):
    with pytest.raises(Stopped):
        train.train(tiny(face_folder), tmp_path, stopping_after(5))
    with RunPaths(tmp_path).metrics.open("a", encoding="utf-8") as file:
        file.write('{"epoch": 2, "st')
    train.train(tiny(face_folder), tmp_path)
    assert metrics_of(tmp_path) == metrics_of(finished)


def test_a_damaged_checkpoint_is_named_and_left_alone(face_folder, finished, tmp_path):
    root = shutil.copytree(finished, tmp_path / "run")
    cut = RunPaths(root).checkpoint.read_bytes()[:1000]
    RunPaths(root).checkpoint.write_bytes(cut)
    with pytest.raises(ValueError, match="last.pt") as caught:
        train.train(tiny(face_folder), root)
    assert "\n" not in str(caught.value)
    assert RunPaths(root).checkpoint.read_bytes() == cut and metrics_of(root) == metrics_of(finished)


def test_a_killed_process_goes_on_where_it_was(face_folder, tmp_path):
    config = tiny(face_folder, epochs=4)
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in asdict(config).items()]
    command = [sys.executable, "-m", "fer", "train", *flags, "--json", "--out", str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as run:
        before = next((line for line in run.stderr if "epoch 2: " in line), None)
        run.kill()
    assert before and run.returncode == -signal.SIGKILL
    assert not RunPaths(tmp_path / "killed").report.exists()

    assert train.main([str(tmp_path / "killed")]) == 0
    train.train(config, tmp_path / "whole")
    assert metrics_of(tmp_path / "killed") == metrics_of(tmp_path / "whole")
    assert same_weights(weights_of(tmp_path / "killed"), weights_of(tmp_path / "whole"))


def test_a_finished_run_given_again_changes_nothing(finished, face_folder, tmp_path):
    root = shutil.copytree(finished, tmp_path / "run")
    again = train.train(tiny(face_folder), root, lambda left: pytest.fail("it trained on") if len(left) else left)
    assert again.version == bundles.load(RunPaths(finished).bundle).version
    assert metrics_of(root) == metrics_of(finished)


@pytest.mark.parametrize("changed", [{"epochs": 3}, {"seed": 1}, {"learning_rate": 0.1}])
def test_other_settings_in_the_same_folder_are_refused(finished, face_folder, changed):
    before = RunPaths(finished).metrics.read_text()
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train.train(tiny(face_folder, **changed), finished)
    assert RunPaths(finished).metrics.read_text() == before


def test_how_often_a_run_saves_may_change_when_it_is_resumed(finished, face_folder, tmp_path):
    root = shutil.copytree(finished, tmp_path / "run")
    assert train.train(tiny(face_folder, save_seconds=9), root).version


def test_a_model_is_named_by_its_weights(finished, face_folder, tmp_path):
    version = bundles.load(RunPaths(finished).bundle).version
    assert train.train(tiny(face_folder), tmp_path / "again").version == version
    assert train.train(tiny(face_folder, seed=1), tmp_path / "other").version != version


def test_another_number_of_seconds_between_checkpoints_gives_the_same_numbers(finished, face_folder, tmp_path):
    train.train(tiny(face_folder, save_seconds=60), tmp_path)
    assert metrics_of(tmp_path) == metrics_of(finished)


STEPS = 100
SCHEDULE = TrainConfig(epochs=10, warmup=1.0, learning_rate=0.002)


def test_the_step_size_rises_in_a_line_to_its_peak():
    rates = [learning_rate(SCHEDULE, step, STEPS) for step in range(10)]
    assert rates == pytest.approx([0.002 * (step + 1) / 10 for step in range(10)])


def test_the_step_size_falls_as_half_a_cosine_to_nothing():
    rates = [learning_rate(SCHEDULE, step, STEPS) for step in range(10, STEPS)]
    assert rates[0] == pytest.approx(0.002) and rates[45] == pytest.approx(0.001)
    assert all(before > after for before, after in zip(rates, rates[1:]))
    assert rates[-1] == pytest.approx(0.002 * 0.5 * (1 - math.cos(math.pi / 90)))


@pytest.mark.parametrize("warmup", [0.0, 10.0, 50.0])
def test_the_step_size_is_never_above_its_peak(warmup):
    rates = [learning_rate(replace(SCHEDULE, warmup=warmup), step, STEPS) for step in range(STEPS)]
    assert all(0 < rate <= 0.002 for rate in rates)


def test_the_average_is_short_at_first_and_never_longer_than_asked():
    update = running_average(0.99)
    kept = [float(update(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(count))) for count in (0, 1, 10, 10**5)]
    assert kept == pytest.approx([1 / 10, 2 / 11, 11 / 20, 0.99])


def test_the_average_takes_counters_as_they_are():
    assert running_average(0.99)(torch.tensor(3), torch.tensor(7), torch.tensor(50)).item() == 7


@pytest.mark.parametrize("name", ["classifier.1.bias", "features.0.0.weight", "features.0.1.running_var"])
def test_the_average_of_a_run_is_the_one_written_out_by_hand(face_folder, name):
    config, faces = tiny(face_folder, average=0.3, learning_rate=0.01), load(f"folder:{face_folder}", "train")
    learner = train._new_learner(config, 8)
    for step in range(5):
        train_one_step(config, learner, faces, step, 6)
        current = learner.network.state_dict()[name].double()
        keep = min(0.3, (1 + step) / (10 + step)) if step else 0.0
        expected = current if step == 0 else keep * expected + (1 - keep) * current
    found = learner.average.module.state_dict()[name].double()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(found, current, atol=1e-6, rtol=1e-5)


def test_a_batch_depends_on_nothing_but_settings_data_and_step(face_folder):
    config, faces = tiny(face_folder), load(f"folder:{face_folder}", "train")
    images, targets = draw_batch(config, faces, 4)
    np.random.seed(7)
    torch.manual_seed(7)
    draw_batch(config, faces, 1)
    again, same_targets = draw_batch(config, faces, 4)
    assert images.shape == (4, 3, 32, 32) and targets.shape == (4, 8)
    assert torch.equal(images, again) and torch.equal(targets, same_targets)


@pytest.mark.parametrize(("changed", "step"), [({}, 1), ({}, 3), ({"seed": 1}, 0)])
def test_another_step_or_seed_gives_another_batch(face_folder, changed, step):
    config, faces = tiny(face_folder), load(f"folder:{face_folder}", "train")
    assert not torch.equal(draw_batch(config, faces, 0)[0], draw_batch(replace(config, **changed), faces, step)[0])


def test_every_face_comes_once_an_epoch_in_another_order(face_folder):
    faces = load(f"folder:{face_folder}", "train")
    marked = replace(faces, targets=np.eye(12, dtype=np.float32))
    orders = []
    for epoch in range(2):
        drawn = torch.cat([draw_batch(tiny(face_folder), marked, 3 * epoch + at)[1] for at in range(3)])
        orders.append(drawn.argmax(dim=1).tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12))
    assert orders[0] != orders[1]


@pytest.mark.parametrize(("batch", "steps"), [(2, 6), (4, 3), (5, 2), (12, 1), (99, 1)])
def test_an_epoch_has_whole_batches_and_at_least_one(face_folder, batch, steps):
    config, faces = tiny(face_folder, batch=batch), load(f"folder:{face_folder}", "train")
    assert steps_per_epoch(config, faces) == steps
    assert len(draw_batch(config, faces, steps - 1)[0]) == min(batch, 12)


def test_the_loss_falls_when_twelve_faces_are_learned_by_heart(face_folder, tmp_path):
    still = {"dropout": 0.0, "rotate": 0.0, "scale": 0.0, "shift": 0.0, "light": 0.0, "erase": 0.0}
    train.train(tiny(face_folder, epochs=30, batch=12, learning_rate=3e-3, warmup=2.0, **still), tmp_path)
    losses = [line["train_loss"] for line in metrics_of(tmp_path)]
    assert losses[0] > 1.5 and losses[-1] < 0.3


def test_a_loss_that_explodes_stops_the_run_in_words(face_folder, tmp_path):
    with pytest.raises(FloatingPointError, match="lower --learning-rate"):
        train.train(tiny(face_folder, learning_rate=1e30, epochs=5), tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": "folder:nowhere"}, "nowhere is not a folder"),
        ({"data": "nothing"}, "KIND:PATH"),
        ({"init": "nowhere.safetensors"}, "nowhere.safetensors does not exist"),
        ({"arch": "vgg"}, "vgg"),
        ({"size": 16}, "size"),
        ({"dropout": 1.5}, "dropout"),
        ({"seed": -1}, "seed"),
        ({"rotate": -5.0}, "rotate"),
        ({"limit": 1}, "1 faces to train on"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(face_folder, tmp_path, changed, words):
    with pytest.raises(ValueError, match=words):
        train.train(tiny(face_folder, **changed), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_without_a_validation_split_are_refused_before_anything_is_written(face_folder, tmp_path):
    shutil.copytree(face_folder / "train", tmp_path / "faces" / "train")
    with pytest.raises(ValueError, match="no pictures in its val split"):
        train.train(tiny(tmp_path / "faces"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changed",
    [{"epochs": 0}, {"batch": 0}, {"batch": 1}, {"learning_rate": 0.0}, {"limit": -1}, {"mirror": 1.5}, {"freeze_statistics": 2}],
)
def test_settings_out_of_range_are_refused(changed):
    with pytest.raises(ValueError, match="must be"):
        TrainConfig(**changed)


def test_a_limit_takes_faces_of_every_class(face_folder, tmp_path):
    train.train(tiny(face_folder, limit=3, batch=3, epochs=1), tmp_path)
    report = json.loads(RunPaths(tmp_path).report.read_text())
    assert [one["n"] for one in report["per_class"].values() if one["n"]] == [1, 1, 1]


def test_the_command_that_resumes_wants_the_folder_of_a_run(tmp_path, capsys):
    assert train.main([]) == 2
    assert train.main([str(tmp_path)]) == 1
    assert "is not the folder of a training run" in capsys.readouterr().err


@pytest.mark.parametrize("owner", ["of-somebody", "of: somebody"])
def test_a_bundle_tells_nothing_of_where_its_data_lay(face_folder, finished, tmp_path, monkeypatch, owner):
    deep = tmp_path / "family-album" / owner
    data = shutil.copytree(face_folder, deep / "faces")
    start = shutil.copytree(RunPaths(finished).bundle, deep / "start") / bundles.WEIGHTS
    flags = ["--data", f"folder:{data}", f"--init={start}", "--out", str(deep / "run")]
    monkeypatch.setattr(sys, "argv", ["fer", "train", *flags])
    train.train(tiny(data, init=str(start), epochs=1), deep / "run")
    written = (RunPaths(deep / "run").bundle / bundles.DESCRIPTION).read_text()
    assert "folder:faces" in written and "model.safetensors" in written
    for folder in (tmp_path.name, "family-album", owner):
        assert folder not in written, folder


def test_a_run_remembers_the_bundle_that_it_started_from(face_folder, finished, tmp_path):
    start = bundles.load(RunPaths(finished).bundle)
    weights = RunPaths(finished).bundle / bundles.WEIGHTS
    bundle = train.train(tiny(face_folder, init=str(weights), epochs=1), tmp_path)
    assert bundle.provenance["started_from"] == {"version": start.version, "provenance": start.provenance}
