"""What a training process writes of itself into the folder of its run: `Pulse`. No torch here."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fer import processes
from fer.run_folder import RunPaths, RunStatus, read_status, write_status

log = logging.getLogger(__name__)


class Stopped(KeyboardInterrupt):
    """Raised in a training process that was asked to stop, between two of its steps."""


class Pulse:
    """The life of a training process, as its run's status.json shows it; used as a context.

    Inside, the state is "running"; afterwards "finished", "stopped" (it was asked to) or "failed", with the error in a
    sentence. A folder that is not there is not made, so that a run that is refused leaves nothing. With `silent` it
    writes nothing, for a process that helps another one.
    """

    EVERY_SECONDS = 0.5  # between two writes, unless there are other words

    def __init__(self, paths: RunPaths, steps: int = 0, silent: bool = False) -> None:
        self.paths, self.steps, self.silent = paths, steps, silent
        self._status = RunStatus()
        self._signalled = self._failing = False
        self._handlers: dict = {}
        self._written = -1.0

    def __enter__(self) -> Pulse:
        this, before = processes.this(), read_status(self.paths) or RunStatus()
        self._status = replace(
            before, state="starting", pid=this.pid, born=this.born, boot=this.boot,
            steps=self.steps or before.steps, seconds_left=None, words="", error=None,
        )  # fmt: skip
        self._entered, self._spent = time.monotonic(), before.seconds
        self._first: tuple[int, float] | None = None
        self._listen()
        self._write()
        return self

    def beat(self, step: int, words: str = "") -> None:
        """Say that `step` steps are done, and in `words` what comes now. Cheap enough for every face that is read.

        Words that change are written at once, so counts belong in `step`. Raises Stopped when the run was asked to stop.
        """
        if self._signalled or self.paths.stop.exists():
            self._status = replace(self._status, step=step)
            raise Stopped("the run was asked to stop")
        now = time.monotonic()
        if self._first is None or step <= self._first[0]:
            self._first = (step, now)
        told = (self._status.state, self._status.words) == ("running", words)
        self._status = replace(
            self._status, state="running", step=step, steps=self.steps, words=words, seconds_left=self._left(step, now)
        )
        if not told or now - self._written >= self.EVERY_SECONDS:
            self._write()

    @property
    def step(self) -> int:
        """How many steps were done at the last beat."""
        return self._status.step

    @property
    def seconds(self) -> float:
        """Spent in this run so far, in all its processes."""
        return self._spent + time.monotonic() - self._entered

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if error is None:
            self._status = replace(self._status, state="finished", step=self.steps, steps=self.steps, words="", seconds_left=0.0)
        else:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
            self._status = replace(
                self._status, state="stopped" if stopped else "failed", words="", seconds_left=None,
                error=None if stopped else in_a_sentence(error),
            )  # fmt: skip
        self._write()
        if not self.silent:
            with suppress(OSError):
                self.paths.stop.unlink(missing_ok=True)

    def _left(self, step: int, now: float) -> float | None:
        """Seconds that the steps left take at the pace of those done in this process."""
        first, since = self._first
        return (now - since) / (step - first) * max(0, self.steps - step) if step > first else None

    def _listen(self) -> None:
        """Take SIGTERM and Ctrl-C as a wish to stop at the next beat, so that no step is left half done."""
        if threading.current_thread() is threading.main_thread():
            self._handlers[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._ask)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._handlers[signal.SIGINT] = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        if self._signalled:
            raise KeyboardInterrupt  # asked twice: at once, without saving
        self._signalled = True

    def _write(self) -> None:
        self._written = time.monotonic()
        self._status = replace(self._status, seconds=self.seconds)
        if self.silent or not self.paths.root.is_dir():
            return
        try:
            write_status(self.paths, self._status)
            self._failing = False
        except OSError as error:
            # A disk that is full for a moment is no reason to lose hours of training.
            if not self._failing:
                log.warning("status.json could not be written: %s", error.strerror)
            self._failing = True


def in_a_sentence(error: BaseException) -> str:
    """What ended a run, for its status: those errors whose words are meant for people speak for themselves."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "The disk of the workspace is full; free some space, then resume the run."
        named = f"“{Path(os.fsdecode(error.filename)).name}”" if isinstance(error.filename, str | bytes) else "A file"
        return f"{named} could not be read or written ({error.strerror or error})."
    if isinstance(error, MemoryError):
        return "The memory of this machine was not enough; close other programs or use a smaller batch."
    text = " ".join(str(error).split())
    if isinstance(error, ValueError | ArithmeticError) and text:
        return text
    return f"The training met a fault of the program ({type(error).__name__}: {text}); its log says more."
