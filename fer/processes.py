"""Which process a pid means: `Process` is a pid with its start time and its boot, so that a reused pid is told apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ENDED = "ZX"  # states of a process that is over but that its parent has not asked about yet


@dataclass(frozen=True)
class Process:
    """One process of this machine, for as long as the machine runs."""

    pid: int
    born: str  # its start time as the system tells it: clock ticks since the boot on Linux, a date elsewhere
    boot: str  # the boot of the machine on Linux, "" elsewhere

    def alive(self) -> bool:
        """Whether it still runs: the pid is in use, and by a process of the same birth in the same boot."""
        return self.pid > 0 and find(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signal the process, and all that it started where it leads a group. One that is over is left in peace."""
        if not self.alive():
            return
        with suppress(ProcessLookupError):
            leads = os.getpgid(self.pid) == self.pid
            os.killpg(self.pid, number) if leads else os.kill(self.pid, number)


NOBODY = Process(0, "", "")


def find(pid: int) -> Process | None:
    """The process that `pid` means now; None where there is none, or one that is over."""
    if sys.platform == "linux":
        born = _start_on_linux(pid)
        return Process(pid, born, _boot()) if born else None
    born = _start_elsewhere(pid)
    return Process(pid, born, "") if born else None


def this() -> Process:
    """The process that asks."""
    return find(os.getpid()) or Process(os.getpid(), "", "")


def _start_on_linux(pid: int) -> str:
    """Field 22 of proc_pid_stat(5), clock ticks since the boot; "" for a process that is over."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *rest = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return "" if state in ENDED else rest[18]


def _boot() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # some sandboxes hide it


def _start_elsewhere(pid: int) -> str:
    command = ["ps", "-o", "lstart=,stat=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
    *born, state = done.stdout.split() or ["Z"]
    return "" if state[0] in ENDED else " ".join(born)


def give_way(pid: int) -> None:
    """Let every other process go first: `pid` works with what they leave, and so will its threads.

    Call it before it starts any. Where the system refuses, the process keeps its rank. Not SCHED_IDLE: beside two busy
    cores such a process all but stands still.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, 19)
    with suppress(OSError):
        # On desktops Linux shares the processor between sessions first (sched(7), "autogroup"): there a nice value
        # counts only against the own session.
        Path(f"/proc/{pid}/autogroup").write_text("19", encoding="ascii")
