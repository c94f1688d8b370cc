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
    from fer.remote import Order
    from fer.run_folder import RunStatus
    from fer.runs import Run
    from fer.workshop import Workshop


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
    finetune.add_argument("--on", metavar="jobs:FLAVOR", help="train on a machine of Hugging Face Jobs, such as jobs:cpu-upgrade; "
                          "says what that costs, and asks")  # fmt: skip
    finetune.add_argument("--yes", action="store_true", help="with --on: agree to the price without being asked")
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
    flavor = _flavor(arguments)
    workshop = Workshop(arguments.workspace)
    folder = Path(os.path.expanduser(arguments.data.partition(":")[2])) if arguments.data else _snapshot(arguments.workspace)
    base = str(shell.named(workshop.registry, arguments.base)) if arguments.base else None
    order = _order(arguments, workshop, folder, base, flavor) if flavor else None
    if flavor and not order:
        print("nothing was sent", file=sys.stderr)
        return 1
    run = workshop.start(folder, arguments.speed, base, arguments.promote, arguments.rehearsal, arguments.seed, order)
    print(f"the run {run.id} has started; its log is {run.paths.log}", file=sys.stderr)
    status = _followed(run, shown=not arguments.json)
    if order and status.state in ("finished", "stopped"):
        from fer import remote

        shell.warn(remote.tidy(run))  # mostly its own process has done so
    if status.state != "finished":
        print(f"error: {status.error or f'the run is {status.state}'}", file=sys.stderr)
        return 130 if status.state == "stopped" else 1
    report = run.report() or {}
    active = workshop.registry.active().version == report["version"]
    if arguments.json:
        print(json.dumps({**report, "run": run.id, "active": active}))
    else:
        if order:
            print(f"the job took {report['job_seconds'] / 60:.1f} minutes, about {remote.money(report['dollars'])}")
        print(f"{report['verdict']['words']}\n{report['version']} is {'active now' if active else 'kept'}; see it in the app, or:")
        print(f"    python -m fer models {'rollback' if active else 'promote ' + report['version']}")
    return 0


def _flavor(arguments: argparse.Namespace) -> str | None:
    """What follows ``--on jobs:``; None without --on. Raises UsageError."""
    if arguments.on is None:
        if arguments.yes:
            raise shell.UsageError("--yes agrees to the price of --on jobs:FLAVOR; without --on nothing costs anything")
        return None
    kind, _, flavor = arguments.on.partition(":")
    if kind != "jobs" or not flavor:
        raise shell.UsageError(f"“{arguments.on}” is not jobs:FLAVOR, such as --on jobs:cpu-upgrade")
    if not arguments.yes and not sys.stdin.isatty():
        raise shell.UsageError("nobody is here to agree to the price; add --yes, which agrees to it")
    return flavor


def _order(arguments: argparse.Namespace, workshop: Workshop, snapshot: Path, base: str | None, flavor: str) -> Order | None:
    """What is ordered, once somebody agreed to its price; None where nobody did."""
    from fer import bundle, finetune, rehearsal, remote
    from fer.hub import Jobs

    jobs = Jobs()
    price, user = jobs.price(flavor), jobs.user()
    faces = finetune.read_faces(f"snapshot:{snapshot}")  # what is refused here costs nothing
    begins = bundle.load(base or workshop.registry.active().folder)
    if not arguments.rehearsal:
        rehearsal.read().check(begins)
    count = len(faces.learn) + (len(faces.held_out) if faces.held_out else 0)
    order = remote.Order.of(price, workshop.estimated_seconds(arguments.speed, count))
    print(order.in_words(), file=sys.stderr)
    sent = f"{count} faces with their labels{', those to rehearse on' * bool(arguments.rehearsal)}, the model and the program"
    print(f"{sent} go to a private repository of {user} on the Hub, which is deleted when the job is over.", file=sys.stderr)
    if price.accelerator:
        shell.warn(f"a fine-tune computes on processors; the {price.accelerator} of {flavor} would be paid for and not be used.")
    if arguments.yes:
        return order
    print("Start? [y/N] ", end="", file=sys.stderr, flush=True)
    return order if sys.stdin.readline().strip().lower() in ("y", "yes") else None


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
