"""A training run is a process and a folder: start it, watch it, stop it and take it up again by the files in the folder.

`fer.run_folder` names the files, `Run` reads them, `fer.pulse` is what the training process writes. What is known of a
run is on disk, so an app that was restarted knows as much as the one that started it. No torch here.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from fer import processes
from fer.files import json_object, object_in, replace_json
from fer.processes import Process
from fer.run_folder import ALIVE, OVER, Launch, RunPaths, RunStatus, read_launch, read_status, write_launch, write_status

log = logging.getLogger(__name__)

TRIES = 3  # times in a row that an interrupted run is taken up without a step of progress
LOOK_SECONDS = 0.05  # between two looks at a process that is to end
LOG_BYTES = 65_536  # of the end of a log are read
_NAME = re.compile(r"\d{8}-\d{6}-[a-z0-9-]+")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_HOME = Path(__file__).resolve().parent.parent  # where a child finds this package


class RunError(ValueError):
    """A run cannot be started, stopped or resumed; the message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """A run by its folder."""

    id: str
    paths: RunPaths

    def status(self) -> RunStatus:
        """How the run stands, as seen from outside. Never raises: damaged files are said in `error`."""
        said = read_status(self.paths)
        process = self._process_by(said)
        # It may have written its last word and ended after its status was read.
        while not process.alive() and (again := read_status(self.paths)) != said:
            said, process = again, self._process_by(again)
        if said is None:
            return self._unreadable(process)
        if said.state not in ALIVE:
            return said
        if process.alive():
            return replace(said, pid=process.pid, born=process.born, boot=process.boot)
        return self._interrupted(replace(said, seconds_left=None))

    def metrics(self) -> list[dict]:
        """The measurements so far; a line that is being written, or was cut off, is left out."""
        try:
            lines = self.paths.metrics.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        except OSError:
            return []
        return [value for value in map(object_in, lines) if value is not None]

    def log(self, lines: int = 200) -> str:
        """The last `lines` lines of what the process printed."""
        try:
            with self.paths.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        # Of a progress bar, which goes back to the start of its line, the last state.
        return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip("\n").split("\n")[-lines:])

    def config(self) -> dict:
        """The settings; empty where config.json is missing or damaged."""
        return json_object(self.paths.config) or {}

    def report(self) -> dict | None:
        """What came out; None while there is nothing, or where it is damaged."""
        return json_object(self.paths.report)

    def _process(self) -> Process:
        """The run's own process, by its own word, or else by that of its starter."""
        return self._process_by(read_status(self.paths))

    def _process_by(self, said: RunStatus | None) -> Process:
        return said.process if said and said.pid else read_launch(self.paths).process

    def _module(self) -> str | None:
        """What trains, such as "fer.train"; None where config.json does not say."""
        module = self.config().get("module")
        return module if isinstance(module, str) and _MODULE.fullmatch(module) else None

    def _unreadable(self, process: Process) -> RunStatus:
        if process.alive():
            return RunStatus("running", process.pid, process.born, process.boot)  # its next beat repairs the file
        damaged = "The run's status.json was damaged; resume the run." if self.paths.status.exists() else None
        return self._interrupted(RunStatus(error=damaged))

    def _interrupted(self, status: RunStatus) -> RunStatus:
        if self._module():
            return replace(status, state="interrupted")
        return replace(status, state="failed", error="The run's config.json is damaged; start a new run.")


# --- starting, stopping, taking up --------------------------------------------------------------


def start(runs: Path, module: str, config: dict, label: str) -> Run:
    """Start ``python -m MODULE RUN_DIR`` in a new folder of `runs` whose config.json holds `config`.

    The process is no part of this one: it goes on when this one ends or is killed, and lets every other process go
    first. `label` (small letters, digits, hyphens) ends the run's id. Raises RunError where another run is under way or
    the folder cannot be written; then nothing is left of the new one.
    """
    runs = Path(runs)
    with _sentences("Nothing was started."), _turn(runs) as lock:
        run = _new_run(runs, label)
        try:
            replace_json(run.paths.config, {**config, "module": module})
            _launch(run, module, lock, Launch())
        except BaseException:
            shutil.rmtree(run.paths.root, ignore_errors=True)
            raise
    return run


def resume(run: Run) -> Run:
    """Go on with a run that was stopped or interrupted, or that failed. Raises RunError where it has finished, is under
    way, or cannot be started."""
    return _resume(run, Launch())


def stop(run: Run, seconds: float = 5.0) -> None:
    """End `run` within `seconds`: it is asked by its stop file, then by SIGTERM, then killed. Its state is then "stopped".

    A run that is over stays as it is. Raises RunError where it does not end or cannot be signalled.
    """
    began, state = time.monotonic(), run.status().state
    if state in OVER:
        return
    with _sentences("The run may go on."):
        # Nobody reads the stop file of a process that is still loading.
        patience = 0.4 * seconds if state == "running" else 0.0
        with suppress(OSError):  # a full disk: the signals are enough
            run.paths.stop.touch()
        for number, until in ((None, patience), (signal.SIGTERM, 0.8 * seconds), (signal.SIGKILL, seconds)):
            if number:
                _signal(run, number)
            if _ended(run, began + until):
                break
    with _sentences("The run has ended, but its folder does not say so."):
        _note_stopped(run)


def active(runs: Path) -> Run | None:
    """The run that is under way in `runs`."""
    return next((run for run in listed(runs) if run.status().state in ALIVE), None)


def listed(runs: Path) -> list[Run]:
    """The runs in `runs`, newest first; folders of other names are nobody's business."""
    try:
        names = [one.name for one in Path(runs).iterdir() if _NAME.fullmatch(one.name) and one.is_dir()]
    except OSError:
        return []
    return [Run(name, RunPaths(Path(runs) / name)) for name in sorted(names, reverse=True)]


def take_up(runs: Path) -> Run | None:
    """For the start of an app: the run that is under way, or else the newest one, resumed, if it was interrupted.

    A run that ends `TRIES` times in a row without a step of progress is given up as failed. Never raises RunError: the
    app starts without the run, and the log says why.
    """
    busy = active(runs)
    newest = busy or next(iter(listed(runs)), None)
    if busy or newest is None or newest.status().state != "interrupted":
        return busy
    step, launch = newest.status().step, read_launch(newest.paths)
    launch = replace(launch, tries=0, step=step) if step > launch.step else launch
    try:
        if launch.tries < TRIES:
            return _resume(newest, replace(launch, tries=launch.tries + 1))
        with _sentences("It is given up."):
            words = f"The run ended {TRIES} times in a row without getting any further; the end of its log may say why."
            write_status(newest.paths, replace(newest.status(), state="failed", error=words))
    except RunError as error:
        log.warning("the run %s was not taken up: %s", newest.id, error)
    return active(runs)


def _resume(run: Run, launch: Launch) -> Run:
    with _sentences("The run was not resumed."), _turn(run.paths.root.parent) as lock:
        module = run._module()
        if run.status().state == "finished":
            raise RunError(f"The run {run.id} has finished; start a new one.")
        if module is None:
            raise RunError("The run's config.json is damaged; start a new run.")
        run.paths.stop.unlink(missing_ok=True)
        for partial in run.paths.root.rglob("*.partial"):  # a kill in the middle of writing leaves these
            partial.unlink(missing_ok=True)
        _launch(run, module, lock, launch)
    return run


def _new_run(runs: Path, label: str) -> Run:
    """A new folder named by the time in UTC and `label`."""
    name = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-") + label
    if not _NAME.fullmatch(name):
        raise RunError(f"“{label}” cannot end the name of a run; use small letters, digits and hyphens.")
    taken = {one.id for one in listed(runs)}
    name = next(one for one in (name, *(f"{name}-{number}" for number in range(2, 1000))) if one not in taken)
    (runs / name).mkdir()
    return Run(name, RunPaths(runs / name))


@contextmanager
def _turn(runs: Path) -> Iterator[int]:
    """The lock of `runs`, as a file descriptor for the run's process to inherit: it ends with that process, however
    that ends. Raises RunError where another run holds it, or is under way without."""
    runs.mkdir(parents=True, exist_ok=True)
    lock = os.open(runs / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # A process lets go of it a moment after its last word.
        deadline = time.monotonic() + 5.0
        while not (held := _lock(lock)) and not active(runs) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        # Where a disk has no locks, the files of the runs tell.
        busy = active(runs)
        if busy:
            raise RunError(f"A run is under way ({busy.id}); stop it, or wait until it ends.")
        if not held:
            raise RunError("Another run is just starting or ending; try again in a moment.")
        yield lock
    finally:
        os.close(lock)  # not unlocked: the run's process goes on holding it


def _lock(file: int) -> bool:
    """Whether `file` could be locked now. A disk without locks counts as locked."""
    import fcntl  # not on Windows, where the other commands work

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("the disk of the runs has no locks (%s)", error.strerror)
    return True


def _launch(run: Run, module: str, lock: int, launch: Launch) -> None:
    """Start the process of `run`, which inherits `lock`; where that fails the run is as it was."""
    before = read_status(run.paths)
    begun = replace(before or RunStatus(), state="starting", pid=0, born="", boot="", seconds_left=None, words="", error=None)
    child = None
    try:
        write_launch(run.paths, replace(launch, process=processes.this(), own=True))
        write_status(run.paths, begun)
        child = _spawn(run, module, lock)
        write_launch(run.paths, replace(launch, process=processes.find(child.pid) or Process(child.pid, "", ""), own=False))
    except BaseException:
        if child:  # nobody could find it again
            child.kill()
            child.wait()
        with suppress(OSError):
            if child or read_launch(run.paths).own:
                run.paths.launch.unlink()
            if before and read_status(run.paths) != before:
                write_status(run.paths, before)
        raise
    threading.Thread(target=_attend, args=(child, run), name=f"run {run.id}", daemon=True).start()


def _spawn(run: Run, module: str, lock: int) -> subprocess.Popen:
    """The process, in a session of its own: it outlives this one, and a Ctrl-C here does not reach it."""
    path = os.pathsep.join(filter(None, [str(_HOME), os.environ.get("PYTHONPATH")]))
    with run.paths.log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(run.paths.root.resolve())],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, pass_fds=(lock,),
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1", "PYTHONPATH": path},
        )  # fmt: skip
    processes.give_way(child.pid)
    return child


def _attend(child: subprocess.Popen, run: Run) -> None:
    """Wait for the process of `run`, so that it does not stay a zombie, and speak for one that could not."""
    code = child.wait()
    if code <= 0 or run.paths.stop.exists() or run.status().state != "interrupted":
        return
    words = f"The training process ended with code {code}: {run.log(1)}"
    with suppress(RunError, OSError), _turn(run.paths.root.parent):
        said = read_status(run.paths) or RunStatus()
        if said.pid in (0, child.pid) and run.status().state == "interrupted":
            write_status(run.paths, replace(said, state="failed", seconds_left=None, error=words))


def _signal(run: Run, number: signal.Signals) -> None:
    """Signal the process of `run`: never its starter, which is named while there is no process yet."""
    process = run._process()
    if process != processes.this() and not (process == (launch := read_launch(run.paths)).process and launch.own):
        process.send(number)


def _ended(run: Run, deadline: float) -> bool:
    """Whether the process of `run` is gone before `deadline`, on the monotonic clock."""
    while run._process().alive():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _note_stopped(run: Run) -> None:
    status = run.status()
    if status.state in ALIVE:
        raise RunError(f"The run {run.id} does not end; end its process {status.pid} by hand.")
    run.paths.stop.unlink(missing_ok=True)
    if status.state == "interrupted":
        write_status(run.paths, replace(status, state="stopped", error=None))


@contextmanager
def _sentences(outcome: str) -> Iterator[None]:
    """Turn what the system reports into a RunError: one sentence on the cause, then `outcome`."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{_cause(error)} {outcome}") from error


def _cause(error: OSError) -> str:
    """What an OSError says, without the folders that its own words name."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk of the workspace is full; free some space and try again."
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "The folder of the runs cannot be written; make the workspace writable or choose another --workspace."
    named = f"{Path(os.fsdecode(error.filename)).name}: " if isinstance(error.filename, str | bytes) else ""
    return f"The folder of the runs could not be used ({named}{error.strerror or error}); look at the disk, then try again."
