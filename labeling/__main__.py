"""The command line: ``python -m labeling stats | withdraw``; ``--help`` says more. Needs no torch."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 something could not be done, 2 wrong usage."""
    parsed = _parser().parse_args(arguments)
    try:
        answer = parsed.run(parsed)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if parsed.json else parsed.words(answer))
    return 0


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


# --- withdraw -----------------------------------------------------------------------------------


def _withdraw(arguments: argparse.Namespace) -> dict:
    return {"faces": _store(arguments).withdraw(arguments.code)}


def _withdraw_in_words(answer: dict) -> str:
    return f"removed for good: {answer['faces']} face{'s' if answer['faces'] != 1 else ''}, with all labels on them"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m labeling", description="People's labels: count, hand out, withdraw.")
    commands = parser.add_subparsers(dest="command", required=True)

    stats = commands.add_parser("stats", help="how many faces and labels there are, and how far people agree")
    stats.set_defaults(run=_stats, words=_stats_in_words)

    withdraw = commands.add_parser("withdraw", help="remove for good what was given under a withdrawal code")
    withdraw.add_argument("code", metavar="CODE")
    withdraw.set_defaults(run=_withdraw, words=_withdraw_in_words)

    for command in (stats, withdraw):
        command.add_argument(
            "--workspace", type=Path, default=Path(os.environ.get("FER_WORKSPACE", "workspace")), metavar="DIR",
            help="the folder the app uses (default: ./workspace, or FER_WORKSPACE)",
        )  # fmt: skip
        command.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else there")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
