"""What the commands share with the shell they run in: flags, the models they name, progress and warnings."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer.registry import Registry


class UsageError(ValueError):
    """The command cannot run as given; the message is one sentence saying what to change."""


def add_model(parser: argparse.ArgumentParser, default: str) -> None:
    """The flag that names a model; without it `default`."""
    parser.add_argument(
        "--model", metavar="VERSION|DIR|hub:USER/NAME[@REVISION]",
        help=f"a version, a model folder, or a model on the Hub, which is fetched once (default: {default})",
    )  # fmt: skip


def add_workspace(parser: argparse.ArgumentParser) -> None:
    """The flag that names the workspace."""
    parser.add_argument(
        "--workspace", type=Path, default=Path(os.environ.get("FER_WORKSPACE") or "workspace"), metavar="DIR",
        help="the app's folder, where versions are (default: ./workspace, or FER_WORKSPACE)",
    )  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    """The flag for programs that read what the command prints."""
    parser.add_argument("--json", action="store_true", help="machine-readable lines on stdout, nothing else there")


def registry(arguments: argparse.Namespace) -> Registry:
    """The models of ``--workspace``."""
    from fer.registry import Registry

    return Registry(arguments.workspace / "models")


def model(arguments: argparse.Namespace) -> Path:
    """The folder of ``--model``, or else of the workspace's active model; says on stderr which, unless it ships."""
    models = registry(arguments)
    if arguments.model:
        return named(models, arguments.model)
    active = models.active()
    warn(models.warning())
    if not active.shipped:
        print(f"model {active.version}, the active one of {arguments.workspace}", file=sys.stderr)
    return active.folder


def named(models: Registry, model: str) -> Path:
    """The folder of `model`: a version, a folder, or ``hub:USER/NAME[@REVISION]``; warns where the Hub could not be asked."""
    from fer import exchange

    folder, warning = exchange.chosen(models, model)
    warn(warning)
    return folder


def login() -> str:
    """The name of who sits at the shell."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run as a user without a name
        return "somebody in the shell"


def recognizer(model: Path):
    """The model in the folder `model`, reading as it does in the app."""
    import torch

    from fer.predict import Recognizer

    torch.set_num_threads(1)  # as in the app; a second thread gains little and starves on shared cores
    return Recognizer.load(model)


def use_all_cores() -> None:
    """For commands that read thousands of faces."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)


def progress(items: Iterable, unit: str, shown: bool) -> Iterable:
    """`items`, with a bar on stderr if it is to be `shown`."""
    from tqdm import tqdm

    return tqdm(items, unit=unit, disable=not shown, mininterval=1.0, file=sys.stderr)


def warn(sentence: str | None) -> None:
    """Say `sentence`, if there is one, on stderr."""
    if sentence:
        print(f"warning: {sentence}", file=sys.stderr)
