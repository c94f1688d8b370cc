"""A fine-tune on a rented machine, seen from here: a run like any other, whose process sends a parcel to Hugging Face Jobs,
follows the job and brings the result home: ``python -m fer.remote RUN_DIR``.

The parcel holds the program, the model to start from, the rehearsal and the snapshot; it lies in a private repository that
is deleted when the job is over, however that ends. A job that is under way is taken up again after a restart; one that was
stopped is cancelled, and nothing is started twice, for it costs.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import os
import queue
import secrets
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from fer.config import FinetuneConfig, read_finetune
from fer.files import json_object, object_in, replace_json, replace_text
from fer.hub import PARCEL, RESULT, HubError, HubUnreachable, JobRepository, Jobs, JobState, Price
from fer.job import RUN
from fer.pulse import Pulse, in_a_sentence
from fer.run_folder import RunPaths
from fer.runs import Run

HOME = Path(__file__).resolve().parent  # the program that is sent
TRAINER = "fer.finetune"
REHEARSAL = HOME / "weights" / "rehearsal.safetensors"
# What a fine-tune needs of `requirements.txt`, in the versions that are installed here.
PACKAGES = ("huggingface-hub", "torch", "torchvision", "numpy", "pillow", "safetensors")
SETUP_SECONDS = 240.0  # until a new machine has its packages
SHORTEST_LIMIT, LIMIT_FACTOR = 1800.0, 3.0  # a job is ended after so many seconds, or so many times what is expected
BEAT_SECONDS, LOOK_SECONDS = 0.2, 3.0  # between two looks at the wish to stop, and at the job
PATIENCE_SECONDS = 600.0  # without an answer of the Hub, until the run gives up (and the job goes on)
LAST_STEP_SECONDS = 1.0  # what is under way when the run is stopped may end
LAST_WORDS_SECONDS = 10.0  # the log of a job that is over may come late
MEMBERS = {"report.json", "metrics.jsonl", "bundle/model.safetensors", "bundle/bundle.json"}  # of the result that are taken
T = TypeVar("T")
log = logging.getLogger(__name__)


class RemoteError(ValueError):
    """A job failed, or cannot be taken up again; the message is one sentence."""


@dataclass(frozen=True)
class Order:
    """What was agreed to: a machine called `flavor` at `dollars` an hour, for `expected` seconds, at most `limit`."""

    flavor: str
    machine: str
    dollars: float
    expected: float
    limit: float

    @classmethod
    def of(cls, price: Price, training_seconds: float) -> Order:
        """The order for a fine-tune that takes `training_seconds` on two cores."""
        expected = SETUP_SECONDS + training_seconds
        limit = 60.0 * math.ceil(max(SHORTEST_LIMIT, LIMIT_FACTOR * expected) / 60)
        return cls(price.flavor, price.machine, price.of(3600.0), expected, limit)

    def cost(self, seconds: float) -> float:
        """Dollars for so many seconds."""
        return self.dollars * seconds / 3600

    def in_words(self) -> str:
        """The price, what is expected, and what is the most."""
        return (
            f"{self.flavor} ({self.machine}) costs {money(self.dollars / 60)} a minute, {money(self.dollars)} an hour. "
            f"About {self.expected / 60:.0f} minutes are expected, {money(self.cost(self.expected))}; the job is ended after "
            f"{self.limit / 60:.0f} minutes, so it costs {money(self.cost(self.limit))} at most."
        )


@dataclass(frozen=True)
class Errand:
    """How far a run got: the `repository` made for it, the `job` once there is one, and whether all of it is `over`."""

    repository: str
    job: str | None = None
    over: bool = False


def money(dollars: float) -> str:
    """Dollars with as many digits as tell two prices apart."""
    return f"${dollars:.2f}" if dollars >= 0.1 or dollars == 0 else f"${dollars:.5f}".rstrip("0")


# --- the run's process --------------------------------------------------------------------------


def train(config: FinetuneConfig, order: Order, root: Path) -> None:
    """Have the fine-tune `config` done as `order` says, or go on following it, in the run folder `root`.

    Raises HubError, RemoteError and what `finetune` raises, in one sentence, and Stopped when the run was asked to stop.
    Whatever happens the job is ended and what was sent is deleted; but that while the Hub cannot be reached, or this disk
    has no room for the result, all is left as it is, for the run to be resumed.
    """
    paths = RunPaths(root)
    with Pulse(paths) as pulse:
        try:
            errand = _under_way(paths) or _sent(config, order, paths, pulse)
            state, last = _followed(errand, order, paths, pulse)
            _check(state, last)
            result = _beating(pulse, "bringing the result home", lambda: _fetched(errand))
            pulse.beat(pulse.step, "checking the result")
            _keep(config, order, state, paths, result)
        except (HubUnreachable, OSError) as error:
            if not _has_job(paths):
                tidy(Run(root.name, paths))
                raise
            if isinstance(error, OSError):  # says itself that the run may be resumed
                raise
            later = f"resume the run in the Train tab, or with: python -m fer.remote {root.parent.name}/{root.name}"
            raise HubUnreachable(f"{error} The job goes on meanwhile, until its time limit; to bring its result {later}.") from error
        except BaseException as error:
            left = tidy(Run(root.name, paths))
            if left and isinstance(error, ValueError):
                raise RemoteError(f"{error} {left}") from error
            raise
        tidy(Run(root.name, paths))


def tidy(run: Run) -> str | None:
    """End what `run` has left on the Hub: its job, then its repository. Why that was not possible, in a sentence, if so.

    May be called by anybody at any time, and again.
    """
    errand = _errand(run.paths)
    if errand is None or errand.over:
        return None
    try:
        for job in _jobs_of(errand):
            Jobs().cancel(job)
        JobRepository(errand.repository).delete()
        _note(run.paths, replace(errand, over=True))
    except (ValueError, OSError) as error:
        named = f"the job {errand.job} and the repository {errand.repository}" if errand.job else f"the repository {errand.repository}"
        words = f"Look for {named} on the Hub and end them by hand: {error}"
        log.error("%s", words)
        return words
    return None


def _jobs_of(errand: Errand) -> list[str]:
    """The job of `errand`, also one that was started while the answer, or this process, was lost."""
    if errand.job:
        return [errand.job]
    try:
        return Jobs().of(errand.repository)
    except HubUnreachable:
        raise
    except HubError as error:  # whoever may not start jobs may not list them either
        log.info("jobs were not looked for: %s", error)
        return []


def _under_way(paths: RunPaths) -> Errand | None:
    """The errand of a run that goes on; None for a new one. Raises RemoteError for one that cannot go on."""
    errand = _errand(paths)
    if errand and (errand.over or errand.job is None):
        raise RemoteError("The job of this run was never started, or is over; start a new run.")
    return errand


def _sent(config: FinetuneConfig, order: Order, paths: RunPaths, pulse: Pulse) -> Errand:
    """Send the parcel and start the job."""
    jobs = Jobs()
    name = f"{_beating(pulse, 'asking the Hub', jobs.user)}/expression-studio-job-{secrets.token_hex(6)}"
    errand = Errand(name)
    _note(paths, errand)  # first: whoever is killed from here on leaves a trace of what to delete
    with tempfile.TemporaryDirectory(prefix="fer-") as place:
        parcel = Path(place) / PARCEL
        pack(config, parcel)
        words = f"sending {parcel.stat().st_size / 1e6:.0f} MB"
        commit = _beating(pulse, words, lambda: JobRepository(name).send(parcel, PARCEL))
    pulse.beat(0, f"starting {order.flavor}")
    image = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    errand = replace(errand, job=jobs.start(name, commit, packages(), order.flavor, image, int(order.limit)))
    _note(paths, errand)
    log.info("the job %s has started on %s", errand.job, order.flavor)
    return errand


def _has_job(paths: RunPaths) -> bool:
    errand = _errand(paths)
    return errand is not None and errand.job is not None


def _followed(errand: Errand, order: Order, paths: RunPaths, pulse: Pulse) -> tuple[JobState, str]:
    """How the job ended, once it has, and the last line that it printed; meanwhile its log and its measurements are passed on."""
    jobs, lines = Jobs(), queue.Queue()
    reader = threading.Thread(target=_read_log, args=(jobs, errand.job, lines), name="log of the job", daemon=True)
    reader.start()
    teller = _Teller(paths, order, pulse)
    state, answered = JobState("SCHEDULING"), time.monotonic()
    looked, running = -LOOK_SECONDS, None
    while not state.over:
        teller.pass_on(lines, state)
        if time.monotonic() - looked >= LOOK_SECONDS:
            looked = time.monotonic()
            try:
                state, answered = _beating(pulse, teller.words(state), lambda: jobs.state(errand.job)), time.monotonic()
            except HubUnreachable:
                if time.monotonic() - answered > PATIENCE_SECONDS:
                    raise
            running = running or (time.monotonic() if state.stage == "RUNNING" else None)
        time.sleep(BEAT_SECONDS)
    until = time.monotonic() + LAST_WORDS_SECONDS
    while reader.is_alive() and time.monotonic() < until:
        teller.pass_on(lines, state)
        time.sleep(BEAT_SECONDS)
    teller.pass_on(lines, state)
    if not state.seconds and running:  # the Hub did not say
        state = replace(state, seconds=time.monotonic() - running)
    return state, teller.last


def _read_log(jobs: Jobs, job: str, lines: queue.Queue) -> None:
    """Put what the job prints into `lines`, each line once, for as long as it takes."""
    passed, until = 0, time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            for number, line in enumerate(jobs.log(job)):
                if number >= passed:
                    lines.put(line)
                    passed, until = number + 1, time.monotonic() + PATIENCE_SECONDS
            return
        except HubUnreachable:
            time.sleep(LOOK_SECONDS)
        except HubError as error:
            lines.put(f"the log of the job cannot be read: {error}")
            return


class _Teller:
    """Passes on what a job prints: to the log, to the measurements, and as the run's status."""

    def __init__(self, paths: RunPaths, order: Order, pulse: Pulse) -> None:
        self._paths, self._order, self._pulse = paths, order, pulse
        self._step, self._said, self.last = 0, "", ""
        replace_text(paths.metrics, "")  # the log comes from its beginning

    def words(self, state: JobState) -> str:
        """What the run is doing, for people."""
        said = self._said or ("waiting for a machine" if state.stage == "SCHEDULING" else "setting up")
        return f"{said} on {self._order.flavor}"

    def pass_on(self, lines: queue.Queue, state: JobState) -> None:
        """Pass on all lines there are, and beat. Raises Stopped when the run was asked to stop."""
        while not lines.empty():
            self._take(lines.get())
        self._pulse.beat(self._step, self.words(state))

    def _take(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        value = object_in(rest) if kind in ("::status", "::metrics") else None
        if value is None:
            print(line, flush=True)
            self.last = line if line.strip() else self.last
        elif kind == "::metrics":
            with self._paths.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(value) + "\n")
        elif all(type(value.get(name)) is int for name in ("step", "steps")):
            self._step, self._pulse.steps, self._said = value["step"], value["steps"], str(value.get("words") or "")


def _check(state: JobState, last: str) -> None:
    """Raises RemoteError unless the job has done what it should; `last` is the last line that it printed."""
    if state.stage == "COMPLETED":
        return
    if state.stage in ("CANCELED", "DELETED"):
        raise RemoteError("The job was cancelled on the Hub; start a new run.")
    reason = " ".join(" ".join(one for one in (state.message, last) if one).split())[-300:] or "no reason given"
    raise RemoteError(f"The job failed: {reason}{'' if reason.endswith('.') else '.'}")


def _beating(pulse: Pulse, words: str, work: Callable[[], T]) -> T:
    """What `work` gives, done beside the beats, so that a wish to stop is heard meanwhile."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=run, name=words, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            pulse.beat(pulse.step, words)
            worker.join(BEAT_SECONDS)
    except BaseException:
        worker.join(LAST_STEP_SECONDS)  # or it would make again what is deleted next
        raise
    if failed:
        raise failed[0]
    return done[0]


# --- the parcel and the result ------------------------------------------------------------------


def packages() -> list[str]:
    """What a job needs, as it is installed here: the same versions, the same numbers."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in PACKAGES]


def pack(config: FinetuneConfig, target: Path) -> None:
    """Write the parcel of `config`: the program, the settings with the folders as they are there, and what these name."""
    snapshot, base = _folder(config.data), Path(config.base).resolve()
    kind, _, rehearsal = config.rehearsal.partition(":")
    there = replace(
        config, data=f"snapshot:snapshots/{snapshot.name}", base=f"base/{base.name}", promote="never", models="",
        rehearsal=f"{kind}:rehearsal/{_folder(config.rehearsal).name}" if rehearsal else "",
    )  # fmt: skip
    settings = {**asdict(there), "command": config.command, "module": TRAINER}
    with zipfile.ZipFile(target, "w") as parcel:  # pictures and weights do not shrink
        for path in sorted(HOME.rglob("*.py")):
            parcel.write(path, path.relative_to(HOME.parent).as_posix())
        parcel.writestr(f"{RUN}/config.json", json.dumps(settings, indent=2))
        for name in ("model.safetensors", "bundle.json"):
            parcel.write(base / name, f"base/{base.name}/{name}")
        for path in _files(snapshot, "manifest.jsonl", "images/*.png"):
            parcel.write(path, f"snapshots/{snapshot.name}/{path.relative_to(snapshot).as_posix()}")
        if rehearsal:
            folder = _folder(config.rehearsal)
            for path in _files(folder, "**/*"):
                parcel.write(path, f"rehearsal/{folder.name}/{path.relative_to(folder).as_posix()}")
        else:
            parcel.write(REHEARSAL, REHEARSAL.relative_to(HOME.parent).as_posix())


def _folder(source: str) -> Path:
    """The folder of a source ``KIND:PATH``."""
    return Path(os.path.expanduser(source.partition(":")[2])).resolve()


def _files(folder: Path, *patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path for path in sorted(folder.glob(pattern)) if path.is_file())


def _fetched(errand: Errand) -> tempfile.TemporaryDirectory:
    """The result, unpacked into a folder that is deleted with what is returned. Raises HubError, RemoteError."""
    place = tempfile.TemporaryDirectory(prefix="fer-")
    try:
        archive = Path(place.name) / RESULT
        JobRepository(errand.repository).receive(RESULT, archive)
        with zipfile.ZipFile(archive) as parts:
            for name in MEMBERS & set(parts.namelist()):
                if parts.getinfo(name).file_size > archive.stat().st_size:  # nothing in it is compressed
                    raise RemoteError(f"{name} of the job's result is larger than the result; start a new run.")
                target = Path(place.name) / name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(parts.read(name))
    except zipfile.BadZipFile as error:
        place.cleanup()
        raise RemoteError("The job's result is damaged; start a new run.") from error
    except BaseException:
        place.cleanup()
        raise
    return place


def _keep(config: FinetuneConfig, order: Order, state: JobState, paths: RunPaths, result: tempfile.TemporaryDirectory) -> None:
    """Take the result into the run's folder and the registry, as a run on this machine does."""
    from fer import bundle as bundles
    from fer import finetune

    with result as place:
        report = json_object(Path(place) / "report.json")
        made = bundles.load(Path(place) / "bundle")
        if report is None or report.get("version") != made.version:
            raise RemoteError("The job's report is missing, or is that of another model; start a new run.")
        metrics = Path(place) / "metrics.jsonl"
        if metrics.is_file():
            replace_text(paths.metrics, metrics.read_text(encoding="utf-8"))
    made = replace(made, provenance={**made.provenance, "on": f"jobs:{order.flavor}"})
    report |= {"snapshot_folder": str(_folder(config.data)), "on": f"jobs:{order.flavor}",
               "job_seconds": state.seconds, "dollars": order.cost(state.seconds)}  # fmt: skip
    finetune.keep(config, paths, made, report)


# --- the folder ---------------------------------------------------------------------------------


def read_order(paths: RunPaths) -> Order:
    """What was agreed to for the run in `paths`. Raises ValueError where nothing was."""
    said = (json_object(paths.config) or {}).get("on")
    try:
        return Order(**said)
    except TypeError as error:
        raise ValueError(f"{paths.root.name} is no run on a rented machine") from error


def _errand(paths: RunPaths) -> Errand | None:
    said = json_object(paths.root / "errand.json") or {}
    try:
        return Errand(said["repository"], said["job"], said["over"] is True)
    except KeyError:
        return None


def _note(paths: RunPaths, errand: Errand) -> None:
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    replace_json(paths.root / "errand.json", {**asdict(errand), "at": at})


def main(arguments: list[str] | None = None) -> int:
    """``python -m fer.remote RUN_DIR``: start or go on with the run whose config.json lies in RUN_DIR."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python -m fer.remote RUN_DIR", file=sys.stderr)
        return 2
    paths = RunPaths(Path(arguments[0]))
    try:
        train(read_finetune(paths), read_order(paths), paths.root)
    except (ValueError, OSError, ArithmeticError) as error:
        print(in_a_sentence(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the job is cancelled, and what was sent is deleted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    raise SystemExit(main())
