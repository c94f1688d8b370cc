"""The models of a workspace: what is kept, which one serves, and the way back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from model_versions import PROMOTE, REFUSE, flip, write_model

from fer import bundle as bundles
from fer import registry as module
from fer.__main__ import main
from fer.bundle import SHIPPED, BundleError
from fer.emotions import SEVEN_CLASSES
from fer.model import build
from fer.registry import Registry, RegistryError

SHIPS = json.loads((SHIPPED / "bundle.json").read_text(encoding="utf-8"))["version"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Bundles as a training leaves them."""
    root = tmp_path_factory.mktemp("made")
    return {name: write_model(root / name / "bundle", name, tilt) for tilt, name in enumerate(("a", "b", "c"), 1)}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def three(registry, made) -> Registry:
    for folder in made.values():
        registry.add(folder)
    return registry


def promoted(registry: Registry, *versions: str) -> Registry:
    for version in versions:
        registry.promote(version, "Ada", "why not")
    return registry


def serving(registry: Registry) -> str:
    """The version that serves: the row's, the flag's and the loaded model's are the same."""
    (flagged,) = [one.version for one in registry.versions() if one.active]
    assert flagged == registry.active().version == registry.load_active()[0].version
    return flagged


def whole(registry: Registry) -> list[dict]:
    """The history, once every line of its file was found to be whole, and the pointer to name one of them."""
    path = registry.root / "history.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    assert lines == registry.history()
    if registry.pointer_file.exists():
        assert json.loads(registry.pointer_file.read_text())["id"] in {line["id"] for line in lines}
    return lines


def said(error: pytest.ExceptionInfo) -> str:
    sentence = str(error.value)
    assert "\n" not in sentence and str(Path.cwd()) not in sentence and sentence.endswith("."), sentence
    return sentence


def child(code: str, *arguments: object) -> subprocess.Popen:
    """A process that runs `code` with `registry` of the folder in its first argument."""
    head = "import os, shutil, sys\nfrom pathlib import Path\nfrom fer.registry import Registry\nregistry = Registry(Path(sys.argv[1]))\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


# Children that inherit a loaded torch: so several work at once from the start.
LOADED = "from fer import bundle\nbundle.load()\n"


# --- what there is ------------------------------------------------------------------------------


def test_names_of_files_are_those_of_the_bundle():
    assert (module.SHIPPED, module.WEIGHTS, module.DESCRIPTION, module.CARD) == (
        bundles.SHIPPED, bundles.WEIGHTS, bundles.DESCRIPTION, bundles.CARD,
    )  # fmt: skip


def test_a_new_workspace_has_the_model_that_ships_and_nothing_is_written(registry):
    (only,) = registry.versions()
    assert (only.version, only.active, only.shipped, only.damaged, only.folder) == (SHIPS, True, True, None, SHIPPED)
    assert only.card == SHIPPED / "card.md" and only.parent and only.command.startswith("python -m fer train")
    assert only.figures["ferplus test"]["accuracy"] > 0.87 and only.figures["ferplus test"]["n"] == 3137
    assert serving(registry) == SHIPS and registry.history() == [] and not registry.root.exists()


def test_a_model_is_kept_with_what_belongs_to_it(registry, tmp_path):
    source = write_model(tmp_path / "run" / "bundle", "warm", snapshot="0123456789abcdef", command="python -m fer finetune")
    (source / "card.md").write_text("# warm\n")
    (source / "notes.txt").write_text("not part of it")
    report = tmp_path / "run" / "report.json"
    report.write_text(json.dumps({"kind": "finetune", "verdict": PROMOTE, "benchmark": None, "corrections": {
        "n": 120, "accuracy_before": 0.51, "accuracy_after": 0.7, "macro_f1_after": 0.6, "p": 0.0001}}))  # fmt: skip
    row = registry.add(source, report)
    assert (row.version, row.parent, row.snapshot, row.command) == ("warm", SHIPS, "0123456789abcdef", "python -m fer finetune")
    assert row.figures == {"corrections": {"n": 120, "accuracy": 0.7, "accuracy_before": 0.51, "macro_f1": 0.6, "p": 0.0001}}
    assert row.verdict() == PROMOTE and row.report()["kind"] == "finetune" and not row.active and not row.withdrawn
    assert sorted(path.name for path in row.folder.iterdir()) == ["bundle.json", "card.md", "model.safetensors", "report.json"]
    assert bundles.load(row.folder).version == "warm" and json.loads(json.dumps(row.as_dict()))["verdict"] == PROMOTE


def test_newest_come_first(registry, tmp_path):
    for name, date in (("old", "2026-01-02"), ("new", "2027-03-04T05:06:07+00:00"), ("undated", "soon")):
        registry.add(write_model(tmp_path / name, name, date=date))
    os.utime(registry.root / "undated" / "bundle.json", (0, 0))
    assert [one.version for one in registry.versions()] == ["new", SHIPS, "old", "undated"]


def test_the_same_version_twice_is_one(three, made):
    assert three.add(made["a"]).version == "a"
    assert sorted(one.version for one in three.versions()) == ["a", "b", "c", SHIPS]
    assert three.add(SHIPPED).shipped and not (three.root / SHIPS).exists()


def test_another_model_of_the_same_name_is_refused(three, tmp_path):
    other = write_model(tmp_path / "other", "a", tilt=9.0)
    with pytest.raises(RegistryError, match="another model called a already"):
        three.add(other)
    with pytest.raises(RegistryError, match="another model called"):
        three.add(write_model(tmp_path / "shipped", SHIPS, tilt=9.0))


def test_a_damaged_one_is_replaced_by_a_sound_one_of_its_name(three, made):
    flip(three.root / "a")
    assert "checksum differs" in three.find("a").damaged
    assert three.add(made["a"]).damaged is None and list(three.root.glob(".*.partial")) == []


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", ".hidden", "shipped", "active.json", "a b", "x" * 200, "ä\n"])
def test_a_name_that_is_no_folder_is_refused(registry, tmp_path, name):
    source = write_model(tmp_path / "bundle", name)
    with pytest.raises(RegistryError) as caught:
        registry.add(source)
    assert "cannot be" in said(caught) and not registry.root.exists() and not (tmp_path / "up").exists()


@pytest.mark.parametrize("fault", ["weights", "missing", "description", "nothing"])
def test_a_damaged_bundle_is_not_kept(registry, tmp_path, made, fault):
    source = shutil.copytree(made["a"], tmp_path / "bundle")
    {
        "weights": lambda: flip(source),
        "missing": (source / "model.safetensors").unlink,
        "description": lambda: (source / "bundle.json").write_text("{"),
        "nothing": lambda: shutil.rmtree(source),
    }[fault]()
    with pytest.raises(RegistryError) as caught:
        registry.add(source)
    assert "bundle/" in said(caught)
    assert [one.version for one in registry.versions()] == [SHIPS]


def test_versions_are_found_by_name_beginning_and_as_shipped(three, tmp_path):
    three.add(write_model(tmp_path / "x", "abc"))
    assert (three.find("a").version, three.find("ab").version) == ("a", "abc")
    assert three.find("shipped").version == three.find(SHIPS[:9]).version == SHIPS
    with pytest.raises(RegistryError) as caught:
        three.find("zebra")
    assert "“zebra”" in said(caught) and SHIPS in said(caught) and "abc" in said(caught)
    with pytest.raises(RegistryError, match="There is no model"):
        three.find("")
    three.add(write_model(tmp_path / "y", "abd"))
    with pytest.raises(RegistryError, match="Several models begin with “ab”"):
        three.find("ab")


def test_a_model_is_named_by_its_version_or_its_folder(three, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert three.folder("b") == three.root / "b" and three.folder("shipped") == SHIPPED
    assert three.folder(made["c"]) == made["c"] and three.folder("models/c") == Path("models/c")
    (tmp_path / "b").mkdir()  # a folder of that name that is no model hides nothing
    assert three.folder("b") == three.root / "b"
    with pytest.raises(RegistryError, match="There is no model"):
        three.folder("nowhere")


def test_models_that_learned_from_withdrawn_faces_are_marked(registry, tmp_path):
    first = write_model(tmp_path / "1", "first", snapshot="s1")
    before = {"version": "first", "provenance": json.loads((first / "bundle.json").read_text())["provenance"]}
    registry.add(first)
    registry.add(write_model(tmp_path / "2", "second", snapshot="s2", started_from=before))
    registry.add(write_model(tmp_path / "3", "third", snapshot="s3"))
    registry.add(write_model(tmp_path / "4", "fourth", snapshot="../snapshots/s1"))
    (tmp_path / "snapshots" / "s1").mkdir(parents=True)
    assert not any(one.withdrawn for one in registry.versions())
    (tmp_path / "snapshots" / "s1" / "WITHDRAWN.json").write_text("{}")
    assert {one.version for one in registry.versions() if one.withdrawn} == {"first", "second"}
    assert registry.promote("second", "Ada").active  # still usable


def test_the_list_of_models_needs_no_torch(three):
    code = "registry.versions(); registry.find('b'); registry.active(); print('torch' in sys.modules)"
    with child(code, three.root) as process:
        assert process.stdout.read().strip() == "False"


# --- which one serves ---------------------------------------------------------------------------


def test_a_promoted_model_serves_and_history_says_who_and_why(three):
    row = three.promote("b", "  Ada \x1b[31m\n Lovelace ", "x" * 900)
    assert row.active and serving(three) == "b"
    (line,) = whole(three)
    assert (line["version"], line["who"], len(line["why"]), line["action"]) == ("b", "Ada [31m Lovelace", module.WHY, "promote")
    pointer = json.loads(three.pointer_file.read_text())
    assert {key: pointer[key] for key in ("version", "at", "who", "why")} == {
        key: line[key] for key in ("version", "at", "who", "why")
    }


def test_promoting_what_is_active_changes_nothing(three):
    three.promote("shipped", "Ada")
    assert not three.pointer_file.exists()
    promoted(three, "a", "a")
    assert len(whole(three)) == 1 and three.points_to(three.find("a"))


@pytest.mark.parametrize("who", ["", "  ", "\n\x00", None])
def test_somebody_must_sign(three, who):
    for act in (lambda: three.promote("a", who), lambda: three.rollback(who)):
        with pytest.raises(RegistryError, match="Say who"):
            act()
    assert serving(three) == SHIPS and whole(three) == []


def test_a_damaged_model_is_not_promoted(three):
    promoted(three, "a")
    flip(three.root / "b")
    with pytest.raises(RegistryError) as caught:
        three.promote("b", "Ada")
    assert "b/model.safetensors" in said(caught)
    assert serving(three) == "a" and len(whole(three)) == 1


def test_a_model_of_other_expressions_is_not_promoted(registry, tmp_path):
    shipped = bundles.load()
    seven = replace(shipped, version="seven", classes=SEVEN_CLASSES, network=build("mobilenet_v2", 7).eval())
    bundles.save(seven, tmp_path / "seven")
    registry.add(tmp_path / "seven")
    with pytest.raises(RegistryError, match="other expressions"):
        registry.promote("seven", "Ada")


def test_the_way_back_leads_through_what_was_active_to_the_one_that_ships(three):
    promoted(three, "a", "b", "c")
    assert [three.rollback("Ada").version for _ in range(3)] == ["b", "a", SHIPS]
    with pytest.raises(RegistryError) as caught:
        three.rollback("Ada")
    assert "nothing to go back to" in said(caught) and serving(three) == SHIPS
    assert [(line["action"], line["version"]) for line in whole(three)] == [
        ("promote", "a"), ("promote", "b"), ("promote", "c"), ("rollback", "b"), ("rollback", "a"), ("rollback", SHIPS),
    ]  # fmt: skip


def test_a_promotion_after_a_way_back_goes_back_to_where_it_came_from(three):
    promoted(three, "a", "b")
    three.rollback("Ada")
    promoted(three, "c")
    assert [three.rollback("Ada").version for _ in range(2)] == ["a", SHIPS]
    promoted(three, "a", "shipped", "b")
    assert [three.rollback("Ada").version for _ in range(3)] == [SHIPS, "a", SHIPS]


def test_there_is_nothing_before_the_first_promotion(registry):
    with pytest.raises(RegistryError, match="nothing to go back to"):
        registry.rollback("Ada")


def test_the_way_back_passes_over_damaged_models(three):
    promoted(three, "a", "b", "c")
    flip(three.root / "b")
    assert three.rollback("Ada").version == "a" and three.warning() is None
    assert three.rollback("Ada").version == SHIPS


def test_a_damaged_active_model_is_refused_and_the_one_before_serves(three):
    promoted(three, "a", "b")
    assert three.load_active()[1] is None
    flip(three.root / "b")
    assert serving(three) == "a"
    sentence = three.load_active()[1]
    assert sentence.startswith("b cannot be used, so a serves in its place: b/model.safetensors") and sentence == three.warning()
    shutil.rmtree(three.root / "a")
    assert serving(three) == SHIPS and f"so {SHIPS} serves" in three.warning()
    three.promote(SHIPS, "Ada")
    assert three.warning() is None and serving(three) == SHIPS


def test_a_model_that_only_torch_finds_damaged_is_refused_too(three):
    promoted(three, "a", "b")
    description = three.root / "b" / "bundle.json"
    description.write_text(description.read_text().replace('"temperature": 0.6839', '"temperature": -1'))
    bundle, sentence = three.load_active()
    assert bundle.version == "a" and "temperature" in sentence


def test_what_somebody_went_back_from_does_not_serve_again(three):
    promoted(three, "a", "b")
    three.rollback("Ada")
    flip(three.root / "a")
    assert serving(three) == SHIPS  # not b, which is sound but was not good


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 7}', "\x00\xff"])
def test_a_damaged_pointer_lets_the_last_promoted_serve(three, content):
    promoted(three, "a", "b")
    three.pointer_file.write_text(content)
    assert serving(three) == "b" and "models/active.json cannot be used, so b serves" in three.warning()
    assert three.rollback("Ada").version == "a" and three.warning() is None


@pytest.mark.parametrize("version", ["gone", "../../etc", "", "shipped/.."])
def test_a_pointer_to_what_is_not_there_lets_the_last_promoted_serve(three, version):
    promoted(three, "a", "b")
    three.pointer_file.write_text(json.dumps({"version": version}))
    assert serving(three) == "b" and "so b serves in its place" in three.warning()
    assert three.promote("b", "Ada").active and three.warning() is None


def test_a_pointer_written_by_hand_is_obeyed(three):
    three.pointer_file.write_text(json.dumps({"version": "c"}))
    assert serving(three) == "c" and three.warning() is None
    promoted(three, "a")
    three.pointer_file.write_text(json.dumps({"version": "b"}))
    assert three.rollback("Ada").version == "a"
    three.pointer_file.write_text(json.dumps({"version": "shipped"}))
    assert serving(three) == SHIPS and three.warning() is None


def test_the_shipped_model_stays_active_when_a_newer_one_ships(three, tmp_path):
    promoted(three, "a", "shipped")
    newer = write_model(tmp_path / "weights", "shipped-2027")
    assert Registry(three.root, newer).active().version == "shipped-2027"
    assert Registry(three.root, newer).warning() is None


def test_without_any_model_the_reason_is_said(three, tmp_path):
    broken = Path(shutil.copytree(SHIPPED, tmp_path / "weights"))
    flip(broken)
    with pytest.raises(BundleError, match="weights/model.safetensors"):
        Registry(three.root, broken).load_active()
    Registry(three.root, broken).promote("a", "Ada")
    assert Registry(three.root, broken).load_active()[0].version == "a"


def test_a_torn_line_of_history_harms_no_other(three):
    promoted(three, "a", "b")
    history = three.root / "history.jsonl"
    history.write_bytes(history.read_bytes() + b'{"id": "77", "vers')
    promoted(three, "c")
    assert [line["version"] for line in three.history()] == ["a", "b", "c"]
    assert [three.rollback("Ada").version for _ in range(2)] == ["b", "a"]


def test_a_promotion_that_was_cut_off_before_the_pointer_never_happened(three, monkeypatch):
    promoted(three, "a")
    with monkeypatch.context() as patched:
        patched.setattr("fer.promotions.replace_json", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            three.promote("b", "Ada")
    assert serving(three) == "a" and [line["version"] for line in three.history()] == ["a", "b"]
    promoted(three, "c")
    assert [three.rollback("Ada").version for _ in range(2)] == ["a", SHIPS]


def test_a_disk_that_is_full_or_read_only_is_one_sentence(three, made, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fer.promotions.replace_json", full)
    with pytest.raises(RegistryError, match="No space left"):
        three.promote("a", "Ada")
    assert serving(three) == SHIPS
    monkeypatch.setattr(module.shutil, "copyfile", full)
    shutil.rmtree(three.root / "a")
    with pytest.raises(RegistryError, match="No space left"):
        three.add(made["a"])
    assert not (three.root / "a").exists() and list(three.root.glob(".*.partial")) == []


# --- several at once, and kills -----------------------------------------------------------------


def test_promotions_by_several_processes_at_once_leave_one_of_their_states(three):
    code = """
for order in sys.argv[2:]:
    if os.fork() == 0:
        for version in order:
            registry.promote(version, order)
        os._exit(0)
print([os.wait()[1] for _ in sys.argv[2:]])
"""
    with child(LOADED + code, three.root, "abc", "cab", "bca") as process:
        assert process.stdout.read() == "[0, 0, 0]\n"
    lines = whole(three)
    assert {line["who"] for line in lines} == {"abc", "cab", "bca"}
    assert json.loads(three.pointer_file.read_text())["id"] == lines[-1]["id"] and three.warning() is None
    assert [line["back"] for line in lines] == [None, *(line["id"] for line in lines[:-1])]  # each saw the one before


def test_the_same_model_kept_by_several_at_once_is_one(registry, made):
    code = "for _ in range(5): registry.add(Path(sys.argv[2]))\n"
    processes = [child(code, registry.root, made["a"]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert registry.find("a").damaged is None and list(registry.root.glob(".*.partial")) == []


@pytest.fixture
def killed(three, made, tmp_path) -> Iterator[list[int]]:
    """Numbers 0..19: before each, a process that keeps, promotes and goes back was killed somewhere in the middle."""
    # Trying a model writes nothing and takes longest: without it the kills fall into what does write.
    code = """
from fer import registry as module
module._loaded = lambda *model: None
for line in sys.stdin:
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        while True:
            for version in "abc":
                if (registry.root / "extra").exists():
                    os.replace(registry.root / "extra", registry.root / f".{os.urandom(4).hex()}.partial")
                registry.add(Path(sys.argv[2]))
                registry.promote(version, "Ada")
            registry.rollback("Ada")
    os.wait()
"""
    process = child(code, three.root, write_model(tmp_path / "extra" / "bundle", "extra"))

    def rounds() -> Iterator[int]:
        for number in range(20):
            process.stdin.write("go\n")
            process.stdin.flush()
            pid = int(process.stdout.readline())
            time.sleep(0.02 + 0.019 * (number % 10))
            os.kill(pid, signal.SIGKILL)
            yield number

    yield rounds()
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_a_kill_at_any_moment_leaves_a_whole_registry(three, killed):
    lengths = []
    for _ in killed:
        lengths.append(len(whole(three)))
        assert three.warning() is None and all(one.damaged is None for one in three.versions())
        active = three.active()
        assert bundles.load(active.folder).version == active.version in ("a", "b", "c") or not three.pointer_file.exists()
        if len(lengths) >= 10 and lengths[-1] > 5:  # on a busy machine little is written before a kill
            break
    assert lengths[-1] > 5 and lengths == sorted(lengths)
    three.promote(three.find("shipped").version, "Ada")
    assert three.rollback("Ada").version in ("a", "b", "c")


# --- python -m fer models -----------------------------------------------------------------------


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path, capsys):
    """Runs ``python -m fer`` for the workspace of `registry`; exit code, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--workspace", str(tmp_path)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return command


def test_models_lists_them_in_words_and_as_json(three, run):
    promoted(three, "b")
    code, out, _ = run("models")
    assert code == 0 and len(out.splitlines()) == 4
    assert [line for line in out.splitlines() if line.startswith("* b: ")] and "shipped" in out and "ferplus test 88.0%" in out
    flip(three.root / "b")
    code, out, error = run("models", "list", "--json")
    rows = {row["version"]: row for row in map(json.loads, out.splitlines())}
    assert rows[SHIPS]["active"] and "checksum differs" in rows["b"]["damaged"] and "cannot be used" in error


def test_promote_obeys_the_verdict(registry, run, tmp_path):
    for name, verdict in (("good", PROMOTE), ("poor", REFUSE), ("plain", None)):
        registry.add(write_model(tmp_path / name, name, verdict=verdict))
    assert run("models", "promote", "good", "--who", "Ada")[0] == 0 and serving(registry) == "good"
    for name, words in (("poor", "Not better: 60 of 120."), ("plain", "plain was never compared")):
        code, out, error = run("models", "promote", name)
        assert (code, out) == (1, "") and words in error and "--anyway --why TEXT" in error
    assert run("models", "promote", "poor", "--anyway")[0] == 2 and serving(registry) == "good"
    code, out, _ = run("models", "promote", "po", "--anyway", "--why", "a demonstration", "--json")
    assert code == 0 and json.loads(out)["active"] and serving(registry) == "poor"
    assert registry.history()[-1]["why"] == "a demonstration" and registry.history()[-1]["who"]
    assert run("models", "rollback")[0] == 0
    assert run("models", "promote", "poor")[0] == 0 and serving(registry) == "poor", "it was active before"


def test_models_promote_says_what_is_active_already_and_goes_back(three, run):
    promoted(three, "a")
    assert "active already" in run("models", "promote", "a")[1] and len(three.history()) == 1
    assert SHIPS in run("models", "rollback", "--who", "Grace", "--why", "tired of it")[1]
    assert (three.history()[-1]["who"], three.history()[-1]["why"]) == ("Grace", "tired of it")
    code, out, error = run("models", "rollback")
    assert (code, out) == (1, "") and "nothing to go back to" in error
    assert run("models", "promote", "shipped")[0] == 0


def test_models_says_when_withdrawn_faces_live_on_in_one(registry, run, tmp_path):
    registry.add(write_model(tmp_path / "x", "x", verdict=PROMOTE, snapshot="s1"))
    (tmp_path / "snapshots" / "s1").mkdir(parents=True)
    (tmp_path / "snapshots" / "s1" / "WITHDRAWN.json").write_text("{}")
    assert "learned from withdrawn faces" in run("models")[1]
    code, _, error = run("models", "promote", "x")
    assert code == 0 and "withdrawn" in error


@pytest.mark.parametrize("arguments", [["promote"], ["list", "a"], ["rollback", "a"]])
def test_models_used_wrongly_says_how(run, arguments):
    code, out, error = run("models", *arguments)
    assert (code, out) == (2, "") and "models promote VERSION" in error


def test_commands_read_with_the_active_model_or_the_one_that_is_named(three, run, collins):
    def reads(*more: str) -> tuple[str, str]:
        _, out, error = run("predict", "--json", collins, *more)
        return json.loads(out)["model"], error

    assert reads() == (SHIPS, "")
    promoted(three, "b")
    model, error = reads()
    assert model == "b" and error.startswith("model b, the active one of ") and error.count("\n") == 1
    assert reads("--model", "shipped") == (SHIPS, "") and reads("--model", "c") == ("c", "")
    flip(three.root / "b")
    model, error = reads()
    assert model == SHIPS and "b cannot be used" in error
    code, out, error = run("predict", collins, "--model", "zebra")
    assert (code, out) == (1, "") and "There is no model “zebra”" in error


def test_evaluate_reads_with_a_version(three, run, face_folder):
    promoted(three, "b")
    for more, version in (((), "b"), (("--model", "a"), "a")):
        out = run("evaluate", "--data", f"folder:{face_folder}", "--split", "val", "--json", *more)[1]
        assert json.loads(out)["model"] == version


# --- python -m fer compare ----------------------------------------------------------------------


@pytest.mark.usefixtures("short_benchmark")
def test_versions_are_compared_on_the_same_faces(three, run, face_folder):
    code, out, error = run("compare", "shipped", "c", "--data", f"folder:{face_folder}", "--json")
    assert code == 0, error
    answer = json.loads(out)
    assert (answer["before"], answer["after"], answer["comparison"]["n"]) == (SHIPS, "c", 12)  # val and test
    reports = [json.loads(run("evaluate", "--data", f"folder:{face_folder}", "--split", "val", "--json", "--model", one)[1])
               for one in ("shipped", "c")]  # fmt: skip
    on_val = json.loads(run("compare", "shipped", "c", "--data", f"folder:{face_folder}", "--split", "val", "--json")[1])
    assert [on_val["comparison"][f"accuracy_{when}"] for when in ("before", "after")] == [one["accuracy"] for one in reports]
    assert answer["verdict"] is None  # these are no corrections
    assert "12 faces" in run("compare", "shipped", "c", "--data", f"folder:{face_folder}")[1]


@pytest.mark.usefixtures("short_benchmark")
def test_versions_are_compared_on_the_newest_snapshot(three, run, tmp_path):
    from label_workspaces import face, says

    from labeling.items import NewItem
    from labeling.snapshot import take
    from labeling.store import LabelStore

    code, out, error = run("compare", "a", "b")
    assert (code, out) == (2, "") and "--data KIND:PATH" in error
    store = LabelStore(tmp_path / "labels")
    items = store.add([NewItem("folder", f"g{index}", face(index), 112, 112, (0, 0, 112, 112), split=side)
                       for index, side in enumerate(("train", "test", "test"))])  # fmt: skip
    for number in items:
        store.judge(number, says(f"r{number}"))
    snapshot = take(store, tmp_path / "snapshots")
    answer = json.loads(run("compare", "a", "b", "--json")[1])
    assert answer["comparison"]["n"] == 2 and answer["benchmark"]["n"] == 40
    assert answer["verdict"]["words"] == "Not enough to tell: 2 corrections are held out, 60 are needed."
    assert answer["verdict"]["words"] in run("compare", "a", "b")[1]
    (snapshot.folder / "WITHDRAWN.json").write_text("{}")
    assert run("compare", "a", "b")[0] == 2
    store.close()


def test_reports_are_put_side_by_side(run, tmp_path):
    paths = [SHIPPED / "report-val.json", SHIPPED / "report-test.json"]
    code, out, _ = run("compare", *paths)
    assert code == 0 and "0.8831" in out and "0.8805" in out
    assert [json.loads(line)["split"] for line in run("compare", *paths, "--json")[1].splitlines()] == ["val", "test"]
    (tmp_path / "broken.json").write_text("{")
    for wrong in (["broken.json"], ["gone.json"]):
        code, out, error = run("compare", paths[0], *(tmp_path / name for name in wrong))
        assert (code, out) == (1, "") and wrong[0] in error
    for wrong in ([paths[0]], [paths[0], "shipped"], ["shipped"], ["shipped"] * 3):
        assert run("compare", *wrong)[:2] == (2, "")
