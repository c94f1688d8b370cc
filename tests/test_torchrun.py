"""Several processes train one model together, as ``torchrun`` starts them: the same computation as one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from fer import train
from fer.bundle import SHIPPED, WEIGHTS
from fer.datasets import load
from fer.ranks import ALONE, Ranks
from fer.run_folder import RunPaths
from fer.runs import Run
from fer.train import TrainConfig, draw_batch

# What makes a face's numbers depend on the other faces of its process, or on its process.
STILL = {
    "dropout": 0.0, "rotate": 0.0, "scale": 0.0, "shift": 0.0, "light": 0.0, "erase": 0.0, "mirror": 0.0,
    "freeze_statistics": 1,
}  # fmt: skip


def begin(root: Path, processes: int, **settings) -> subprocess.Popen:
    """`processes` processes that train in `root`."""
    root.mkdir(exist_ok=True)
    if settings:
        (root / "config.json").write_text(json.dumps(settings))
    together = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [sys.executable, *together, "-m", "fer.train", str(root)], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def ended(process: subprocess.Popen) -> str:
    """What it printed by its end."""
    try:
        return process.communicate(timeout=120)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def losses_of(root: Path) -> list[float]:
    lines = [json.loads(line) for line in RunPaths(root).losses.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def test_two_processes_compute_what_one_does(face_folder, tmp_path):
    # Of 3 faces a step, one process takes 2 and the other 1. The step size is that of fine-tuning: at the peak of a
    # training from scratch a rounding grows a hundredfold a step, as it does with another number of threads.
    settings = {
        "data": f"folder:{face_folder}", "init": str(SHIPPED / WEIGHTS), "size": 32, "batch": 3, "epochs": 5,
        "learning_rate": 3e-4, **STILL,
    }  # fmt: skip
    train.train(TrainConfig(**settings), tmp_path / "1")
    together = begin(tmp_path / "2", 2, **settings)
    said = ended(together)
    assert together.returncode == 0, said
    one, two = (losses_of(tmp_path / name) for name in "12")
    assert len(one) == len(two) == 20 and max(one) - min(one) > 0.2
    assert two == pytest.approx(one, abs=1e-3)
    for name in "12":
        run = Run(name, RunPaths(tmp_path / name))
        assert [line["epoch"] for line in run.metrics()] == list(range(1, 6))
        assert run.status().state == "finished" and run.status().step == 20
        assert run.report()["n"] == 6 and run.paths.bundle.is_dir()


def test_processes_that_are_stopped_together_go_on_together(face_folder, tmp_path):
    settings = {"data": f"folder:{face_folder}", "init": "none", "size": 32, "batch": 4, "epochs": 400, "save_seconds": 600}
    run = Run("run", RunPaths(tmp_path / "run"))
    process = begin(run.paths.root, 2, **settings)
    deadline = time.monotonic() + 60
    while run.status().step < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    run.paths.stop.touch()
    said = ended(process)
    status = run.status()
    assert status.state == "stopped" and 3 <= status.step < 1200, said
    assert torch.load(run.paths.checkpoint, weights_only=True)["progress"]["step"] == status.step

    process = begin(run.paths.root, 2)
    while run.status().step < status.step + 3 and process.poll() is None and time.monotonic() < deadline + 60:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    said = ended(process)
    assert f"resumed at step {status.step}" in said
    assert run.status().step >= status.step + 3 and not run.status().process.alive()
    assert losses_of(run.paths.root)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_ranks_share_every_face_of_a_step_out_once(face_folder, size):
    faces = load(f"folder:{face_folder}", "train")
    config = TrainConfig(data=f"folder:{face_folder}", size=32, batch=5)
    whole = draw_batch(config, faces, 1, ALONE)
    parts = [draw_batch(config, faces, 1, Ranks(rank, size)) for rank in range(size)]
    assert torch.equal(torch.cat([images for images, _ in parts]), whole[0])
    assert torch.equal(torch.cat([targets for _, targets in parts]), whole[1])
    assert np.ptp([len(images) for images, _ in parts]) <= 1


@pytest.mark.parametrize(("batch", "frozen", "size"), [(3, 0, 2), (4, 1, 5), (12, 0, 7)])
def test_more_processes_than_a_batch_feeds_are_refused(face_folder, tmp_path, batch, frozen, size):
    config = TrainConfig(data=f"folder:{face_folder}", init="none", size=32, batch=batch, freeze_statistics=frozen)
    with pytest.raises(ValueError, match=f"{size} processes need a batch of at least"):
        train.train(config, tmp_path / "run", ranks=Ranks(0, size))
    assert not (tmp_path / "run").exists()


def test_frozen_statistics_are_used_and_kept(face_folder):
    config = TrainConfig(data=f"folder:{face_folder}", init="none", size=32, batch=4, freeze_statistics=1, dropout=0.0)
    faces = load(config.data, "train")
    learner = train._new_learner(config, 8)
    before = {key: value.clone() for key, value in learner.network.state_dict().items()}
    train.train_one_step(config, learner, faces, 0, 6)
    after = learner.network.state_dict()
    kept = {key for key in before if torch.equal(before[key], after[key])}
    assert {key for key in before if "running_" in key} <= kept and "classifier.1.weight" not in kept
