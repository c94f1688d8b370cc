"""``python -m fer train``, ``finetune`` and ``rehearsal``: what makes a model, and what it is made with."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fer.commands import shell

if TYPE_CHECKING:
    from fer.run_folder import RunStatus
    from fer.runs import Run


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    from fer.config import FinetuneConfig, TrainConfig
    from fer.flags import add_flags

    train = commands.add_parser("train", help="fine-tune a network; the same command goes on after a stop")
    add_flags(train, TrainConfig)
    train.add_argument("--out", required=True, metavar="DIR", help="folder of the run: checkpoint, metrics, bundle")
    train.set_defaults(run=_train)

    finetune = commands.add_parser("finetune", help="teach the active model what was labelled; a run that the app shows too")
    add_flags(finetune, FinetuneConfig)
    shell.add_workspace(finetune)
    finetune.set_defaults(run=_finetune)

    rehearse = commands.add_parser("rehearsal", help="make the rehearsal activations of the shipped model anew")
    rehearse.add_argument("--data", required=True, metavar="KIND:PATH", help="faces to remember, such as ferplus:FOLDER")
    rehearse.set_defaults(run=_rehearse)
    for command in (train, finetune, rehearse):
        shell.add_json(command)


def _train(arguments: argparse.Namespace) -> int:
    from fer.config import TrainConfig
    from fer.flags import from_flags
    from fer.train import train

    if not arguments.data:
        raise shell.UsageError("--data is missing; say what to train on, such as --data ferplus:FOLDER")
    config = from_flags(TrainConfig, arguments)
    out = Path(arguments.out)
    result = train(config, out, lambda steps: shell.progress(steps, "step", shown=not arguments.json))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    if arguments.json:
        print(json.dumps({"version": result.version, "bundle": str(out / "bundle"), "val": report}))
    else:
        print(f"{result.version} is in {out / 'bundle'}: validation accuracy {report['accuracy']:.3f}, "
              f"macro-F1 {report['macro_f1']:.3f} on {report['n']} faces")  # fmt: skip
    return 0


def _finetune(arguments: argparse.Namespace) -> int:
    from fer.workshop import Workshop

    if arguments.data and not arguments.data.startswith("snapshot:"):
        raise shell.UsageError(f"“{arguments.data}” is not snapshot:DIR; take a snapshot with python -m labeling snapshot")
    workshop = Workshop(arguments.workspace)
    folder = Path(os.path.expanduser(arguments.data.partition(":")[2])) if arguments.data else _snapshot(arguments.workspace)
    run = workshop.start(folder, arguments.speed, arguments.base or None, arguments.promote, arguments.rehearsal, arguments.seed)
    print(f"the run {run.id} has started; its log is {run.paths.log}", file=sys.stderr)
    status = _followed(run, shown=not arguments.json)
    if status.state != "finished":
        print(f"error: {status.error or f'the run is {status.state}'}", file=sys.stderr)
        return 130 if status.state == "stopped" else 1
    report = run.report() or {}
    active = workshop.registry.active().version == report["version"]
    if arguments.json:
        print(json.dumps({**report, "run": run.id, "active": active}))
    else:
        print(f"{report['verdict']['words']}\n{report['version']} is {'active now' if active else 'kept'}; see it in the app, or:")
        print(f"    python -m fer models {'rollback' if active else 'promote ' + report['version']}")
    return 0


def _snapshot(workspace: Path) -> Path:
    """A snapshot of the workspace's labels."""
    from labeling.snapshot import take
    from labeling.store import LabelStore

    if not (workspace / "labels").is_dir():
        raise shell.UsageError(f"{workspace} holds no labels; label some in the app, or name a workspace with --workspace DIR")
    store = LabelStore(workspace / "labels")
    try:
        return take(store, workspace / "snapshots").folder
    finally:
        store.close()


def _followed(run: Run, shown: bool) -> RunStatus:
    """How `run` ended, once it has; Ctrl-C stops it."""
    import time

    from tqdm import tqdm

    from fer import runs

    with tqdm(unit="step", disable=not shown, mininterval=1.0, file=sys.stderr) as bar:
        try:
            while (status := run.status()).state in runs.ALIVE:
                bar.total, bar.n = status.steps, status.step
                bar.set_description(status.words, refresh=False)
                bar.refresh()
                time.sleep(0.5)
        except KeyboardInterrupt:
            runs.stop(run)
            status = run.status()
    return status


def _rehearse(arguments: argparse.Namespace) -> int:
    from fer import bundle, rehearsal

    shell.use_all_cores()
    made = rehearsal.build(
        bundle.load(), arguments.data, progress=lambda batches: shell.progress(batches, "batch", shown=not arguments.json)
    )
    rehearsal.save(made, rehearsal.FILE)
    faces = {side: len(one) for side, one in made.sides.items()}
    said = {"file": str(rehearsal.FILE), "bytes": rehearsal.FILE.stat().st_size, "point": made.point, **faces}
    print(json.dumps(said) if arguments.json else ", ".join(f"{key} {value}" for key, value in said.items()))
    return 0
