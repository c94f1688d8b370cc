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
    models.add_argument("action", nargs="?", default="list", choices=("list", "promote", "rollback", "push", "pull"),
                        help="list them (default), make one the active one, go back to the one before, or put one on the "
                        "Hugging Face Hub or fetch one from there")  # fmt: skip
    models.add_argument("what", nargs="?", metavar="VERSION|REPO[@REVISION]",
                        help="for promote: a version, its beginning, or shipped; for push and pull: a repository, USER/NAME")  # fmt: skip
    models.add_argument("--version", metavar="VERSION", help="which one to push (default: the active one)")
    models.add_argument("--public", action="store_true", help="for push: everybody may see the repository (default: private)")
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

    before, after = (bundle.load(shell.named(shell.registry(arguments), one)) for one in arguments.what)
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
    if arguments.action in ("push", "pull"):
        if arguments.what is None:
            raise shell.UsageError(f"say where on the Hub, such as: models {arguments.action} USER/NAME")
    elif (arguments.what is None) == (arguments.action == "promote"):
        raise shell.UsageError("give the version after promote, and after nothing else, such as: models promote VERSION")
    if arguments.action != "push" and (arguments.public or arguments.version):
        raise shell.UsageError("--public and --version belong to models push")
    if arguments.anyway and not arguments.why:
        raise shell.UsageError("--anyway needs a reason, which the history keeps: add --why TEXT")
    actions = {"list": _list_models, "promote": _promote, "rollback": _rollback, "push": _push, "pull": _pull}
    return actions[arguments.action](arguments, shell.registry(arguments))


def _list_models(arguments: argparse.Namespace, registry: Registry) -> int:
    for one in registry.versions():
        print(json.dumps(one.as_dict()) if arguments.json else _model_in_words(one))
    shell.warn(registry.warning())
    return 0


def _promote(arguments: argparse.Namespace, registry: Registry) -> int:
    from fer.registry import RegistryError

    version = registry.find(arguments.what)
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


def _push(arguments: argparse.Namespace, registry: Registry) -> int:
    from fer import exchange
    from fer.hub import HubError, ModelAddress, ModelRepository

    address = ModelAddress.parse(arguments.what)
    if "@" in arguments.what:
        raise HubError("A model is pushed to the end of a repository's history; give USER/NAME without a revision.")
    version = registry.find(arguments.version) if arguments.version else registry.active()
    pushed = exchange.push(registry, version.version, ModelRepository(address.repository), arguments.public)
    said = {"version": version.version, **pushed.as_dict()}
    seen_by = "you alone may see it" if pushed.private else "everybody may see it"
    words = f"{version.version} is at {pushed.address}, commit {pushed.commit}; {seen_by}"
    print(json.dumps(said) if arguments.json else f"{words}\n    python -m fer models pull {pushed.repository}@{pushed.commit}")
    if version.withdrawn:
        shell.warn(f"{version.version} has learned from faces that were withdrawn since; train a new model when you can.")
    if arguments.public and pushed.private:
        shell.warn(f"{pushed.repository} was private before, and stays so; its settings on the Hub can change that.")
    return 0


def _pull(arguments: argparse.Namespace, registry: Registry) -> int:
    from fer import exchange
    from fer.hub import ModelAddress

    pulled = exchange.pull(registry, ModelAddress.parse(arguments.what))
    name, here = pulled.version.version, "is here now" if pulled.new else "was here already"
    print(json.dumps(pulled.as_dict()) if arguments.json else f"{name} {here}, from {pulled.origin}; to use it:\n"
          f"    python -m fer models promote {name}")  # fmt: skip
    return 0


def _promoted(arguments: argparse.Namespace, version: ModelVersion, words: str) -> int:
    print(json.dumps(version.as_dict()) if arguments.json else words)
    if version.withdrawn:
        shell.warn(f"{version.version} has learned from faces that were withdrawn since; train a new model when you can.")
    return 0


def _model_in_words(one: ModelVersion) -> str:
    figures = [f"{name} {figure['accuracy']:.1%}" for name, figure in one.figures.items() if "accuracy" in figure]
    marks = ["active"] * one.active + ["shipped"] * one.shipped + ["learned from withdrawn faces"] * one.withdrawn
    marks += [f"damaged: {one.damaged}"] if one.damaged else []
    marks += [f"fetched from {one.origin}"] if one.origin else []
    parts = [one.date and one.date[:10], one.parent and f"from {one.parent}", ", ".join(figures), *marks]
    return f"{'*' if one.active else ' '} {one.version}: {'; '.join(part for part in parts if part)}"
