"""``python -m fer models`` and ``compare``: the versions of a workspace, which of them serves, what each can do."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from fer.commands import shell

if TYPE_CHECKING:
    from fer.registry import ModelVersion, Registry


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    compare = commands.add_parser("compare", help="two models on the same faces, or reports side by side")
    compare.add_argument("what", nargs="+", metavar="VERSION|REPORT", help="two versions or model folders, the older first; "
                         "or report files that evaluate wrote with --out")  # fmt: skip
    compare.add_argument("--data", metavar="KIND:PATH", help="faces for both (default: the workspace's newest snapshot)")
    compare.add_argument("--split", default="held-out", choices=("held-out", "train", "val", "test", "all"),
                         help="which faces (default: held-out, that is val and test)")  # fmt: skip
    compare.set_defaults(run=_compare)

    models = commands.add_parser("models", help="the models of a workspace; which of them serves")
    models.add_argument("action", nargs="?", default="list", choices=("list", "promote", "rollback"),
                        help="list them (default), make one the active one, or go back to the one before")  # fmt: skip
    models.add_argument("version", nargs="?", metavar="VERSION", help="for promote: a version, its beginning, or shipped")
    models.add_argument("--who", default=shell.login(), metavar="NAME", help="who does it (default: your login name)")
    models.add_argument("--why", default="", metavar="TEXT", help="why, for the history")
    models.add_argument("--anyway", action="store_true", help="promote although the comparison does not speak for it")
    models.set_defaults(run=_models)
    for command in (compare, models):
        shell.add_workspace(command)
        shell.add_json(command)


# --- compare ------------------------------------------------------------------------------------


def _compare(arguments: argparse.Namespace) -> int:
    reports = [path for path in arguments.what if path.endswith(".json")]
    if reports:
        if len(reports) < len(arguments.what) or len(reports) < 2:
            raise shell.UsageError("give report files alone, two or more, or two versions")
        return _compare_reports([Path(path) for path in reports], arguments.json)
    if len(arguments.what) != 2:
        raise shell.UsageError(f"two models can be compared, not {len(arguments.what)}; give the older one first")
    return _compare_versions(arguments)


def _compare_reports(paths: list[Path], as_json: bool) -> int:
    from fer.comparison import ComparisonError, side_by_side

    try:
        reports = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    except ValueError as error:
        raise ComparisonError(f"one of {', '.join(map(str, paths))} is not valid JSON ({error})") from error
    table = side_by_side(reports)
    print("\n".join(map(json.dumps, reports)) if as_json else table)
    return 0


def _compare_versions(arguments: argparse.Namespace) -> int:
    from fer import bundle, trial

    before, after = (bundle.load(shell.registry(arguments).folder(one)) for one in arguments.what)
    source = arguments.data or _newest_snapshot(arguments.workspace)
    shell.use_all_cores()
    tried = trial.try_both(
        before, after, source, arguments.split, lambda batches: shell.progress(batches, "batch", shown=not arguments.json)
    )
    print(json.dumps(tried.as_dict()) if arguments.json else tried.in_words())
    return 0


def _newest_snapshot(workspace: Path) -> str:
    """The newest usable snapshot of the workspace as a data source. Raises UsageError where there is none."""
    taken = [one for one in workspace.glob("snapshots/[!.]*/manifest.jsonl") if not (one.parent / "WITHDRAWN.json").exists()]
    if not taken:
        raise shell.UsageError(f"{workspace} has no snapshot to compare on; take one, or say on which faces with --data KIND:PATH")
    return f"snapshot:{max(taken, key=lambda one: one.stat().st_mtime).parent}"


# --- models -------------------------------------------------------------------------------------


def _models(arguments: argparse.Namespace) -> int:
    if (arguments.version is None) == (arguments.action == "promote"):
        raise shell.UsageError("give the version after promote, and after nothing else, such as: models promote VERSION")
    if arguments.anyway and not arguments.why:
        raise shell.UsageError("--anyway needs a reason, which the history keeps: add --why TEXT")
    action = {"list": _list_models, "promote": _promote, "rollback": _rollback}[arguments.action]
    return action(arguments, shell.registry(arguments))


def _list_models(arguments: argparse.Namespace, registry: Registry) -> int:
    for one in registry.versions():
        print(json.dumps(one.as_dict()) if arguments.json else _model_in_words(one))
    shell.warn(registry.warning())
    return 0


def _promote(arguments: argparse.Namespace, registry: Registry) -> int:
    from fer.registry import RegistryError

    version = registry.find(arguments.version)
    if registry.points_to(version):
        return _promoted(arguments, version, f"{version.version} is active already; nothing was changed")
    misgiving = None if arguments.anyway else registry.misgiving(version)
    if misgiving:
        raise RegistryError(f"{misgiving} To promote it all the same, add --anyway --why TEXT.")
    version = registry.promote(version.version, arguments.who, arguments.why)
    return _promoted(arguments, version, f"{version.version} is active now; an app that runs switches within seconds")


def _rollback(arguments: argparse.Namespace, registry: Registry) -> int:
    version = registry.rollback(arguments.who, arguments.why)
    return _promoted(arguments, version, f"{version.version} is active again; an app that runs switches within seconds")


def _promoted(arguments: argparse.Namespace, version: ModelVersion, words: str) -> int:
    print(json.dumps(version.as_dict()) if arguments.json else words)
    if version.withdrawn:
        shell.warn(f"{version.version} has learned from faces that were withdrawn since; train a new model when you can.")
    return 0


def _model_in_words(one: ModelVersion) -> str:
    figures = [f"{name} {figure['accuracy']:.1%}" for name, figure in one.figures.items() if "accuracy" in figure]
    marks = ["active"] * one.active + ["shipped"] * one.shipped + ["learned from withdrawn faces"] * one.withdrawn
    marks += [f"damaged: {one.damaged}"] if one.damaged else []
    parts = [one.date and one.date[:10], one.parent and f"from {one.parent}", ", ".join(figures), *marks]
    return f"{'*' if one.active else ' '} {one.version}: {'; '.join(part for part in parts if part)}"
