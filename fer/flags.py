"""Command-line flags generated from the fields of a frozen dataclass, so that the two cannot drift apart."""

from __future__ import annotations

import argparse
from dataclasses import field, fields
from typing import Any


def option(default: Any, help: str) -> Any:
    """A dataclass field with `default`, whose `help` (with its unit or range) also becomes the flag's."""
    return field(default=default, metadata={"help": help})


def add_flags(parser: argparse.ArgumentParser, kind: type) -> None:
    """One flag per `option` of the dataclass `kind`: ``learning_rate`` becomes ``--learning-rate``."""
    for one in fields(kind):
        if "help" in one.metadata:
            parser.add_argument(
                "--" + one.name.replace("_", "-"),
                type=type(one.default),
                default=one.default,
                help=f"{one.metadata['help']} (default: {one.default})",
            )


def from_flags(kind: type, arguments: argparse.Namespace, **others: Any) -> Any:
    """The dataclass `kind` filled from parsed `arguments`; `others` are the fields that are no flags."""
    values = {one.name: getattr(arguments, one.name) for one in fields(kind) if "help" in one.metadata}
    return kind(**values, **others)
