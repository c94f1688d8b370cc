"""The command line: ``python -m labeling stats | import | export | snapshot | withdraw | sync``; ``--help`` says more.

Needs no torch, but for photos, which have to be cut into faces.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 something could not be done, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
    parsed = _parser().parse_args(arguments)
    try:
        answer = parsed.run(parsed)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what an import has brought is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    print(json.dumps(parsed.plain(answer)) if parsed.json else parsed.words(answer))
    return 1 if getattr(answer, "problem", None) else 0


def _store(arguments: argparse.Namespace):
    from labeling.store import LabelStore

    folder = arguments.workspace / "labels"
    if not (folder / "labels.db").is_file():
        raise ValueError(f"{arguments.workspace} holds no labels; name the folder the app uses with --workspace")
    return LabelStore(folder)


# --- stats --------------------------------------------------------------------------------------


def _stats(arguments: argparse.Namespace) -> dict:
    from labeling.queue import ReviewQueue

    return ReviewQueue(_store(arguments)).statistics(wait=True)


def _stats_in_words(answer: dict) -> str:
    alpha = answer["agreement"].get("alpha")
    lines = [
        f"{answer['labelled']} of {answer['faces']} faces have a label; "
        f"{answer['labels_without_picture']} labels were given without a picture",
        "by label: " + ", ".join(f"{name} {count}" for name, count in answer["by_label"].items()),
        "by annotator: " + (", ".join(f"{name} {count}" for name, count in answer["by_annotator"].items()) or "nobody yet"),
        "agreement (Krippendorff's alpha): " + ("too few faces with two labels" if alpha is None else
                                                f"{alpha:.3f} on {answer['agreement']['items']} faces"),
    ]  # fmt: skip
    return "\n".join(lines)


# --- import, export -----------------------------------------------------------------------------


class _Cutter:
    """`fer.cutter.Cutter` with the model that ships, made when the first photo asks for it."""

    @cached_property
    def _made(self):
        # Before torch is imported: a second thread gains little and starves on shared cores.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        from fer import bundle
        from fer.cutter import Cutter

        return Cutter(bundle.load(bundle.SHIPPED).preprocess)

    def open(self, content: bytes):
        return self._made.open(content)

    def faces(self, image):
        return self._made.faces(image)

    def crop(self, image, box, landmarks):
        return self._made.crop(image, box, landmarks)


def _import(arguments: argparse.Namespace):
    from labeling import exchange
    from labeling.store import LabelStore

    store = LabelStore(arguments.workspace / "labels")
    try:
        return exchange.bring_in(store, arguments.source, _Cutter(), _progress)
    finally:
        store.close()


def _export(arguments: argparse.Namespace):
    from labeling import exchange

    return exchange.export(_store(arguments), arguments.target, _Cutter(), _progress)


def _progress(many: Iterable) -> Iterable:
    from tqdm import tqdm

    return tqdm(many, unit="face", mininterval=1.0, file=sys.stderr)


# --- snapshot -----------------------------------------------------------------------------------


def _snapshot(arguments: argparse.Namespace) -> dict:
    from labeling.snapshot import take

    return take(_store(arguments), arguments.out or arguments.workspace / "snapshots").as_dict()


def _snapshot_in_words(answer: dict) -> str:
    words = f"{answer['train']} faces to train on, {answer['val']} to choose by, {answer['test']} to test on"
    if answer["left_out"]:
        words += f"; {answer['left_out']} near copies of held-out faces are left out"
    if answer.get("held"):
        words += f"; {answer['held']} labels of newcomers are not in it until others agree"
    return f"{words}\nuse it as snapshot:{answer['folder']}"


# --- withdraw -----------------------------------------------------------------------------------


def _withdraw(arguments: argparse.Namespace) -> dict:
    from labeling.withdrawal import withdraw

    return withdraw(arguments.workspace, _store(arguments), arguments.code).as_dict()


def _withdraw_in_words(answer: dict) -> str:
    words = f"removed for good: {answer['faces']} face{'s' if answer['faces'] != 1 else ''}, with all labels on them"
    if answer["snapshots"]:
        words += f"; also from the snapshots {', '.join(answer['snapshots'])}, which can no longer be trained on"
    if answer["models"]:
        words += f"; these models were trained on them and keep what they learned: {', '.join(answer['models'])}"
    return words


# --- sync ---------------------------------------------------------------------------------------


def _sync(arguments: argparse.Namespace):
    from fer.hub import LabelRepository
    from labeling.store import LabelStore
    from labeling.sync import Sync

    if not arguments.repository:
        raise ValueError("there is no repository to sync with; name one with --repository USER/NAME or FER_LABELS_REPO")
    repository = LabelRepository(arguments.repository)
    store = LabelStore(arguments.workspace / "labels")
    try:
        done = Sync(store, repository, arguments.workspace).once()
    finally:
        store.close()
    if done.problem:
        print(f"error: {done.problem}", file=sys.stderr)
    return done


def _sync_in_words(done) -> str:
    words = f"{done.repository}: {done.faces} faces and {done.labels} labels came, {done.sent} went, {done.waiting} wait"
    if done.removed:
        words += f"; {done.removed} withdrawn elsewhere were removed here"
    return words + "".join(f"\n{name} cannot be read and was left alone" for name in done.damaged)


def _parser() -> argparse.ArgumentParser:
    words = "People's labels: count, bring in, give away, withdraw."
    parser = argparse.ArgumentParser(prog="python -m labeling", description=words)
    commands = parser.add_subparsers(dest="command", required=True)

    stats = commands.add_parser("stats", help="how many faces and labels there are, and how far people agree")
    stats.set_defaults(run=_stats, words=_stats_in_words)

    bring_in = commands.add_parser("import", help="bring in faces and labels from files")
    bring_in.add_argument(
        "source", metavar="SOURCE", help="a folder, a zip or a file, or KIND:PATH with KIND one of ferplus, fer2013, "
        "csv, labelstudio, hf, folder, zip, photo, video",
    )  # fmt: skip
    bring_in.set_defaults(run=_import, words=lambda report: report.in_words(), plain=lambda report: report.as_dict())

    export = commands.add_parser("export", help="write faces and labels to a new folder")
    export.add_argument("target", metavar="KIND:PATH", help="KIND: ferplus, fer2013, csv, labelstudio, hf or folder")
    export.set_defaults(run=_export, words=lambda report: report.in_words(), plain=lambda report: report.as_dict())

    snapshot = commands.add_parser("snapshot", help="write down what training is given: pictures, votes, sides, checksums")
    snapshot.add_argument("--out", type=Path, metavar="DIR", help="where (default: snapshots/ in the workspace)")
    snapshot.set_defaults(run=_snapshot, words=_snapshot_in_words)

    withdraw = commands.add_parser("withdraw", help="remove for good what was given under a withdrawal code")
    withdraw.add_argument("code", metavar="CODE")
    withdraw.set_defaults(run=_withdraw, words=_withdraw_in_words)

    sync = commands.add_parser("sync", help="send what is new to a private repository on the Hub, and read what is new there")
    sync.add_argument(
        "--repository", metavar="USER/NAME", default=os.environ.get("FER_LABELS_REPO"),
        help="a data set repository, made (private) where there is none; the token is HF_TOKEN's (default: FER_LABELS_REPO)",
    )  # fmt: skip
    sync.set_defaults(run=_sync, words=_sync_in_words, plain=lambda done: done.as_dict())

    for command in (stats, bring_in, export, snapshot, withdraw, sync):
        command.add_argument(
            "--workspace", type=Path, default=Path(os.environ.get("FER_WORKSPACE", "workspace")), metavar="DIR",
            help="the folder the app uses (default: ./workspace, or FER_WORKSPACE)",
        )  # fmt: skip
        command.set_defaults(plain=command.get_default("plain") or dict)
        command.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else there")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
