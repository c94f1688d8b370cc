"""``python -m fer evaluate``, ``card``, ``bench`` and ``screenshots``: what is said of a model and of the app."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fer.commands import shell


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
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

    _add_bench(commands)

    screenshots = commands.add_parser("screenshots", help="take the pictures of the README of the running app")
    screenshots.add_argument("--out", metavar="DIR", help="default: where the README looks for them")
    screenshots.set_defaults(run=_screenshots)

    shell.add_model(evaluate, "the workspace's active one, at first the one that ships")
    shell.add_model(card, "the one that ships")
    for command in (evaluate, card):
        shell.add_workspace(command)
    shell.add_json(evaluate)


def _add_bench(commands: argparse._SubParsersAction) -> None:
    bench = commands.add_parser("bench", help="the figures of the README")
    bench.add_argument(
        "what",
        choices=("beside", "continual", "crop", "errors", "live", "queue", "soak", "start", "store"),
        help="beside: how much slower a photo is answered during a fine-tune; continual: what corrections teach and what is forgotten; "
        "crop: faces through the detector against faces fed directly; "
        "errors: how well wrong labels are found; live: frame rate and latency in a browser; "
        "queue: what the review queue's order is worth against random; soak: ten thousand frames, does the app grow; "
        "start: seconds to the page, memory; store: latency with twenty people on 100,000 faces",
    )
    bench.add_argument("--data", metavar="KIND:PATH", help="for beside, continual, crop, errors, queue and store: the data set, such as ferplus:FOLDER")
    bench.add_argument(
        "--limit", type=int, default=0, help="this many faces (crop, store), frames (soak) or seeds (continual, queue); 0 is all"
    )
    bench.add_argument(
        "--init", default="imagenet", metavar="FILE|imagenet", help="for queue: weights of the network that makes features"
    )
    bench.set_defaults(run=_bench)
    shell.add_model(bench, "the one that ships")
    shell.add_workspace(bench)
    shell.add_json(bench)


def _evaluate(arguments: argparse.Namespace) -> int:
    from fer import datasets, evaluate
    from fer.duplicates import near_copies
    from fer.files import replace_text

    faces = datasets.load(arguments.data, arguments.split).for_evaluation()
    if len(faces) == 0:
        raise datasets.DataError(f"no face of the {arguments.split} split of {arguments.data} counts in its protocol")
    bundle = shell.recognizer(shell.model(arguments)).bundle
    shell.use_all_cores()
    if bundle.classes != faces.classes:
        raise ValueError(f"{bundle.version} has the classes {', '.join(bundle.classes)}, the data {', '.join(faces.classes)}")
    logits = evaluate.read_logits(
        bundle.network, bundle.preprocess, faces, lambda batches: shell.progress(batches, "batch", shown=not arguments.json)
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


def _card(arguments: argparse.Namespace) -> int:
    from fer import bundle, card
    from fer.files import replace_text

    folder = shell.named(shell.registry(arguments), arguments.model) if arguments.model else bundle.SHIPPED
    text = card.write_card(bundle.load(folder), card.read_reports(folder), arguments.data)
    replace_text(folder / bundle.CARD, text)
    print(f"{folder / bundle.CARD} is written")
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from fer.bench import BENCHES

    if arguments.model:
        arguments.model = str(shell.named(shell.registry(arguments), arguments.model))
    answer = BENCHES[arguments.what](arguments, lambda items: shell.progress(items, "step", shown=not arguments.json))
    print(json.dumps(answer) if arguments.json else "\n".join(f"{key}: {value}" for key, value in answer.items()))
    return 0


def _screenshots(arguments: argparse.Namespace) -> int:
    from fer import screenshots

    for path in screenshots.take(Path(arguments.out) if arguments.out else screenshots.FOLDER):
        print(path)
    return 0
