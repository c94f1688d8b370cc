"""What a training process writes of itself: how it stands, how it ended, and that it was asked to stop."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest

from fer import pulse as module
from fer.pulse import Pulse, Stopped
from fer.run_folder import RunPaths
from fer.runs import Run


@pytest.fixture
def own(tmp_path) -> Run:
    """A run that this process trains."""
    return Run("own", RunPaths(tmp_path))


def test_a_pulse_goes_from_running_to_finished_and_tells_what_is_left(own):
    with Pulse(own.paths, 10) as pulse:
        assert json.loads(own.paths.status.read_text())["state"] == "starting"
        pulse.beat(0, "reading 300 faces")
        assert (own.status().state, own.status().words, own.status().seconds_left) == ("running", "reading 300 faces", None)
        began = time.monotonic()
        pulse.beat(0, "training")
        time.sleep(0.1)
        pulse.beat(2, "training on")
        assert 0.1 / 2 * 8 <= own.status().seconds_left <= (time.monotonic() - began) / 2 * 8
    assert own.status().state == "finished" and own.status().step == 10


def test_a_pulse_writes_at_most_twice_a_second(own, monkeypatch):
    writes = []
    monkeypatch.setattr(module, "write_status", lambda paths, status: writes.append(status.step))
    began = time.monotonic()
    with Pulse(own.paths, 10**9) as pulse:
        while time.monotonic() - began < 1.2:
            pulse.beat(len(writes), "training")
    assert len(writes) <= 2 + 3  # as it begins and ends, and in 1.2 seconds


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (Stopped(), "stopped", None),
        (KeyboardInterrupt(), "stopped", None),
        (SystemExit(0), "stopped", None),
        (ValueError("Too few faces."), "failed", "Too few faces."),
        (FloatingPointError("the loss became nan"), "failed", "the loss became nan"),
        (KeyError("x"), "failed", "The training met a fault of the program (KeyError: 'x'); its log says more."),
        (OSError(28, "None"), "failed", "The disk of the workspace is full; free some space, then resume the run."),
        (PermissionError(13, "No", "/home/me/1.png"), "failed", "“1.png” could not be read or written (No)."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)  # fmt: skip
def test_what_ends_a_pulse_is_told_in_a_sentence(own, error, state, words):
    with pytest.raises(type(error)), Pulse(own.paths, 10) as pulse:
        pulse.beat(4)
        raise error
    assert (own.status().state, own.status().step, own.status().error) == (state, 4, words)


def test_a_pulse_that_is_asked_to_stop_says_so_at_the_next_beat_and_restores_the_handlers(own):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    for ask in (own.paths.stop.touch, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        with pytest.raises(Stopped), Pulse(own.paths, 10) as pulse:
            pulse.beat(1)
            ask()
            time.sleep(0.01)
            assert own.status().state == "running"
            pulse.beat(2)
        assert own.status().state == "stopped" and not own.paths.stop.exists()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_pulse_makes_no_folder(tmp_path):
    with pytest.raises(ValueError, match="no"), Pulse(RunPaths(tmp_path / "run"), 1):
        raise ValueError("no")
    assert not (tmp_path / "run").exists()


def test_seconds_add_up_over_the_processes_of_a_run(own):
    for _ in range(2):
        with Pulse(own.paths, 1):
            time.sleep(0.1)
    assert 0.2 <= own.status().seconds < 10


def test_a_status_read_while_it_is_replaced_is_whole(own):
    enough = threading.Event()

    def write() -> None:
        with Pulse(own.paths, 10**6) as pulse:
            step = 0
            while not enough.is_set():
                pulse.beat(step := step + 1, f"step {step}")

    writer, seen = threading.Thread(target=write), []
    own.paths.config.write_text('{"module": "trainer"}')
    writer.start()
    while own.status().state != "running":
        time.sleep(0.01)
    while len({one.step for one in seen}) < 50:
        seen.append(own.status())
    enough.set()
    writer.join()
    assert {(one.state, one.error, one.words == f"step {one.step}") for one in seen} == {("running", None, True)}
    assert [one.step for one in seen] == sorted(one.step for one in seen)
