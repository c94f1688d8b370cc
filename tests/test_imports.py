"""Who may import whom, read from the source."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGES = ("fer", "labeling")
SCREENS = ("app.py", "fer/ui/", "labeling/ui/")


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """The modules that the file `path` imports, each with whether it does so as the file is loaded."""
    found = []

    def visit(node: ast.AST, at_load: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[:-1]
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            found.extend((f"{base}.{alias.name}", at_load) for alias in node.names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, at_load and not inside and not typing_only)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return tuple(found)


def sources() -> list[Path]:
    """Every file of the product, without the tests."""
    return [ROOT / "app.py", *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def importers(module: str) -> set[str]:
    """The files that import `module` or something in it, at any time."""
    return {name(path) for path in sources() if any(f"{one}.".startswith(f"{module}.") for one, _ in imports(path))}


def modules_of(package: str) -> list[Path]:
    return [path for path in sources() if name(path).startswith(f"{package}/")]


def is_command(path: Path) -> bool:
    return path.name == "__main__.py" or path.parent.name in ("bench", "commands")


def test_gradio_is_imported_by_screens_only():
    found = importers("gradio")
    assert "app.py" in found and "fer/ui/try_tab.py" in found
    assert {one for one in found if not one.startswith(SCREENS)} == set()


def test_nothing_imports_the_gradio_client():
    assert importers("gradio_client") == set()


def test_the_hub_is_imported_by_one_file_only():
    assert importers("huggingface_hub") <= {"fer/hub.py"}


def test_nothing_imports_the_app():
    assert importers("app") == set()


def test_faces_and_models_do_not_know_of_labels():
    # The commands put the two together, and their benches measure the two together.
    knowing = {one for one in importers("labeling") if one.startswith("fer/")}
    assert {one for one in knowing if not one.startswith(("fer/bench/", "fer/commands/"))} == set()


def test_labels_know_of_faces_only_the_names_of_expressions():
    for path in modules_of("labeling"):
        if not is_command(path):
            known = [one for one, _ in imports(path) if f"{one}.".startswith("fer.")]
            assert all(f"{one}.".startswith("fer.emotions.") for one in known), (name(path), known)


def test_commands_that_put_the_two_together_do_so_inside_functions():
    for package, other in zip(PACKAGES, PACKAGES[::-1], strict=True):
        for path in filter(is_command, modules_of(package)):
            at_load = {one for one, loads in imports(path) if loads and f"{one}.".startswith(f"{other}.")}
            assert not {one for one in at_load if not f"{one}.".startswith("fer.emotions.")}, name(path)


@pytest.mark.parametrize("heavy", ["torch", "torchvision", "safetensors", "facenet_pytorch"])
def test_labels_never_import_torch_or_what_needs_it(heavy):
    found = importers(heavy)
    assert any(one.startswith("fer/") for one in found)
    assert {one for one in found if one.startswith("labeling/")} == set()


def test_libraries_do_not_import_screens_as_they_are_loaded():
    for path in sources():
        if not name(path).startswith(SCREENS):
            at_load = {one for one, loads in imports(path) if loads and one.startswith(("fer.ui", "labeling.ui"))}
            assert at_load == set(), name(path)


def known_module(dotted: str) -> Path | None:
    """The file of the product that the name `dotted` is, or lies in."""
    parts = dotted.split(".")
    if parts[0] not in PACKAGES:
        return None
    for length in (len(parts), len(parts) - 1):
        place = ROOT.joinpath(*parts[:length])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if length and path.is_file():
                return path
    return None


def test_imports_point_one_way():
    graph = {path: {known_module(one) for one, loads in imports(path) if loads} - {None, path} for path in sources()}
    assert any(graph.values())
    done: set[Path] = set()

    def walk(path: Path, way: tuple[Path, ...]) -> None:
        assert path not in way, "a circle: " + " -> ".join(map(name, (*way[way.index(path) :], path)))
        if path not in done:
            for target in graph[path]:
                walk(target, (*way, path))
            done.add(path)

    for path in graph:
        walk(path, ())


def test_figures_are_drawn_without_the_global_state_of_pyplot():
    assert importers("matplotlib") == {"fer/plots.py"}
    assert importers("matplotlib.pyplot") == set()


def test_no_file_is_called_by_what_is_no_noun():
    assert {path.stem for path in sources()}.isdisjoint({"utils", "util", "helpers", "common", "misc"})


def loaded_after(statement: str, *modules: str) -> set[str]:
    """Which of `modules` a fresh Python has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint(*(one for one in {modules!r} if one in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_names_runs_and_labels_load_without_torch_and_gradio():
    names = "fer, fer.emotions, fer.runs, fer.pulse, fer.registry, fer.workshop, labeling"
    assert loaded_after(f"import {names}", "torch", "gradio", "fer.emotions") == {"fer.emotions"}


def test_the_app_can_be_imported_without_torch():
    assert loaded_after("import app", "torch", "app") == {"app"}


def test_the_help_of_the_command_line_loads_no_torch():
    asked = "from contextlib import suppress\nfrom fer.__main__ import main\nwith suppress(SystemExit):\n    main(['train', '--help'])"
    assert loaded_after(f"{asked}\nprint('END')", "torch", "fer.commands") & {"torch", "fer.commands"} == {"fer.commands"}


WATCH = """
import importlib, os, sys
touched = set()

def watch(event, arguments):
    if event == "os.mkdir" or event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        touched.add(arguments[0])

sys.addaudithook(watch)
for module in sys.argv[1:]:
    importlib.import_module(module)
print(*(one for one in touched if isinstance(one, str) and (os.path.isfile(one) or os.path.isdir(one))))
"""


def test_importing_makes_no_file_and_no_folder(tmp_path):
    modules = [name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in sources()]
    places = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WATCH, *modules]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **places}, capture_output=True, text=True, timeout=120, check=True
    )
    assert len(modules) > 20 and done.stdout.split() == []
    assert list(tmp_path.iterdir()) == []


def test_every_name_the_package_offers_is_there():
    import fer

    for one in fer.__all__:
        assert getattr(fer, one).__name__ == one
    with pytest.raises(AttributeError, match="Recogniser"):
        fer.Recogniser  # noqa: B018
