"""Runs and models of one workspace together: `Workshop`, what the Train and Models tabs, the API and the shell share.

Free of torch, but for `compare`, which reads faces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fer import runs
from fer.config import FinetuneConfig
from fer.registry import ModelVersion, Registry
from fer.runs import Run

if TYPE_CHECKING:
    from fer.remote import Order
    from fer.trial import Trial

Speed = Literal["quick", "full"]
# What a run takes on two cores, seconds: to begin and to judge the result, and for each face. See EXPERIMENTS.md.
SECONDS: dict[Speed, tuple[float, float]] = {"quick": (20.0, 0.05), "full": (65.0, 0.05)}
POINTS = 500  # of a curve: more than a screen shows


class WorkshopError(ValueError):
    """Something cannot be trained, shown or promoted as asked; the message is one sentence."""


class Workshop:
    """The folders ``runs`` and ``models`` of `workspace`. Nothing is kept in memory: processes may share them."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = Path(workspace)
        self.runs = self.workspace / "runs"
        self.registry = Registry(self.workspace / "models")

    # --- runs -----------------------------------------------------------------------------------

    def start(
        self, snapshot: Path, speed: str = "quick", base: str | None = None,
        promote: Literal["never", "if-better"] = "never", rehearsal: str = "", seed: int = 0, on: Order | None = None,
    ) -> Run:  # fmt: skip
        """Begin to fine-tune `base`, the active version by default, on the snapshot in the folder `snapshot`; `on` a rented
        machine where one was ordered.

        Raises WorkshopError for a speed that is none, RunError while another run is active, RegistryError for a base
        that is not there.
        """
        if speed not in SECONDS:
            raise WorkshopError(f"“{str(speed)[:40]}” is not a speed; use {' or '.join(SECONDS)}.")
        begins = self.registry.folder(base) if base else self.registry.active().folder
        config = FinetuneConfig(
            f"snapshot:{snapshot.resolve()}", str(begins.resolve()), speed, rehearsal, promote, seed,
            str((self.workspace / "models").resolve()),
        )  # fmt: skip
        settings = {**asdict(config), "command": config.command}
        if on:
            return runs.start(self.runs, "fer.remote", {**settings, "on": asdict(on)}, label=speed)
        return runs.start(self.runs, "fer.finetune", settings, label=speed)

    def newest(self) -> Run | None:
        """The run that was started last."""
        return next(iter(runs.listed(self.runs)), None)

    def stop(self) -> Run:
        """Stop the active run, within some seconds. Raises WorkshopError when there is none."""
        active = runs.active(self.runs)
        if active is None:
            raise WorkshopError("No run is active; there is nothing to stop.")
        runs.stop(active)
        if active.config().get("on"):
            from fer import remote

            remote.tidy(active)  # where its process had no time to do so
        return active

    def resume(self) -> Run:
        """Go on with the newest run where it was stopped, cut off or failed. Raises WorkshopError without one, RunError."""
        newest = self.newest()
        if newest is None:
            raise WorkshopError("There is no run to go on with; start one.")
        return runs.resume(newest)

    def take_up(self) -> Run | None:
        """When the app starts: the run that is active, or the one that was cut off, gone on with."""
        return runs.take_up(self.runs)

    def status(self, log: bool = True) -> dict:
        """The newest run: {run, speed, its status, metrics, the end of its log, report}; {run: None} without one."""
        newest = self.newest()
        if newest is None:
            return {"run": None}
        said = newest.status()
        return {
            "run": newest.id, "speed": newest.config().get("speed"), **asdict(said), "metrics": thinned(newest.metrics()),
            "log": newest.log() if log else None, "report": newest.report() if said.state == "finished" else None,
        }  # fmt: skip

    def estimated_seconds(self, speed: Speed, faces: int) -> float:
        """How long a run on `faces` faces will take: as long a face as the last that finished here, or as measured once."""
        fixed, each = SECONDS[speed]
        expected = fixed + each * faces
        for run in runs.listed(self.runs):
            report = run.report() or {}
            here = report.get("kind") == "finetune" and not report.get("on")
            if here and report.get("speed") == speed and run.status().state == "finished":
                return report["seconds"] * expected / (fixed + each * (report["learned_from"] + report["held_out"]))
        return expected

    def pictures(self, run: str, names: Sequence[str]) -> dict[str, bytes]:
        """Those of the pictures `names` that the report of the run called `run` lists as flipped; others are passed over.

        Raises WorkshopError where the run is not here, or its snapshot is gone or faces were withdrawn from it.
        """
        report = self._called(run).report() or {}
        folder = Path(report.get("snapshot_folder") or "gone")
        if not (folder / "images").is_dir():
            raise WorkshopError("The snapshot of this run is gone, so its pictures are not shown.")
        if (folder / "WITHDRAWN.json").exists():
            raise WorkshopError("Faces of this run's snapshot were withdrawn, so its pictures are not shown.")
        # The report names files; a name with a folder in it is none of a snapshot's.
        listed = {flip["image"] for flip in report.get("flips", ()) if Path(flip["image"]).name == flip["image"]}
        found = {}
        for name in listed.intersection(names):
            try:
                found[name] = (folder / "images" / name).read_bytes()
            except OSError:
                continue
        return found

    def _called(self, run: str) -> Run:
        for one in runs.listed(self.runs):
            if one.id == run:
                return one
        raise WorkshopError("There is no such run here (any more).")

    # --- models ---------------------------------------------------------------------------------

    def models(self) -> list[dict]:
        """All versions as JSON values, newest first; nothing in them names a folder. `misgiving` as in `Registry`."""
        rows = [(one, one.as_dict()) for one in self.registry.versions()]
        kept = [(one, {key: value for key, value in row.items() if key not in ("folder", "card")}) for one, row in rows]
        return [{**row, "misgiving": self.registry.misgiving(one)} for one, row in kept]

    def card(self, version: str) -> str:
        """The card of a version, Markdown; empty where it has none. Raises RegistryError."""
        card = self.registry.find(version).card
        return card.read_text(encoding="utf-8", errors="replace") if card else ""

    def promotable(self, version: str, why: str) -> ModelVersion:
        """The version called so, if it may be promoted for the reason `why`: only one that raises a misgiving needs one.

        Raises WorkshopError where it is missing, RegistryError for a version that is not here.
        """
        wanted = self.registry.find(version)
        misgiving = None if why.strip() else self.registry.misgiving(wanted)
        if misgiving:
            raise WorkshopError(f"{misgiving} Say why it shall be used all the same.")
        return wanted

    def compare(self, one: str, other: str, snapshot: Path, progress: Callable[[Iterable], Iterable] = iter) -> "Trial":
        """How the version `other` does on the held-out faces of a snapshot, beside `one`; `progress` wraps the batches.

        Raises RegistryError, BundleError, DataError; WorkshopError for one and the same; TrialError where no face is held out.
        """
        from fer import bundle, trial

        before, after = self.registry.find(one), self.registry.find(other)
        if before.version == after.version:
            raise WorkshopError("These are the same version; choose two.")
        return trial.try_both(*(bundle.load(version.folder) for version in (before, after)), f"snapshot:{snapshot}", progress=progress)


def thinned(metrics: Sequence[dict], points: int = POINTS) -> list[dict]:
    """At most `points` of the lines of a curve, evenly spread, the last among them."""
    if len(metrics) <= points:
        return list(metrics)
    step = (len(metrics) - 1) / (points - 1)
    return [metrics[round(at * step)] for at in range(points)]
