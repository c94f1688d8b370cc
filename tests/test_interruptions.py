"""A fine-tune that is killed comes to the same model; and the check would notice if it did not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from interruptions import PHASES, faults, phases, run
from safetensors.torch import load_file, save_file

from fer.runs import Run, RunPaths, listed


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the workspaces of a run left in peace, and of one that was killed three times."""
    place = tmp_path_factory.mktemp("interruptions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", "")  # `run` sets both
        patch.setenv("SHORT_STEPS", "")
        assert run(3, place, lambda _: None) >= 2  # the third may come too late
    return place


def test_three_kills_change_nothing(both):
    assert list(faults(*runs_of(both))) == []


def runs_of(place: Path) -> tuple[Run, Run]:
    (peaceful,), (killed,) = (listed(place / name / "runs") for name in ("peaceful", "killed"))
    return peaceful, killed


def nudged(run: Run) -> None:
    path = run.paths.bundle / "model.safetensors"
    tensors = load_file(path)
    tensors["classifier.1.bias"][0] += 1e-4
    save_file(tensors, path)


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def cut(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (nudged, "weights differ"),
        (lambda run: cut(run.paths.metrics), "measurements differ"),
        (lambda run: changed(run.paths.report, learned_from=1), "reports differ in learned_from"),
        (lambda run: changed(run.paths.status, state="failed", error="it broke"), "it broke"),
        (lambda run: (run.paths.root / "a.partial").touch(), "Half-written"),
        (lambda run: shutil.rmtree(run.paths.root.parent.parent / "models"), "registry holds []"),
    ],
)
def test_what_would_be_wrong_is_noticed(both, tmp_path, damage, word):
    peaceful, killed = runs_of(shutil.copytree(both, tmp_path / "copy"))
    damage(Run(killed.id, RunPaths(killed.paths.root)))
    assert any(word in sentence for sentence in faults(peaceful, killed))


def test_kills_fall_into_every_phase_in_order():
    assert phases(3) == list(PHASES)
    assert phases(20) == sorted(phases(20), key=list(PHASES).index) and {phases(20).count(one) for one in PHASES} == {6, 7}
