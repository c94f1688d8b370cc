"""The command line: ``python -m fer predict | train | evaluate | card | bench | screenshots``; ``--help`` says more."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path

# Before torch is imported: waiting OpenMP threads that spin starve each other on shared cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SHIPPED = Path(__file__).parent / "weights"


class UsageError(ValueError):
    """The command cannot run as given; the message is one sentence saying what to change."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 something could not be read or done, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return parsed.run(parsed)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, ArithmeticError) as error:
        # What a person can cause comes as one of these with its own sentence; anything else is a bug.
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; a training run goes on where it was with the same command", file=sys.stderr)
        return 130


# --- predict ------------------------------------------------------------------------------------


def _predict(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    pictures = list(_pictures(arguments.paths))
    recognizer = _recognizer(arguments.model)
    from fer.picture import UnreadablePicture

    failed = 0
    for path in _progress(pictures, "picture", shown=len(pictures) > 1 and not arguments.json):
        try:
            answer = recognizer.read(path).as_dict(path.name)
        except UnreadablePicture as error:
            failed += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
            answer = {"image": path.name, "error": str(error)}
        if arguments.json:
            print(json.dumps(answer), flush=True)
        elif "error" not in answer:
            tqdm.write(_in_words(answer), file=sys.stdout)  # above the progress bar, not through it
    return 1 if failed else 0


def _pictures(paths: list[str]) -> Iterable[Path]:
    """The files among `paths` and the pictures in the folders among them, in order. Raises UsageError."""
    from fer.picture import SUFFIXES

    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file() and one.suffix.lower() in SUFFIXES)
            if not inside:
                raise UsageError(f"the folder {path} has no pictures ({', '.join(SUFFIXES)})")
            yield from inside
        else:
            yield path


def _in_words(answer: dict) -> str:
    lines = [f"{answer['image']}: {len(answer['faces']) or 'no'} face{'s' if len(answer['faces']) != 1 else ''}"]
    for face in answer["faces"]:
        left, top, right, bottom = (round(value) for value in face["box"])
        others = sorted(face["scores"].items(), key=lambda item: -item[1])[1:3]
        rest = ", ".join(f"{name} {score:.0%}" for name, score in others)
        doubts = ["unclear"] * face["unclear"] + [remark["code"] for remark in face["remarks"]]
        lines.append(
            f"  {face['expression']} {face['confidence']:.0%} ({rest}) at x {left}–{right}, y {top}–{bottom}"
            + (f": {', '.join(doubts)}" if doubts else "")
        )
    return "\n".join(lines)


# --- train --------------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace) -> int:
    from fer.config import TrainConfig
    from fer.flags import from_flags
    from fer.train import train

    if not arguments.data:
        raise UsageError("--data is missing; say what to train on, such as --data ferplus:FOLDER")
    config = from_flags(TrainConfig, arguments)
    out = Path(arguments.out)
    result = train(config, out, lambda steps: _progress(steps, "step", shown=not arguments.json))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    if arguments.json:
        print(json.dumps({"version": result.version, "bundle": str(out / "bundle"), "val": report}))
    else:
        print(f"{result.version} is in {out / 'bundle'}: validation accuracy {report['accuracy']:.3f}, "
              f"macro-F1 {report['macro_f1']:.3f} on {report['n']} faces")  # fmt: skip
    return 0


# --- evaluate -----------------------------------------------------------------------------------


def _evaluate(arguments: argparse.Namespace) -> int:
    from fer import datasets, evaluate
    from fer.duplicates import near_copies
    from fer.files import replace_text

    faces = datasets.load(arguments.data, arguments.split).for_evaluation()
    if len(faces) == 0:
        raise datasets.DataError(f"no face of the {arguments.split} split of {arguments.data} counts in its protocol")
    bundle = _recognizer(arguments.model).bundle
    _use_all_cores()
    if bundle.classes != faces.classes:
        raise ValueError(f"{bundle.version} has the classes {', '.join(bundle.classes)}, the data {', '.join(faces.classes)}")
    logits = evaluate.read_logits(
        bundle.network, bundle.preprocess, faces, lambda batches: _progress(batches, "batch", shown=not arguments.json)
    )
    copies = None
    if arguments.split in ("val", "test"):
        try:
            copies = near_copies(faces, datasets.load(arguments.data, "train"))
        except datasets.DataError as error:
            print(f"near copies of training faces were not looked for: {error}", file=sys.stderr)
    report = evaluate.report(
        logits, faces, model=bundle.version, temperature=bundle.temperature,
        classes=_classes(arguments.classes), copies=copies,
    )  # fmt: skip
    if arguments.out:
        from fer.plots import draw_report

        replace_text(Path(arguments.out) / f"report-{arguments.split}.json", report.as_json() + "\n")
        draw_report(report, Path(arguments.out) / f"report-{arguments.split}.png")
    print(report.as_json() if arguments.json else report.in_words())
    return 0


def _classes(text: str | None) -> tuple[str, ...] | None:
    from fer.emotions import CLASSES, SEVEN_CLASSES, canonical

    if text is None:
        return None
    return {"8": CLASSES, "7": SEVEN_CLASSES}.get(text) or tuple(
        dict.fromkeys(canonical(name) for name in text.split(","))
    )


# --- card ---------------------------------------------------------------------------------------


def _card(arguments: argparse.Namespace) -> int:
    from fer import bundle, card
    from fer.files import replace_text

    folder = Path(arguments.model or SHIPPED)
    text = card.write_card(bundle.load(folder), card.read_reports(folder), arguments.data)
    replace_text(folder / bundle.CARD, text)
    print(f"{folder / bundle.CARD} is written")
    return 0


# --- bench --------------------------------------------------------------------------------------


def _bench(arguments: argparse.Namespace) -> int:
    from fer.bench import BENCHES

    answer = BENCHES[arguments.what](arguments, lambda items: _progress(items, "step", shown=not arguments.json))
    print(json.dumps(answer) if arguments.json else "\n".join(f"{key}: {value}" for key, value in answer.items()))
    return 0


# --- screenshots --------------------------------------------------------------------------------


def _screenshots(arguments: argparse.Namespace) -> int:
    from fer import screenshots

    for path in screenshots.take(Path(arguments.out) if arguments.out else screenshots.FOLDER):
        print(path)
    return 0


# --- shared -------------------------------------------------------------------------------------


def _recognizer(model: str | None):
    import torch

    from fer.predict import Recognizer

    torch.set_num_threads(1)  # as in the app; a second thread gains little and starves on shared cores
    return Recognizer.load(model or SHIPPED)


def _use_all_cores() -> None:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)


def _progress(items: Iterable, unit: str, shown: bool) -> Iterable:
    from tqdm import tqdm

    return tqdm(items, unit=unit, disable=not shown, mininterval=1.0, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    from fer.config import TrainConfig
    from fer.flags import add_flags

    parser = argparse.ArgumentParser(prog="python -m fer", description="Facial expressions: read, train, evaluate.")
    commands = parser.add_subparsers(dest="command", required=True)

    predict = commands.add_parser("predict", help="the faces of pictures and the expression each shows")
    predict.add_argument("paths", nargs="+", metavar="PATH", help="a picture, or a folder of pictures")
    predict.set_defaults(run=_predict)

    train = commands.add_parser("train", help="fine-tune a network; the same command goes on after a stop")
    add_flags(train, TrainConfig)
    train.add_argument("--out", required=True, metavar="DIR", help="folder of the run: checkpoint, metrics, bundle")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="accuracy, F1, confusion and calibration on labelled faces")
    evaluate.add_argument("--data", required=True, metavar="KIND:PATH", help="such as ferplus:FOLDER or folder:FOLDER")
    evaluate.add_argument(
        "--split", default="test", choices=("train", "val", "test", "all"), help="which faces (default: test)"
    )
    evaluate.add_argument("--classes", metavar="8|7|NAME,…", help="limit the protocol to these (default: all eight)")
    evaluate.add_argument("--out", metavar="DIR", help="also write report-SPLIT.json and report-SPLIT.png here")
    evaluate.set_defaults(run=_evaluate)

    card = commands.add_parser("card", help="write a model's card.md from its provenance and its reports")
    card.add_argument("--data", required=True, metavar="TEXT", help="where the training data come from, in words")
    card.set_defaults(run=_card)

    bench = commands.add_parser("bench", help="the figures of the README")
    bench.add_argument(
        "what",
        choices=("crop", "errors", "live", "queue", "soak", "start", "store"),
        help="crop: faces through the detector against faces fed directly; errors: how well wrong labels are found; live: frame rate and latency in a browser; "
        "queue: what the review queue's order is worth against random; soak: ten thousand frames, does the app grow; "
        "start: seconds to the page, memory; store: latency with twenty people on 100,000 faces",
    )
    bench.add_argument("--data", metavar="KIND:PATH", help="for crop, queue and store: the data set, such as ferplus:FOLDER")
    bench.add_argument(
        "--limit", type=int, default=0, help="this many faces (crop, store), frames (soak) or seeds (queue); 0 is all"
    )
    bench.add_argument(
        "--init", default="imagenet", metavar="FILE|imagenet", help="for queue: weights of the network that makes features"
    )
    bench.set_defaults(run=_bench)

    screenshots = commands.add_parser("screenshots", help="take the pictures of the README of the running app")
    screenshots.add_argument("--out", metavar="DIR", help="default: where the README looks for them")
    screenshots.set_defaults(run=_screenshots)

    for command in (predict, evaluate, card, bench):
        command.add_argument("--model", metavar="DIR", help="model folder (default: the one that ships)")
    for command in (predict, train, evaluate, bench):
        command.add_argument("--json", action="store_true", help="machine-readable lines on stdout, nothing else there")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
