"""The files of a training run: `RunPaths` names them, `RunStatus` is how it stands, `Launch` how it was started.

Whatever is missing or damaged reads as None, or as nothing known. No torch here.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from fer.files import json_object, replace_json, replace_text
from fer.processes import NOBODY, Process

ALIVE = ("starting", "running")
OVER = ("stopped", "failed", "finished")


@dataclass(frozen=True)
class RunPaths:
    """The files of the run in `root`."""

    root: Path

    @property
    def config(self) -> Path:
        """Its settings as JSON, the module that trains, and for `fer.train` the command that does the same."""
        return self.root / "config.json"

    @property
    def status(self) -> Path:
        """`RunStatus` as JSON, rewritten while the run is alive."""
        return self.root / "status.json"

    @property
    def launch(self) -> Path:
        """The process as who started it knows it, and how often it was taken up."""
        return self.root / "launch.json"

    @property
    def stop(self) -> Path:
        """Its presence asks the run to save and end."""
        return self.root / "stop"

    @property
    def log(self) -> Path:
        """What the process printed."""
        return self.root / "train.log"

    @property
    def metrics(self) -> Path:
        """One JSON line per measurement: of `fer.train` per finished epoch."""
        return self.root / "metrics.jsonl"

    @property
    def losses(self) -> Path:
        """One JSON line per step of `fer.train`: the step, counted from 1, and the mean loss of its faces."""
        return self.root / "losses.jsonl"

    @property
    def curves(self) -> Path:
        """Loss and accuracy over epochs, as a picture."""
        return self.root / "curves.png"

    @property
    def checkpoint(self) -> Path:
        """All that is needed to go on after a stop."""
        return self.root / "checkpoint" / "last.pt"

    @property
    def bundle(self) -> Path:
        """The model that came out, a folder."""
        return self.root / "bundle"

    @property
    def report(self) -> Path:
        """What the run found: of `fer.train` the model's `Report` on the validation split."""
        return self.root / "report.json"


@dataclass(frozen=True)
class RunStatus:
    """How a run stands. On disk `state` is one of `ALIVE` or `OVER`; seen from outside, a run whose process went away
    without a word is "interrupted"."""

    state: str = "starting"
    pid: int = 0  # 0 until the training process has written itself
    born: str = ""  # see `Process`
    boot: str = ""
    step: int = 0  # steps done
    steps: int = 0  # of so many; 0 while that is not known
    seconds: float = 0.0  # spent in this run so far, in all its processes
    seconds_left: float | None = None  # from the steps of this process; None before the first
    words: str = ""  # what it is doing, such as "reading 300 faces"
    heartbeat: str = ""  # when this was written, ISO 8601, UTC
    error: str | None = None  # one sentence, of a run that failed

    @property
    def process(self) -> Process:
        return Process(self.pid, self.born, self.boot)

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Launch:
    """What the starter of a run notes, before and after it starts the process."""

    process: Process = NOBODY
    own: bool = False  # `process` is the starter itself, which is just starting the run's
    tries: int = 0  # how often in a row the run was taken up at `step`
    step: int = 0


def read_status(paths: RunPaths) -> RunStatus | None:
    """What status.json says; None where it is missing or damaged."""
    value = json_object(paths.status) or {}
    try:
        status = RunStatus(**{key: value[key] for key in RunStatus.__dataclass_fields__ if key in value})
        whole = [status.pid, status.step, status.steps]
        texts = [status.born, status.boot, status.words, status.heartbeat]
        fits = "state" in value and status.state in ALIVE + OVER and isinstance(status.seconds, int | float)
        return status if fits and all(type(one) is int for one in whole) and all(isinstance(one, str) for one in texts) else None
    except TypeError:
        return None


def write_status(paths: RunPaths, status: RunStatus) -> None:
    """Replace status.json by `status`, with the time as its heartbeat. Raises OSError."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    replace_json(paths.status, replace(status, heartbeat=now).as_dict())


def read_launch(paths: RunPaths) -> Launch:
    """What launch.json says; where it is missing or damaged that nothing is known."""
    value = json_object(paths.launch) or {}
    try:
        launch = Launch(Process(**value["process"]), value["own"], value["tries"], value["step"])
    except (KeyError, TypeError):
        return Launch()
    return launch if all(type(one) is int for one in (launch.process.pid, launch.tries, launch.step)) else Launch()


def write_launch(paths: RunPaths, launch: Launch) -> None:
    """Replace launch.json. Raises OSError."""
    replace_json(paths.launch, asdict(launch))


def forget_later(path: Path, step: int) -> None:
    """Drop the lines of `path` that were written after `step`, from which the run goes on: they will be written again."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    replace_text(path, "".join(line + "\n" for line in lines if _step_of(line) <= step))


def _step_of(line: str) -> float:
    """The step of a line of measurements; infinite for a line that a kill left half-written."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf
