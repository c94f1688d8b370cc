"""What a pid means: the same process only with the same birth in the same boot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from fer import processes
from fer.processes import NOBODY, Process


@pytest.fixture
def child():
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def test_a_process_is_found_while_it_runs_and_not_as_a_zombie(child):
    found = processes.find(child.pid)
    assert found.alive() and found.pid == child.pid and found.born
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # over, but nobody has asked for its code
    assert not found.alive() and processes.find(child.pid) is None


def test_this_process_is_alive_and_nobody_is_not():
    assert processes.this().alive() and processes.this().pid == os.getpid()
    assert not NOBODY.alive() and not Process(os.getpid(), "", "").alive()


@pytest.mark.parametrize("changed", [{"born": "1"}, {"boot": "another"}])
def test_a_pid_with_another_birth_or_boot_is_another_process_and_gets_no_signal(child, changed):
    other = replace(processes.find(child.pid), **changed)
    assert not other.alive()
    other.send(signal.SIGKILL)
    assert processes.find(child.pid)


def test_a_signal_reaches_what_the_process_started():
    code = "import subprocess; one = subprocess.Popen(['sleep', '60']); print(one.pid, flush=True); one.wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        started = processes.find(int(parent.stdout.readline()))
        processes.find(parent.pid).send(signal.SIGKILL)
        parent.wait()
        until = time.monotonic() + 10
        while started.alive() and time.monotonic() < until:
            time.sleep(0.01)
    assert not started.alive()


def test_a_name_with_brackets_does_not_confuse(tmp_path):
    program = tmp_path / "a) Z (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        found = processes.find(process.pid)
        assert found and found.born.isdigit() == (sys.platform == "linux") and found.alive()
        process.kill()


def test_without_proc_a_process_is_known_by_ps(child, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    found = processes.find(child.pid)
    assert found.alive() and found.boot == "" and len(found.born.split()) == 5
    child.kill()
    child.wait()
    assert not found.alive() and processes.find(child.pid) is None


def test_a_process_can_be_made_to_give_way(child):
    processes.give_way(child.pid)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == 19
    processes.give_way(2**22 + 1)  # there is none: nothing happens
