"""``python -m fer predict``: the faces of pictures and the expression each shows."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from fer.commands import shell


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    predict = commands.add_parser("predict", help="the faces of pictures and the expression each shows")
    predict.add_argument("paths", nargs="+", metavar="PATH", help="a picture, or a folder of pictures")
    shell.add_model(predict, "the workspace's active one, at first the one that ships")
    shell.add_workspace(predict)
    shell.add_json(predict)
    predict.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    pictures = list(_pictures(arguments.paths))
    recognizer = shell.recognizer(shell.model(arguments))
    from fer.picture import UnreadablePicture

    failed = 0
    for path in shell.progress(pictures, "picture", shown=len(pictures) > 1 and not arguments.json):
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
                raise shell.UsageError(f"the folder {path} has no pictures ({', '.join(SUFFIXES)})")
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
