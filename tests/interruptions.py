"""A fine-tune is killed again and again and taken up each time: does it come to the same model as one left in peace?

    python tests/interruptions.py --rounds 20

One run is left in peace. Another, with the same settings, is sent SIGKILL at random instants while it reads, learns
and finishes, and resumed each time. One line a round; the exit code is 1, with a sentence for each fault, when the
two differ, a version is there twice, or something half-written stays.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))

import short_finetune
import torch
from safetensors.torch import load_file
from short_finetune import settings, snapshot

from fer import processes, runs
from fer.registry import WEIGHTS, Registry
from fer.runs import Run

STEPS = 60
# How what a run says begins while it does each; a third of the kills falls into each.
PHASES = {"reading": "reading", "learning": "learning", "finishing": "comparing"}
PATIENCE = 600.0  # seconds for a run
WITHIN = 1e-6  # weights may differ by


class Differs(Exception):
    """A run that was interrupted is not what it would have been; the message has a sentence for each fault."""


def phases(rounds: int) -> list[str]:
    """In which phase each kill falls: as many in each, for there is no way back from a later one."""
    return [list(PHASES)[number * len(PHASES) // rounds] for number in range(rounds)]


def interrupt(run: Run, phase: str, seconds: float) -> str | None:
    """Kill `run` when it has been in `phase` for `seconds`, or is past it; what it was doing, None where it was over."""
    deadline, entered = time.monotonic() + PATIENCE, None
    later = [PHASES[other] for other in list(PHASES)[list(PHASES).index(phase) + 1 :]]
    while time.monotonic() < deadline:
        status = run.status()
        if status.state not in runs.ALIVE:
            return None
        if entered is None and status.words.startswith(PHASES[phase]):
            entered = time.monotonic()
        if entered and time.monotonic() - entered >= seconds or any(status.words.startswith(words) for words in later):
            with suppress(ProcessLookupError):
                os.kill(status.pid, signal.SIGKILL)
            _until(lambda: run.status().state not in runs.ALIVE)
            return f"{status.words}, at step {status.step} or a little later" if run.status().state == "interrupted" else None
        time.sleep(0.005)
    raise Differs(f"The run did not come to {phase} within {PATIENCE:.0f} s: {run.log(5)}")


def faults(peaceful: Run, killed: Run) -> Iterator[str]:
    """A sentence for each way in which the run that was `killed` did not come to the end of the `peaceful` one."""
    for run in (peaceful, killed):
        workspace = run.paths.root.parent.parent
        if run.status().state != "finished":
            yield f"A run has {run.status().state}: {run.status().error}."
            return
        left = [path.name for path in workspace.rglob("*.partial")]
        if left or run.paths.checkpoint.exists():
            yield f"Half-written files stay: {left or run.paths.checkpoint.name}."
        versions = [one.version for one in Registry(workspace / "models").versions() if not one.shipped]
        if versions != [run.report()["version"]]:
            yield f"The registry holds {versions}, the report says {run.report()['version']}."
        noted = (Path(run.report()["snapshot_folder"]) / "TRAINED.jsonl").read_text().splitlines()
        if len(noted) != 1:
            yield f"The snapshot names {len(noted)} versions."
    if peaceful.paths.metrics.read_text() != killed.paths.metrics.read_text():
        yield f"The measurements differ: {_first_difference(peaceful, killed)}."
    off = difference(peaceful, killed)
    if off > WITHIN:
        yield f"The weights differ by up to {off:.1g}."
    # Of what was measured nothing but the seconds may differ.
    reports = [{**run.report(), "seconds": None, "snapshot_folder": None} for run in (peaceful, killed)]
    if reports[0] != reports[1]:
        yield f"The reports differ in {', '.join(key for key in reports[0] if reports[0][key] != reports[1].get(key))}."


def difference(one: Run, other: Run) -> float:
    """By how much the weights of two runs' models differ at most."""
    first, second = (load_file(run.paths.bundle / WEIGHTS) for run in (one, other))
    if first.keys() != second.keys():
        return float("inf")
    return max(torch.max(torch.abs(first[key].float() - second[key].float())).item() for key in first)


def _first_difference(one: Run, other: Run) -> str:
    first, second = (run.paths.metrics.read_text().splitlines() for run in (one, other))
    pairs = [pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]]
    return " and ".join(pairs[0]) if pairs else f"{len(first)} lines and {len(second)}"


def run(rounds: int, place: Path, tell: Callable[[str], None] = print) -> int:
    """Kill a fine-tune `rounds` times and compare it with one left in peace; how many kills met it. Raises Differs."""
    os.environ |= {"PYTHONPATH": str(Path(short_finetune.__file__).parent), "SHORT_STEPS": str(STEPS)}
    with patch.object(processes, "give_way", lambda _: None):  # whatever else this machine does, it need not take hours
        return _run(rounds, place, tell)


def _run(rounds: int, place: Path, tell: Callable[[str], None]) -> int:
    began = time.monotonic()
    peaceful = _begun(place / "peaceful")
    lasted = _timed(peaceful)
    tell(f"left in peace: {time.monotonic() - began:.1f} s, {peaceful.status().state}")
    killed, kills, planned = _begun(place / "killed"), 0, phases(rounds)
    for number, phase in enumerate(planned, 1):
        # What was learned is not learned again, what was read is read again.
        each = planned.count(phase) if phase == "learning" else 1
        did = interrupt(killed, phase, random.uniform(0.0, 0.9) * lasted[phase] / each)
        tell(f"round {number}: {f'killed while {did}' if did else 'it had finished before'}")
        if did is None:
            break
        kills += 1
        runs.resume(killed)
    _until(lambda: killed.status().state not in runs.ALIVE)
    wrong = list(faults(peaceful, killed))
    if wrong:
        raise Differs("\n".join(wrong))
    tell(f"{kills} kills: {len(killed.metrics())} measurements equal, weights off by {difference(peaceful, killed):.1g}, "
         f"one version, nothing half-written")  # fmt: skip
    return kills


def _timed(run: Run) -> dict[str, float]:
    """Seconds that each phase of `run` takes; waits until it is over."""
    looked, pause = Counter({phase: 0.0 for phase in PHASES}), 0.01
    while (status := run.status()).state in runs.ALIVE:
        since = time.monotonic()
        time.sleep(pause)
        for phase, words in PHASES.items():
            looked[phase] += (time.monotonic() - since) * status.words.startswith(words)
    return dict(looked)


def _begun(workspace: Path) -> Run:
    return runs.start(workspace / "runs", "short_finetune", settings(workspace, snapshot(workspace)), "quick")


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise Differs(f"It took longer than {PATIENCE:.0f} s.")
        time.sleep(0.02)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often the run is killed (default: 20)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(arguments.rounds, Path(folder), lambda line: print(line, flush=True))
        except Differs as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
