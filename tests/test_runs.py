"""Runs as real processes: whatever ends, kills, fills or damages, the folder says how the run stands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT
from label_workspaces import files_in, fill, read_only, small_disk

from fer import processes, runs
from fer.run_folder import Launch, RunPaths, RunStatus, write_launch
from fer.runs import Run, RunError

TRAINER = """
import os, signal, sys, time
from pathlib import Path
from fer.files import replace_text
from fer.pulse import Pulse
from fer.run_folder import RunPaths

paths = RunPaths(Path(sys.argv[1]))
what, steps = os.environ.get("TRAINER", "steps"), 100_000
counter = paths.root / "counter"
if what == "loads":
    time.sleep(60)
if what == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Pulse._listen = lambda self: None
try:
    with Pulse(paths, steps) as pulse:
        print("began", flush=True)
        for step in range(int(counter.read_text()) if counter.exists() else 0, steps):
            pulse.beat(step, "counting")
            if what == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "fails":
                raise ValueError("The snapshot has no faces; correct some first.")
            if what == "short" and step == 3:
                pulse.steps = 3
                break
            replace_text(counter, str(step + 1))
            while what == "deaf":
                time.sleep(0.1)
            time.sleep(0.01)
except KeyboardInterrupt:
    print("saved", flush=True)
"""


@pytest.fixture(autouse=True)
def trainer(tmp_path_factory, monkeypatch) -> Callable[[str], None]:
    """The module ``trainer``; what is returned chooses what the next one does."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "trainer.py").write_text(TRAINER)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return lambda what: monkeypatch.setenv("TRAINER", what)


GIVE_WAY = processes.give_way


@pytest.fixture(autouse=True)
def full_rank(monkeypatch) -> None:
    """Runs that give way to all others take many times as long beside other busy processes; one test looks at that."""
    monkeypatch.setattr(processes, "give_way", lambda pid: None)


@pytest.fixture
def place(tmp_path) -> Iterator[Path]:
    """A folder for runs; whatever still runs in it is killed at the end."""
    yield tmp_path / "runs"
    for run in runs.listed(tmp_path / "runs"):
        runs._signal(run, signal.SIGKILL)


def begin(place: Path, **config) -> Run:
    return runs.start(place, "trainer", config, "quick")


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `true` says so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def is_in(run: Run, state: str) -> Callable[[], bool]:
    return lambda: run.status().state == state


def running(run: Run, step: int = 1) -> RunStatus:
    """The status of `run` once it has come to `step`."""
    until(lambda: run.status().state == "running" and run.status().step >= step)
    return run.status()


def on_disk(run: Run, **changed) -> None:
    """Change what status.json says."""
    run.paths.status.write_text(json.dumps({**json.loads(run.paths.status.read_text()), **changed}))


def killed(run: Run) -> None:
    """Kill the process of `run` as the system would for want of memory."""
    os.kill(run.status().pid, signal.SIGKILL)
    until(is_in(run, "interrupted"))


def assert_sentence(text: str, *places: Path) -> None:
    assert text[0].isupper(), text
    assert text.endswith(".") and "\n" not in text and "Errno" not in text, text
    assert all(str(place) not in text for place in places), text


@pytest.fixture
def run(place) -> Run:
    """A run that has begun to count."""
    made = begin(place)
    running(made)
    return made


# --- a run and its end --------------------------------------------------------------------------


def test_a_run_is_a_folder_and_a_process_with_low_rank(place, monkeypatch):
    monkeypatch.setattr(processes, "give_way", GIVE_WAY)
    run = begin(place, speed="quick", seed=3)
    status = running(run)
    assert run.id.endswith("-quick") and run.paths.root == place / run.id
    assert run.config() == {"speed": "quick", "seed": 3, "module": "trainer"}
    assert processes.find(status.pid) == status.process
    assert os.getsid(status.pid) == status.pid != os.getsid(0)
    assert os.getpriority(os.PRIO_PROCESS, status.pid) == 19
    assert (status.steps, status.words, status.error) == (100_000, "counting", None)
    assert run.log() == "began" and runs.active(place) == run


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_has_its_log_and_the_lock_and_nothing_else_of_its_parent(place):
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    run = begin(place)
    running(run)
    held = {Path(os.readlink(one)).name for one in Path(f"/proc/{run.status().pid}/fd").iterdir()}
    held = {name for name in held if not name.endswith(".partial")}  # what it is just writing
    os.close(reader), os.close(writer)
    assert held == {"null", "train.log", ".lock"}


def test_a_run_that_is_stopped_says_so_and_goes_on_where_it_was(run):
    began = time.monotonic()
    runs.stop(run)
    assert time.monotonic() - began < 5
    stopped = run.status()
    assert stopped.state == "stopped" and stopped.error is None and run.log(1) == "saved"
    assert not run.paths.stop.exists() and runs.active(run.paths.root.parent) is None
    counted = int((run.paths.root / "counter").read_text())
    runs.resume(run)
    assert running(run, counted).seconds > stopped.seconds
    assert run.log() == "began\nsaved\nbegan"


@pytest.mark.parametrize(("what", "seconds"), [("deaf", 1.5), ("loads", 5.0)])
def test_what_does_not_listen_is_stopped_in_time(place, trainer, what, seconds):
    trainer(what)
    run = begin(place)
    if what == "deaf":
        until(is_in(run, "running"))
    process = run.status().process
    began = time.monotonic()
    runs.stop(run, seconds)
    assert time.monotonic() - began < 4, "what only loads is not asked first"
    assert run.status().state == "stopped" and not process.alive()
    trainer("steps")
    runs.resume(run)
    running(run)


def test_a_run_is_stopped_at_any_moment_of_its_start(place):
    run = begin(place)
    runs.stop(run)
    for milliseconds in (5, 20, 40, 60, 80, 120):
        runs.resume(run)
        time.sleep(milliseconds / 1000)
        runs.stop(run)
        assert run.status().state == "stopped" and runs.active(place) is None


def test_sigterm_alone_lets_a_run_save(run):
    os.kill(run.status().pid, signal.SIGTERM)
    until(is_in(run, "stopped"))
    until(lambda: run.log(1) == "saved")


def test_a_run_that_finishes_stays_finished(place, trainer):
    trainer("short")
    run = begin(place)
    until(is_in(run, "finished"))
    runs.stop(run)
    done = run.status()
    assert (done.state, done.step, done.steps, done.seconds_left) == ("finished", 3, 3, 0.0)
    with pytest.raises(RunError, match="has finished; start a new one"):
        runs.resume(run)
    assert begin(place).id != run.id  # though the last process may still be ending


def test_a_run_that_fails_keeps_its_sentence(place, trainer):
    trainer("fails")
    run = begin(place)
    until(is_in(run, "failed"))
    runs.stop(run)
    assert run.status().error == "The snapshot has no faces; correct some first."
    assert runs.take_up(place) is None
    until(lambda: "Traceback" in run.log())
    trainer("steps")
    runs.resume(run)
    assert running(run).error is None


def test_a_process_that_could_not_even_begin_is_spoken_for(place):
    run = runs.start(place, "no_such_trainer", {}, "quick")
    until(is_in(run, "failed"))
    assert "ended with code 1" in run.status().error and "no_such_trainer" in run.status().error


def test_no_child_stays_a_zombie(place, run):
    pid = run.status().pid
    killed(run)
    until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize("label", ["", "Quick", "../quick", "a b", "quick/"])
def test_a_label_that_cannot_name_a_folder_is_refused(place, label):
    with pytest.raises(RunError, match="small letters"):
        runs.start(place, "trainer", {}, label)
    assert runs.listed(place) == []


# --- one at a time ------------------------------------------------------------------------------


def test_while_one_is_under_way_another_is_refused(place, run):
    other = replace(run, id="20200101-000000-old", paths=RunPaths(place / "20200101-000000-old"))
    other.paths.root.mkdir()
    other.paths.config.write_text('{"module": "trainer"}')
    for attempt in (lambda: begin(place), lambda: runs.resume(run), lambda: runs.resume(other)):
        with pytest.raises(RunError, match=run.id) as caught:
            attempt()
        assert str(caught.value) == f"A run is under way ({run.id}); stop it, or wait until it ends."
    assert [one.id for one in runs.listed(place)] == [run.id, other.id]


STARTER = """
import sys, time
from pathlib import Path
from fer import runs
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    print("won", runs.start(Path(sys.argv[1]), "trainer", {}, "quick").id)
except runs.RunError as error:
    print("lost", error)
"""


def starter(place: Path, *arguments: object, code: str = STARTER, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}
    command = [sys.executable, "-c", code, str(place), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, **options)


def test_of_starts_at_once_exactly_one_wins(place):
    at = time.time() + 0.7
    said = [process.communicate(timeout=20)[0] for process in [starter(place, at) for _ in range(4)]]
    (won,) = (text.split()[1] for text in said if text.startswith("won"))
    lost = [text for text in said if text.startswith("lost")]
    assert len(lost) == 3 and all(f"A run is under way ({won})" in text for text in lost)
    assert [one.id for one in runs.listed(place)] == [won]


def test_of_starts_at_once_in_one_process_exactly_one_wins(place):
    outcomes = []

    def attempt() -> None:
        try:
            outcomes.append(begin(place).id)
        except RunError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len([one for one in outcomes if isinstance(one, str)]) == 1 and len(runs.listed(place)) == 1


# --- interrupted, and taken up ------------------------------------------------------------------


def test_a_killed_run_is_interrupted_and_goes_on(place, run):
    running(run, 60)
    killed(run)
    counted = int((run.paths.root / "counter").read_text())
    (run.paths.root / "bundle.1.2.partial").touch()
    run.paths.stop.touch()
    assert runs.active(place) is None and runs.take_up(place) == run
    assert running(run, counted).step >= counted
    assert not run.paths.stop.exists() and not list(run.paths.root.glob("bundle*"))


APP = """
import sys, time
from pathlib import Path
from fer import runs
print(runs.start(Path(sys.argv[1]), "trainer", {}, "quick").id, flush=True)
time.sleep(60)
"""


def test_a_run_outlives_its_app_and_is_found_again(place):
    app = starter(place, code=APP, start_new_session=True)
    run = Run(name := app.stdout.readline().strip(), RunPaths(place / name))
    before = running(run)
    os.killpg(app.pid, signal.SIGKILL)
    app.wait()
    app.stdout.close()
    after = running(run, before.step + 40)
    assert after.process == before.process
    assert runs.take_up(place) == run == runs.active(place) and run.status().pid == before.pid
    with pytest.raises(RunError, match="under way"):
        begin(place)
    runs.stop(run)
    assert run.status().state == "stopped" and not before.process.alive()


def test_a_run_whose_starter_was_killed_before_it_was_born_is_interrupted(place, run):
    runs.stop(run)
    gone = subprocess.Popen(["sleep", "60"])
    launch = Launch(processes.find(gone.pid), own=True)
    write_launch(run.paths, launch)
    on_disk(run, state="starting", pid=0)
    assert run.status().state == "starting"
    runs._signal(run, signal.SIGKILL)
    assert gone.poll() is None  # the starter is not the run
    gone.kill(), gone.wait()
    assert run.status().state == "interrupted" and runs.take_up(place) == run
    process = run.status().process
    runs.stop(run)
    assert run.status().state == "stopped" and not process.alive()


@pytest.mark.parametrize("changed", [{"born": "17"}, {"boot": "another-boot"}])
def test_another_process_with_the_pid_of_a_run_is_not_the_run(place, run, changed):
    runs.stop(run)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        other = processes.find(stranger.pid)
        on_disk(run, state="running", **{"pid": other.pid, "born": other.born, "boot": other.boot, **changed})
        assert run.status().state == "interrupted" and runs.active(place) is None
        assert runs.take_up(place) == run
        assert running(run).pid != stranger.pid
        runs.stop(run)
        on_disk(run, state="running", **{"pid": other.pid, "born": other.born, "boot": other.boot, **changed})
        runs.stop(run)
        assert run.status().state == "stopped" and stranger.poll() is None
        stranger.kill()


def test_a_run_that_dies_at_once_is_taken_up_three_times_and_given_up(place, trainer):
    trainer("dies")
    run = begin(place)
    until(is_in(run, "interrupted"))
    for _ in range(runs.TRIES):
        runs.take_up(place)
        until(is_in(run, "interrupted"))
    assert runs.take_up(place) is None
    status = run.status()
    assert status.state == "failed" and run.log().count("began") == 1 + runs.TRIES
    assert_sentence(status.error)
    assert runs.take_up(place) is None


def test_progress_gives_a_run_new_tries(place, run):
    for times in range(1, runs.TRIES + 3):
        until(is_in(run, "running"))
        killed(run)
        on_disk(run, step=1000 * times)
        assert runs.take_up(place) == run


def test_what_was_stopped_or_is_not_the_newest_is_not_taken_up(place, run):
    killed(run)
    newer = begin(place)
    runs.stop(newer)
    assert run.status().state == "interrupted" and runs.take_up(place) is None
    assert runs.take_up(place / "nowhere") is None


# --- disks and files ----------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_one_sentence(place):
    run = begin(place)
    runs.stop(run)
    before = files_in(place)
    with read_only(place):
        for attempt in (lambda: begin(place), lambda: runs.resume(run)):
            with pytest.raises(RunError, match="cannot be written; make the workspace writable") as caught:
                attempt()
            assert_sentence(str(caught.value), place)
    assert files_in(place) == before


def test_an_interrupted_run_on_a_disk_that_cannot_be_written_keeps_no_app_from_starting(place, run):
    killed(run)
    with read_only(place):
        assert runs.take_up(place) is None and run.status().state == "interrupted"
    assert runs.take_up(place) == run


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path):
    with small_disk(tmp_path / "disk"):
        place = tmp_path / "disk" / "runs"
        run = begin(place)
        runs.stop(run)
        ballast = fill(tmp_path / "disk")
        before = files_in(place)
        for attempt in (lambda: begin(place), lambda: runs.resume(run)):
            with pytest.raises(RunError, match="disk of the workspace is full") as caught:
                attempt()
            assert_sentence(str(caught.value), place)
        assert files_in(place) == before and run.status().state == "stopped" and runs.listed(place) == [run]
        ballast.unlink()
        runs.resume(run)
        reached = running(run).step
        fill(tmp_path / "disk")
        time.sleep(0.7)  # a heartbeat is due
        with pytest.raises(RunError, match="The run has ended, but its folder does not say so") as caught:
            runs.stop(run)
        assert_sentence(str(caught.value), place)
        assert (run.status().state, runs.active(place)) == ("interrupted", None) and run.status().step >= reached


def test_a_damaged_status_is_a_state_and_a_sentence(place, run):
    killed(run)
    wrong = '{"state": 7}', '{"state": "running", "pid": "x"}', '{"state": "running", "step": null}'
    for text in ("", "[]", *wrong, "\0\0", "{"):
        run.paths.status.write_text(text)
        status = run.status()
        assert status.state == "interrupted", text
        assert_sentence(status.error)
    assert runs.take_up(place) == run
    assert running(run).error is None


def test_a_damaged_status_of_a_living_run_is_repaired_by_its_next_beat(run):
    run.paths.status.write_text("{")
    assert run.status().state == "running" and runs.active(run.paths.root.parent) == run
    until(lambda: run.status().step > 0)


def test_a_run_with_damaged_settings_has_failed_and_cannot_be_resumed(place, run):
    killed(run)
    for text in ("", "{", "[1]", "{}", '{"module": "os; rm"}', '{"module": 7}'):
        run.paths.config.write_text(text)
        assert isinstance(run.config(), dict) and run.status().state == "failed", text
        assert_sentence(run.status().error)
        assert runs.take_up(place) is None
        with pytest.raises(RunError, match="config.json is damaged"):
            runs.resume(run)


def test_a_damaged_or_missing_note_of_the_start_harms_nobody(place, run):
    for text in ("{", '{"process": 7}', '{"process": {"pid": 1}}'):
        run.paths.launch.write_text(text)
        assert run.status().state == "running"
    run.paths.launch.unlink()
    killed(run)
    assert runs.take_up(place) == run


def test_folders_of_other_names_are_no_runs(place, run):
    (place / "mine").mkdir()
    (place / "20260101-000000-old").touch()
    assert runs.listed(place) == [run]
    assert runs.listed(place / "nowhere") == []


def test_the_end_of_a_log_is_its_last_lines(tmp_path):
    run = Run("x", RunPaths(tmp_path))
    assert run.log() == ""
    lines = [f"line {number} ü" for number in range(20_000)]
    run.paths.log.write_text("\n".join(lines) + "\n 1/9\r 5/9\r 9/9\n", encoding="utf-8")
    assert run.log(3).split("\n") == [*lines[-2:], " 9/9"]
    assert len(run.log().split("\n")) == 200
    run.paths.log.write_bytes(b"\xff\xfe broken\n")
    assert run.log().endswith(" broken")


def test_measurements_are_whole_lines(tmp_path):
    run = Run("x", RunPaths(tmp_path))
    assert run.metrics() == [] and run.report() is None
    run.paths.metrics.write_text('{"step": 1}\n{"st\n7\n{"step": 2}\n{"step": 3}')
    assert run.metrics() == [{"step": 1}, {"step": 2}]
    run.paths.report.write_text("{")
    assert run.report() is None
    run.paths.report.write_text('{"kind": "finetune"}')
    assert run.report() == {"kind": "finetune"}


# --- the real trainer ---------------------------------------------------------------------------


def test_a_training_run_is_started_stopped_resumed_and_finished(face_folder, place):
    settings = {"data": f"folder:{face_folder}", "init": "none", "size": 32, "epochs": 10, "batch": 4, "save_seconds": 600}
    run = runs.start(place, "fer.train", settings, "full")
    until(lambda: run.status().step > 3, 120)
    runs.stop(run, 30)  # it has to come to the end of a step, also on a machine that has other things to do
    stopped = run.status()
    assert stopped.state == "stopped" and run.paths.checkpoint.is_file() and "stopped after" in run.log()
    runs.resume(run)
    until(is_in(run, "finished"), 120)
    losses = [json.loads(line)["step"] for line in run.paths.losses.read_text().splitlines()]
    assert losses == list(range(1, 31)) and [one["epoch"] for one in run.metrics()] == list(range(1, 11))
    assert f"resumed at step {stopped.step}" in run.log() and run.report()["n"] == 6
