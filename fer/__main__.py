"""The command line: ``python -m fer predict | train | evaluate | …``; ``--help`` says more. The commands are in `fer.commands`."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from fer.commands import figures, models, predict, training
from fer.commands.shell import UsageError

# Before torch is imported: waiting OpenMP threads that spin starve each other on shared cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fer", description="Facial expressions: read, train, evaluate.")
    commands = parser.add_subparsers(dest="command", required=True)
    for about in (predict, training, models, figures):
        about.add(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
