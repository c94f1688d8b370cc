"""Runs and models of one workspace together: start, status, estimate, flipped pictures, reasons to promote, comparing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from made_runs import finished, names, snapshot
from model_versions import PROMOTE, REFUSE, write_model

from fer import bundle as bundles
from fer import runs
from fer.datasets import DataError
from fer.emotions import CLASSES
from fer.registry import RegistryError
from fer.runs import RunError
from fer.trial import TrialError
from fer.workshop import SECONDS, Workshop, WorkshopError, thinned

MODULE = """
import sys, time
from pathlib import Path
from fer.pulse import Pulse
from fer.run_folder import RunPaths
with Pulse(RunPaths(Path(sys.argv[1])), 1000) as pulse:
    for step in range(1000):
        pulse.beat(step, "waiting")
        time.sleep(0.02)
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "workspace")


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that does nothing for twenty seconds, as a run does."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "slow_run.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path / "modules"), os.environ.get("PYTHONPATH")])))
    return "slow_run"


# --- runs ---------------------------------------------------------------------------------------


def test_an_empty_workspace_has_no_run(workshop):
    assert workshop.status() == {"run": None} and workshop.newest() is None and workshop.take_up() is None
    with pytest.raises(WorkshopError, match="No run is active"):
        workshop.stop()
    with pytest.raises(WorkshopError, match="no run to go on with"):
        workshop.resume()
    assert not workshop.workspace.exists(), "looking makes no folder"


@pytest.fixture
def started(workshop, slow, monkeypatch) -> list[dict]:
    """What runs were started with; each is a run of the module `slow` in its place."""
    begun, real = [], runs.start

    def start(folder: Path, module: str, config: dict, label: str) -> runs.Run:
        begun.append({"module": module, "label": label, **config})
        return real(folder, slow, config, label)

    monkeypatch.setattr(runs, "start", start)
    yield begun
    for run in runs.listed(workshop.runs):
        runs.stop(run)


def test_a_run_is_started_on_the_snapshot_with_the_active_version(workshop, started, tmp_path):
    folder = snapshot(tmp_path / "snapshots")
    workshop.registry.add(write_model(tmp_path / "a", "a"))
    run = workshop.start(folder, "full")
    assert started == [{
        "module": "fer.finetune", "label": "full", "data": f"snapshot:{folder}", "base": str(bundles.SHIPPED), "speed": "full",
        "rehearsal": "", "models": str(workshop.workspace / "models"), "promote": "never", "seed": 0,
        "command": f"python -m fer finetune --data snapshot:{folder.name} --base {bundles.SHIPPED.name} --speed full",
    }]  # fmt: skip
    assert run.id.endswith("-full") and workshop.status()["run"] == run.id
    with pytest.raises(RunError, match="A run is under way"):
        workshop.start(folder, "quick")
    assert workshop.stop().id == run.id and workshop.status()["state"] == "stopped"
    workshop.registry.promote("a", "Ada")
    workshop.start(folder, promote="if-better")
    assert (started[-1]["base"], started[-1]["promote"]) == (str(workshop.registry.find("a").folder), "if-better")
    workshop.stop()
    workshop.start(folder, base="shipped")
    assert started[-1]["base"] == str(bundles.SHIPPED)


def test_a_stopped_run_goes_on(workshop, started, tmp_path):
    run = workshop.start(snapshot(tmp_path / "snapshots"))
    workshop.stop()
    assert workshop.resume().id == run.id and workshop.status()["state"] in ("starting", "running")
    assert workshop.take_up().id == run.id
    workshop.stop()


@pytest.mark.parametrize(("change", "words"), [
    ({"speed": "slow"}, "“slow” is not a speed; use quick or full"), ({"base": "nothing"}, "There is no model “nothing”"),
])  # fmt: skip
def test_what_cannot_be_started_says_so_and_leaves_nothing(workshop, tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        workshop.start(snapshot(tmp_path / "snapshots"), **change)
    assert not workshop.runs.exists()


def test_the_status_of_a_finished_run_has_everything(workshop):
    folder = finished(workshop.runs, seconds=61.0)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    (folder / "train.log").write_text("one\ntwo\n")
    status = workshop.status()
    assert (status["run"], status["speed"], status["state"], status["step"]) == (folder.name, "quick", "finished", 30)
    assert status["metrics"] == [{"step": 1, "loss": 2.0}] and status["log"] == "one\ntwo" and status["report"]["seconds"] == 61.0
    assert workshop.status(log=False)["log"] is None


def test_a_report_is_not_shown_while_the_run_is_no_longer_finished(workshop):
    folder = finished(workshop.runs)
    (folder / "status.json").write_text(json.dumps({"state": "stopped"}))
    assert workshop.status()["report"] is None


def test_curves_are_thinned_and_keep_both_ends():
    lines = [{"step": step} for step in range(1234)]
    found = thinned(lines, 100)
    assert len(found) == 100 and found[0]["step"] == 0 and found[-1]["step"] == 1233
    steps = np.diff([one["step"] for one in found])
    assert steps.min() >= 12 and steps.max() <= 13
    assert thinned(lines[:100], 100) == lines[:100] and thinned([], 100) == []


# --- estimate -----------------------------------------------------------------------------------


def test_the_estimate_grows_with_the_faces_and_with_the_speed(workshop):
    assert workshop.estimated_seconds("quick", 300) > workshop.estimated_seconds("quick", 50)
    assert workshop.estimated_seconds("full", 300) > workshop.estimated_seconds("quick", 300)


def test_the_last_finished_run_of_that_speed_is_believed(workshop):
    finished(workshop.runs, seconds=90.0)
    finished(workshop.runs, "20261122-115530-full", "full", seconds=500.0)
    assert workshop.estimated_seconds("quick", 300) == pytest.approx(90.0)
    assert workshop.estimated_seconds("full", 300) == pytest.approx(500.0)
    fixed, each = SECONDS["quick"]
    assert workshop.estimated_seconds("quick", 0) == pytest.approx(90.0 * fixed / (fixed + 300 * each))
    finished(workshop.runs, "20261123-115530-quick", seconds=30.0)
    assert workshop.estimated_seconds("quick", 300) == pytest.approx(30.0)


# --- flipped pictures ---------------------------------------------------------------------------


def test_only_pictures_that_the_report_lists_are_given(workshop, tmp_path):
    folder = snapshot(tmp_path / "snapshots")
    first, second, third, *_ = names(folder)
    (folder / "secret.png").write_bytes(b"secret")
    flips = [{"image": first}, {"image": second}, {"image": "../secret.png"}, {"image": f"{'0' * 64}.png"}]
    run = finished(workshop.runs, snapshot_folder=str(folder), flips=flips).name
    wanted = [first, third, "../secret.png", str(folder / "secret.png"), f"{'0' * 64}.png", ""]
    assert workshop.pictures(run, wanted) == {first: (folder / "images" / first).read_bytes()}
    assert set(workshop.pictures(run, [first, second, first])) == {first, second}
    for other in ("../" + run, "nothing", ""):
        with pytest.raises(WorkshopError, match="no such run"):
            workshop.pictures(other, [first])


def test_a_withdrawn_snapshot_shows_no_pictures_and_says_so(workshop, tmp_path):
    folder = snapshot(tmp_path / "snapshots")
    (first, *_) = names(folder)
    run = finished(workshop.runs, snapshot_folder=str(folder), flips=[{"image": first}]).name
    assert workshop.pictures(run, [first])
    (folder / "WITHDRAWN.json").write_text("{}")
    with pytest.raises(WorkshopError, match="were withdrawn, so its pictures are not shown"):
        workshop.pictures(run, [first])
    (folder / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(WorkshopError, match="is gone, so its pictures are not shown"):
        workshop.pictures(run, [first])


@pytest.mark.parametrize("report", [{}, {"snapshot_folder": None}, {"snapshot_folder": ""}])
def test_a_report_that_names_no_snapshot_shows_no_pictures(workshop, report):
    with pytest.raises(WorkshopError, match="is gone"):
        workshop.pictures(finished(workshop.runs, **report).name, ["a.png"])


# --- models -------------------------------------------------------------------------------------


def test_the_list_of_models_names_no_folder(workshop, tmp_path):
    workshop.registry.add(write_model(tmp_path / "a", "a", verdict=PROMOTE))
    newest, shipped = workshop.models()
    assert (newest["version"], newest["parent"], newest["verdict"]["code"]) == ("a", shipped["version"], "better")
    assert shipped["active"] and shipped["shipped"] and not newest["active"]
    assert str(tmp_path) not in json.dumps([newest, shipped])


def test_the_card_of_a_version(workshop, tmp_path):
    made = write_model(tmp_path / "a", "a")
    (made / "card.md").write_text("# a\n")
    workshop.registry.add(made)
    workshop.registry.add(write_model(tmp_path / "b", "b"))
    assert (workshop.card("a"), workshop.card("b")) == ("# a\n", "")
    assert workshop.card("shipped").startswith("# ")
    with pytest.raises(RegistryError):
        workshop.card("../a")


def test_a_version_that_did_not_prove_better_needs_a_reason(workshop, tmp_path):
    workshop.registry.add(write_model(tmp_path / "a", "a", verdict=PROMOTE))
    workshop.registry.add(write_model(tmp_path / "b", "b", verdict=REFUSE))
    workshop.registry.add(write_model(tmp_path / "c", "c"))
    assert [workshop.promotable(name, "").version for name in ("a", "shipped")] == ["a", workshop.registry.find("shipped").version]
    for name, words in (("b", "Not better: 60 of 120."), ("c", "c was never compared with the model it should replace.")):
        for why in ("", "  \n"):
            with pytest.raises(WorkshopError) as caught:
                workshop.promotable(name, why)
            assert str(caught.value) == f"{words} Say why it shall be used all the same."
        assert {one["version"]: one["misgiving"] for one in workshop.models()}[name] == words
        assert workshop.promotable(name, "we know these faces").version == name
    with pytest.raises(RegistryError, match="There is no model"):
        workshop.promotable("d", "")


def test_a_version_that_was_in_use_before_needs_no_reason_again(workshop, tmp_path):
    for name in ("b", "c"):
        workshop.registry.add(write_model(tmp_path / name, name, verdict=REFUSE))
    workshop.registry.promote("b", "Ada", "a demonstration")
    assert workshop.promotable("b", "").active
    workshop.registry.rollback("Ada")
    assert workshop.promotable("b", "").version == "b"
    assert [one["version"] for one in workshop.models() if one["misgiving"]] == ["c"]


# --- comparing ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_benchmark")
def test_two_versions_are_compared_on_the_faces_that_nobody_learns_from(workshop, tmp_path):
    folder = snapshot(tmp_path / "snapshots", "train train train val test test")
    workshop.registry.add(write_model(tmp_path / "a", "a", tilt=1000.0))  # says the first class of everything
    workshop.registry.add(write_model(tmp_path / "b", "b", tilt=-1000.0))
    other = snapshot(tmp_path / "others", "train val val", label=CLASSES[0])
    batches = []
    found = workshop.compare("a", "b", folder, lambda many: batches.append(1) or many)
    assert (found.before, found.after, found.comparison.n, found.comparison.accuracy_before) == ("a", "b", 3, 0.0)
    assert len(batches) == 2 * 2 + 2 and found.benchmark.n == 40, "val, test and the benchmark, each with both"
    found = workshop.compare("b", "a", other).comparison
    assert (found.n, found.accuracy_before, found.accuracy_after, found.mended) == (2, 0.0, 1.0, 2)


def test_what_cannot_be_compared_is_said(workshop, tmp_path):
    folder = snapshot(tmp_path / "snapshots", "train train")
    workshop.registry.add(write_model(tmp_path / "a", "a"))
    with pytest.raises(WorkshopError, match="the same version"):
        workshop.compare("a", "a", folder)
    with pytest.raises(TrialError, match="No labelled face is held out"):
        workshop.compare("shipped", "a", folder)
    with pytest.raises(RegistryError):
        workshop.compare("shipped", "nothing", folder)
    (folder / "WITHDRAWN.json").write_text("{}")
    with pytest.raises(DataError, match="withdrawn"):
        workshop.compare("shipped", "a", folder)
