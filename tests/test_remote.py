"""A fine-tune on a rented machine: what is sent, what comes back, what it costs, and that nothing stays behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import short_finetune
import torch
from conftest import ROOT
from hub_models import client_sent_to
from local_hub import TOKEN
from local_jobs import CPU, GPU, OVER, JobsHub
from short_finetune import run_folder, settings, snapshot
from short_remote import shorten

from fer import bundle as bundles
from fer import finetune as trainer
from fer import remote, runs
from fer.__main__ import main
from fer.config import FinetuneConfig, read_finetune
from fer.hub import PARCEL, HubError, HubUnreachable, Jobs, Price
from fer.pulse import Stopped
from fer.registry import Registry
from fer.remote import Order, RemoteError
from fer.run_folder import RunPaths
from fer.runs import Run

HOUR = Order("cpu-upgrade", "8 vCPU, 32 GB", 0.03, 300.0, 1800.0)


# Of the machines: there `short_finetune` is found, behind the program that came in the parcel.
IMAGE = {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)]), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def hub(tmp_path) -> Iterator[JobsHub]:
    (tmp_path / "machines").mkdir()
    with JobsHub(tmp_path / "machines", environment=IMAGE) as one, client_sent_to(one):
        yield one
        one.end()


@pytest.fixture
def short(monkeypatch) -> None:
    shorten(monkeypatch.setattr)


def ordered(workspace: Path, taken: Path, **changed: str) -> Run:
    """The folder of a run that was ordered, and that nobody has started."""
    run = run_folder(workspace, settings(workspace, taken, **changed))
    config = json.loads(run.paths.config.read_text())
    run.paths.config.write_text(json.dumps({**config, "module": "short_remote", "on": asdict(HOUR)}))
    return run


def carried_out(run: Run) -> Run:
    remote.train(read_finetune(run.paths), remote.read_order(run.paths), run.paths.root)
    return run


def nothing_stays(hub: JobsHub) -> bool:
    """Whether no job runs and nothing that was sent is left, on the Hub or on the machine."""
    left = [path for machine in hub.place.iterdir() for path in machine.rglob("*") if path.suffix in (".png", ".safetensors")]
    ended = all(one.stage in OVER for one in hub.jobs.values())
    return ended and not left and not hub.repositories and hub.everything() == b""


def wait_for(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def said(error: pytest.ExceptionInfo) -> str:
    sentence = str(error.value)
    assert "\n" not in sentence and "Traceback" not in sentence and sentence.endswith("."), sentence
    return sentence


# --- there and back -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brought(tmp_path_factory) -> Iterator[tuple[JobsHub, Run, Path, list[dict]]]:
    """A run whose job was done: the hub, the run, the workspace and how it stood meanwhile."""
    root = tmp_path_factory.mktemp("brought")
    (root / "machines").mkdir()
    with pytest.MonkeyPatch.context() as patch, JobsHub(root / "machines", environment=IMAGE) as hub, client_sent_to(hub):
        shorten(patch.setattr)
        run, seen, over = ordered(root, snapshot(root)), [], threading.Event()

        def watch() -> None:
            while not over.wait(0.05):
                seen.append(run.status().as_dict())

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        carried_out(run)
        over.set()
        yield hub, run, root, seen


def test_a_job_brings_the_very_model_that_this_machine_would_have_made(brought, tmp_path, monkeypatch):
    _, run, root, _ = brought
    short_finetune.shorten(monkeypatch.setattr)
    here = run_folder(tmp_path, settings(tmp_path, Path(read_finetune(run.paths).data.partition(":")[2])))
    threads = torch.get_num_threads()
    assert trainer.main([str(here.paths.root)]) == 0
    torch.set_num_threads(threads)
    assert run.report()["version"] == here.report()["version"], "the name holds the hash of the weights"
    assert (run.paths.bundle / "model.safetensors").read_bytes() == (here.paths.bundle / "model.safetensors").read_bytes()
    assert run.metrics() == here.metrics() and len(run.metrics()) > 3
    for name in ("corrections", "benchmark", "verdict", "flips", "learned_from", "snapshot_folder"):
        assert run.report()[name] == here.report()[name], name


def test_the_version_is_in_the_registry_and_says_where_it_was_made(brought):
    _, run, root, _ = brought
    version = Registry(root / "models").find(run.report()["version"])
    assert version.damaged is None and version.verdict() == run.report()["verdict"] and version.snapshot == run.report()["snapshot"]
    assert json.loads((version.folder / "bundle.json").read_text())["provenance"]["on"] == "jobs:cpu-upgrade"
    noted = (Path(run.report()["snapshot_folder"]) / "TRAINED.jsonl").read_text()
    assert version.version in noted, "a withdrawal must find it"
    assert run.report()["dollars"] == pytest.approx(0.03 * run.report()["job_seconds"] / 3600)


def test_nothing_stays_on_the_hub_nor_on_the_machine(brought):
    hub, run, root, _ = brought
    assert nothing_stays(hub) and [one.stage for one in hub.jobs.values()] == ["COMPLETED"]
    assert not list(root.rglob("*.partial")) and not (run.paths.root / "result.zip").exists()
    assert remote.tidy(run) is None


def test_the_run_shows_what_the_job_does(brought):
    _, run, _, seen = brought
    words = {one["words"] for one in seen}
    assert any(one.startswith("sending ") for one in words) and "learning on cpu-upgrade" in words
    assert {one["state"] for one in seen} <= {"starting", "running", "finished"} and run.status().state == "finished"
    steps = [one["step"] for one in seen if one["steps"]]
    assert steps == sorted(steps) and max(steps) == 12


def test_the_command_that_is_sent_says_all_and_the_token_is_a_secret(brought):
    hub, _, _, _ = brought
    (job,) = hub.jobs.values()
    sent = job.sent
    assert sent["command"][:2] == ["python", "-c"] and sent["secrets"] == {"HF_TOKEN": TOKEN} and TOKEN not in json.dumps(sent["command"])
    assert TOKEN not in json.dumps(sent["environment"]) and sent["environment"]["HF_ENDPOINT"] == hub.address
    assert sent["dockerImage"] == f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    assert (sent["flavor"], sent["timeoutSeconds"]) == ("cpu-upgrade", 1800)
    assert set(remote.packages()) == set(sent["command"][5:]) and all(one.count("==") == 1 and "+" not in one for one in remote.packages())


def test_the_repository_is_private_while_it_is_there(hub, short, tmp_path):
    hub.held = True
    run = ordered(tmp_path, snapshot(tmp_path))
    worker = threading.Thread(target=lambda: pytest.raises(Stopped, carried_out, run), daemon=True)
    worker.start()
    wait_for(lambda: bool(hub.jobs))
    (repository,) = hub.repositories.values()
    assert repository.private and repository.kind == "datasets" and set(repository.head.files) == {".gitattributes", PARCEL}
    wait_for(lambda: run.status().words == "waiting for a machine on cpu-upgrade")
    run.paths.stop.touch()
    worker.join(20)
    assert not worker.is_alive() and nothing_stays(hub) and run.status().state == "stopped"


# --- the parcel ---------------------------------------------------------------------------------


def parcel(config: FinetuneConfig, target: Path) -> dict[str, bytes]:
    remote.pack(config, target)
    with zipfile.ZipFile(target) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_parcel_holds_what_training_needs_and_nothing_else(tmp_path):
    taken = snapshot(tmp_path)
    (taken / "TRAINED.jsonl").write_text('{"version": "x"}\n')
    files = parcel(FinetuneConfig(**settings(tmp_path, taken, promote="if-better")), tmp_path / "job.zip")
    config = json.loads(files["run/config.json"])
    assert (config["data"], config["base"]) == (f"snapshot:snapshots/{taken.name}", "base/weights")
    assert (config["models"], config["promote"]) == ("", "never"), "the gate is here"
    assert {name.partition("/")[0] for name in files} == {"fer", "run", "base", "snapshots"}
    outside = [name for name in files if not name.endswith((".py", ".json", ".jsonl", ".png", ".safetensors"))]
    assert outside == [] and f"snapshots/{taken.name}/TRAINED.jsonl" not in files
    assert os.fsencode(tmp_path) not in b"".join(files.values()) and os.fsencode(ROOT) not in b"".join(files.values())


def test_faces_to_rehearse_on_go_along_in_place_of_the_activations(tmp_path, face_folder):
    config = FinetuneConfig(**settings(tmp_path, snapshot(tmp_path), rehearsal=f"folder:{face_folder}"))
    files = parcel(config, tmp_path / "job.zip")
    assert json.loads(files["run/config.json"])["rehearsal"] == f"folder:rehearsal/{face_folder.name}"
    assert sum(name.startswith(f"rehearsal/{face_folder.name}/train/") for name in files) == 12
    assert "fer/weights/rehearsal.safetensors" not in files


def test_the_program_in_the_parcel_needs_no_package_but_those_that_are_installed_there(tmp_path):
    files = parcel(FinetuneConfig(**settings(tmp_path, snapshot(tmp_path))), tmp_path / "job.zip")
    with zipfile.ZipFile(tmp_path / "job.zip") as archive:
        archive.extractall(tmp_path / "there")
    (tmp_path / "packages").mkdir()
    for part in {part for name in needed(remote.PACKAGES) for part in installed(name)}:
        (tmp_path / "packages" / part.name).symlink_to(part)
    done = subprocess.run(
        [sys.executable, "-S", "-c", ALONE, str(tmp_path / "there")], cwd=tmp_path / "there", capture_output=True, text=True,
        timeout=120, env={**os.environ, "PYTHONPATH": str(tmp_path / "packages")},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "all of it is there\n"), done.stderr
    assert not {"labeling", "gradio"} & {name.partition("/")[0] for name in files}


# Loads what a job loads, where nothing is installed but what a job asks for.
ALONE = """
import importlib.util, sys
assert not any(map(importlib.util.find_spec, ("gradio", "matplotlib", "facenet_pytorch", "labeling", "pytest")))
import fer.finetune, fer.job, fer.hub
fer.hub._client("x", None)
assert fer.__file__.startswith(sys.argv[1]), fer.__file__
from pathlib import Path
from fer import bundle, rehearsal
rehearsal.read().check(bundle.load("base/weights"))
fer.finetune.read_faces(f"snapshot:{next(Path('snapshots').iterdir())}")
print("all of it is there")
"""


def installed(name: str) -> set[Path]:
    """The files and folders of a package, next to those of others."""
    from importlib import metadata

    try:
        files = metadata.files(name) or ()
    except metadata.PackageNotFoundError:
        return set()
    tops = {one.parts[0]: one.locate().parents[len(one.parts) - 2] if len(one.parts) > 1 else one.locate() for one in files}
    return {Path(place) for top, place in tops.items() if top not in ("..", "__pycache__")}


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def needed(names) -> set[str]:
    """The packages `names` with all that they require."""
    from importlib import metadata

    found, left = set(), [normal(one) for one in names]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            try:
                wanted = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            left += [normal("".join(iter_name(one))) for one in wanted if "extra ==" not in one]
    return found


def iter_name(requirement: str) -> Iterator[str]:
    for one in requirement:
        if not (one.isalnum() or one in "-_."):
            return
        yield one


# --- what it costs ------------------------------------------------------------------------------


def test_the_price_is_what_the_hub_says_now(hub):
    hub.hardware = [{**CPU, "unitCostUSD": 0.06}, {**GPU, "unitCostUSD": 3.6, "unitLabel": "hour"}]
    minute, hour = (Jobs().price(name) for name in ("cpu-upgrade", "t4-small"))
    assert (round(minute.of(60), 9), minute.machine, minute.accelerator) == (0.06, "8 vCPU, 32 GB", "")
    assert hour.of(60) == pytest.approx(0.06) and hour.accelerator == "1 × T4"


def test_an_order_says_the_price_what_is_expected_and_the_most():
    order = Order.of(Price("cpu-upgrade", "8 vCPU, 32 GB", 0.06, 60.0), training_seconds=60.0)
    assert (order.expected, order.limit) == (remote.SETUP_SECONDS + 60.0, 1800.0)
    words = order.in_words()
    assert "cpu-upgrade (8 vCPU, 32 GB) costs $0.06 a minute, $3.60 an hour" in words and "5 minutes are expected, $0.30" in words
    assert "ended after 30 minutes, so it costs $1.80 at most" in words
    assert Order.of(Price("x", "", 1.0, 3600.0), 3600.0).limit >= 3 * 3600.0, "a long run has time"


@pytest.mark.parametrize(("dollars", "words"), [(0.0, "$0.00"), (0.0005, "$0.0005"), (0.03, "$0.03"), (0.0123, "$0.0123"), (12.345, "$12.35")])
def test_money_has_as_many_digits_as_tell_it(dollars, words):
    assert remote.money(dollars) == words


def test_a_machine_that_there_is_not_is_a_sentence(hub):
    with pytest.raises(HubError, match=r"There is no machine called “h1000”; there are cpu-upgrade, t4-small\.") as error:
        Jobs().price("h1000")
    said(error)
    hub.hardware = [{**CPU, "unitLabel": "fortnight"}]
    with pytest.raises(HubError, match="per “fortnight”, which this program cannot add up") as error:
        Jobs().price("cpu-upgrade")
    said(error)


# --- what can go wrong --------------------------------------------------------------------------


def test_a_job_that_fails_says_why_and_leaves_nothing(hub, short, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "TRAINER", "no_such_module")
    run = ordered(tmp_path, snapshot(tmp_path))
    with pytest.raises(RemoteError, match=r"The job failed: .*exit code: 1.*No module named no_such_module\.") as error:
        carried_out(run)
    assert said(error) and nothing_stays(hub) and run.status().state == "failed" and run.status().error == str(error.value)
    assert not (tmp_path / "models").exists()


def test_what_could_not_be_deleted_is_named_and_may_be_deleted_later(hub, short, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "TRAINER", "no_such_module")
    run = ordered(tmp_path, snapshot(tmp_path))
    hub.fail(1, 503, "/api/repos/delete")
    with pytest.raises(RemoteError, match=r"The job failed: .*\. Look for the job .* on the Hub and end them by hand: ") as error:
        carried_out(run)
    assert said(error) and len(hub.repositories) == 1
    assert remote.tidy(run) is None and nothing_stays(hub)


def test_a_job_that_takes_too_long_is_ended(hub, short, tmp_path, monkeypatch):
    run = ordered(tmp_path, snapshot(tmp_path))
    config = json.loads(run.paths.config.read_text())
    run.paths.config.write_text(json.dumps({**config, "on": {**config["on"], "limit": 1}}))
    with pytest.raises(RemoteError, match="The job failed: Job timeout") as error:
        carried_out(run)
    assert said(error)
    # The machine was taken away in the middle, with what lay on it; on the Hub there is nothing.
    assert not hub.repositories


def test_a_job_that_was_cancelled_elsewhere_is_said(hub, short, tmp_path):
    run = ordered(tmp_path, snapshot(tmp_path))
    hub.held = True
    failed = []
    worker = threading.Thread(target=lambda: failed.append(pytest.raises(RemoteError, carried_out, run)), daemon=True)
    worker.start()
    wait_for(lambda: bool(hub.jobs))
    next(iter(hub.jobs.values())).stage = "CANCELED"
    worker.join(20)
    assert said(failed[0]) == "The job was cancelled on the Hub; start a new run." and nothing_stays(hub)


@pytest.mark.parametrize(
    ("status", "where", "words"),
    [(402, "/api/jobs/", "asks for payment"), (403, "/api/jobs/", "may not do this"), (403, "/api/repos/create", "may not do this"),
     (500, "/api/jobs/", "busy or in trouble")],
)  # fmt: skip
def test_what_the_hub_refuses_is_a_sentence_and_what_was_sent_is_deleted(hub, short, tmp_path, status, where, words):
    hub.fail(1, status, where)
    run = ordered(tmp_path, snapshot(tmp_path))
    with pytest.raises(HubError, match=words) as error:
        carried_out(run)
    assert said(error) and nothing_stays(hub) and not hub.jobs
    with pytest.raises(RemoteError, match="never started, or is over; start a new run"):
        carried_out(run)


def test_a_job_whose_start_was_lost_on_the_way_is_found_and_ended(hub, short, tmp_path, monkeypatch):
    start = Jobs.start
    hub.held = True

    def lost(self, *arguments):
        start(self, *arguments)
        raise HubUnreachable("The Hub cannot be reached; look at the network, then try again.")

    monkeypatch.setattr(Jobs, "start", lost)
    run = ordered(tmp_path, snapshot(tmp_path))
    with pytest.raises(HubUnreachable):
        carried_out(run)
    assert [one.stage for one in hub.jobs.values()] == ["CANCELED"] and nothing_stays(hub)


def test_a_result_that_is_missing_damaged_or_anothers_is_refused(hub, short, tmp_path, monkeypatch):
    def answered(content: bytes | None) -> str:
        run = ordered(tmp_path / str(time.monotonic_ns()), taken)
        monkeypatch.setattr(remote.Jobs, "start", lambda self, *arguments: "job")
        monkeypatch.setattr(remote.Jobs, "state", lambda self, job: remote.JobState("COMPLETED"))
        monkeypatch.setattr(remote.Jobs, "log", lambda self, job: iter(()))
        send = remote.JobRepository.send

        def sent(self, path, name):
            commit = send(self, path, name)
            if content is not None:
                (tmp_path / "result").write_bytes(content)
                send(self, tmp_path / "result", "result.zip")
            return commit

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(remote.JobRepository, "send", sent)
            with pytest.raises(ValueError) as error:
                carried_out(run)
        assert not hub.repositories
        return said(error)

    taken = snapshot(tmp_path)
    assert "left no result.zip" in answered(None)
    assert "result is damaged" in answered(b"nothing")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle/model.safetensors", bytes(10_000_000))
    assert "is larger than the result" in answered(buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../evil.py", "x")
    assert "bundle.json is missing" in answered(buffer.getvalue())
    assert not list(tmp_path.rglob("evil.py"))


def test_without_a_network_the_job_goes_on_and_the_run_brings_it_home_later(hub, short, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 1.0)
    run, failed = ordered(tmp_path, snapshot(tmp_path)), []
    hub.held = True
    worker = threading.Thread(target=lambda: failed.append(pytest.raises(HubUnreachable, carried_out, run)), daemon=True)
    worker.start()
    wait_for(lambda: bool(hub.jobs))
    hub.stop()
    worker.join(60)
    assert f"or with: python -m fer.remote runs/{run.id}." in said(failed[0]) and run.status().state == "failed"
    hub.start()
    hub.held = False
    carried_out(run)
    assert run.status().state == "finished" and len(hub.jobs) == 1 and nothing_stays(hub)


def test_a_withdrawal_meanwhile_keeps_the_model_out(hub, short, tmp_path):
    taken = snapshot(tmp_path)
    run = ordered(tmp_path, taken)
    hub.held = True
    failed = []
    worker = threading.Thread(target=lambda: failed.append(pytest.raises(ValueError, carried_out, run)), daemon=True)
    worker.start()
    wait_for(lambda: bool(hub.jobs))
    (taken / "WITHDRAWN.json").write_text('{"items": [1], "at": "now"}')
    hub.held = False
    worker.join(60)
    assert "were withdrawn" in str(failed[0].value) and nothing_stays(hub) and not (tmp_path / "models").exists()


# --- as a process, and as a command -------------------------------------------------------------


@pytest.fixture
def rented(hub, tmp_path, monkeypatch) -> Path:
    """A workspace whose remote runs have little to do; its processes ask `hub`."""
    for name, value in (("HF_ENDPOINT", hub.address), ("HF_TOKEN", TOKEN), ("HF_HUB_DISABLE_XET", "1"), ("OMP_NUM_THREADS", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    start = runs.start
    monkeypatch.setattr(runs, "start", lambda folder, module, config, label: start(folder, {"fer.remote": "short_remote"}[module], config, label))
    return tmp_path / "workspace"


def finetune(workspace: Path, taken: Path, *more: str) -> int:
    return main(["finetune", "--data", f"snapshot:{taken}", "--speed", "quick", "--workspace", str(workspace), *more])


def test_the_command_says_the_price_trains_there_and_brings_the_version(hub, rented, tmp_path, capsys):
    assert finetune(rented, snapshot(tmp_path), "--on", "jobs:cpu-upgrade", "--yes", "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert "cpu-upgrade (8 vCPU, 32 GB) costs $0.0005 a minute, $0.03 an hour" in captured.err
    assert "48 faces with their labels" in captured.err and "private repository of tester" in captured.err
    assert report["on"] == "jobs:cpu-upgrade" and report["version"] in {one.version for one in Registry(rented / "models").versions()}
    assert nothing_stays(hub) and len(hub.jobs) == 1


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("", 1), ("y", 0)])
def test_nobody_pays_who_has_not_agreed(hub, rented, tmp_path, capsys, monkeypatch, answer, code):
    monkeypatch.setattr(sys, "stdin", Terminal(answer + "\n"))
    assert finetune(rented, snapshot(tmp_path), "--on", "jobs:cpu-upgrade") == code
    captured = capsys.readouterr()
    assert "Start? [y/N]" in captured.err and bool(hub.jobs) == (code == 0)
    assert ("nothing was sent" in captured.err) == (code == 1) and ("the job took" in captured.out) == (code == 0)
    assert nothing_stays(hub)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["--on", "cpu-upgrade", "--yes"], 2, "is not jobs:FLAVOR, such as --on jobs:cpu-upgrade"),
    (["--on", "jobs:", "--yes"], 2, "is not jobs:FLAVOR"),
    (["--on", "jobs:cpu-upgrade"], 2, "nobody is here to agree to the price; add --yes"),
    (["--yes"], 2, "--yes agrees to the price of --on jobs:FLAVOR"),
    (["--on", "jobs:h1000", "--yes"], 1, "There is no machine called “h1000”"),
])  # fmt: skip
def test_wrong_commands_are_one_sentence_and_cost_nothing(hub, rented, tmp_path, capsys, monkeypatch, arguments, code, words):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert finetune(rented, snapshot(tmp_path), *arguments) == code
    err = capsys.readouterr().err
    assert words in err and err.startswith("error: ") and err.count("\n") == 1 and not hub.jobs and not hub.repositories


def test_without_a_token_nothing_begins(hub, rented, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    assert finetune(rented, snapshot(tmp_path), "--on", "jobs:cpu-upgrade", "--yes") == 1
    assert "There is no token of the Hub here" in capsys.readouterr().err


def test_too_few_faces_are_refused_before_they_cost(hub, rented, tmp_path, capsys):
    assert finetune(rented, snapshot(tmp_path, sides=("train",) * 5), "--on", "jobs:cpu-upgrade", "--yes") == 1
    assert "at least 20 of two are needed" in capsys.readouterr().err and not hub.repositories


def test_a_base_that_the_rehearsal_does_not_fit_is_refused_before_it_costs(hub, rented, tmp_path, capsys):
    changed = bundles.load()
    with torch.no_grad():
        changed.network.features[0][0].weight[0] += 1
    bundles.save(replace(changed, version="other"), tmp_path / "other")
    said = finetune(rented, snapshot(tmp_path), "--on", "jobs:cpu-upgrade", "--yes", "--base", str(tmp_path / "other"))
    assert said == 1 and "are not those of other" in capsys.readouterr().err and not hub.repositories


def test_a_gpu_is_said_to_be_of_no_use(hub, rented, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert finetune(rented, snapshot(tmp_path), "--on", "jobs:t4-small") == 1
    assert "warning: a fine-tune computes on processors; the 1 × T4 of t4-small would be paid for and not be used." in capsys.readouterr().err


def started(workspace: Path, taken: Path) -> Run:
    """A remote run in a process of its own."""
    from fer.workshop import Workshop

    return Workshop(workspace).start(taken, "quick", on=HOUR)


def test_ctrl_c_in_the_shell_cancels_the_job_and_deletes_what_was_sent(hub, rented, tmp_path):
    hub.held = True
    command = [sys.executable, "-m", "fer", "finetune", "--data", f"snapshot:{snapshot(tmp_path)}", "--workspace", str(rented),
               "--speed", "quick", "--on", "jobs:cpu-upgrade", "--yes"]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as shell:
        wait_for(lambda: bool(hub.jobs) and any("waiting" in run.status().words for run in runs.listed(rented / "runs")), 300.0)
        shell.send_signal(signal.SIGINT)
        out, err = shell.communicate(timeout=120)
    assert (shell.returncode, out) == (130, ""), err
    assert "the run is stopped" in err and "Traceback" not in err and nothing_stays(hub)
    (run,) = runs.listed(rented / "runs")
    assert run.status().state == "stopped"


def test_stop_cancels_the_job_and_deletes_what_was_sent(hub, rented, tmp_path):
    hub.held = True
    run = started(rented, snapshot(tmp_path))
    wait_for(lambda: bool(hub.jobs) and "waiting" in run.status().words)
    runs.stop(run)
    assert run.status().state == "stopped" and nothing_stays(hub)
    assert [one.stage for one in hub.jobs.values()] == ["CANCELED"]


def test_a_follower_that_is_killed_is_taken_up_and_pays_once(hub, rented, tmp_path):
    hub.held = True
    run = started(rented, snapshot(tmp_path))
    wait_for(lambda: bool(hub.jobs) and "waiting" in run.status().words)
    os.kill(run.status().pid, signal.SIGKILL)
    wait_for(lambda: run.status().state == "interrupted")
    hub.held = False
    assert runs.take_up(rented / "runs").id == run.id
    wait_for(lambda: run.status().state not in runs.ALIVE, 300.0)
    assert (run.status().state, len(hub.jobs)) == ("finished", 1), run.log()
    assert nothing_stays(hub)


def test_what_a_killed_run_left_is_ended_by_whoever_stops_it(hub, rented, tmp_path):
    hub.held = True
    run = started(rented, snapshot(tmp_path))
    wait_for(lambda: bool(hub.jobs) and "waiting" in run.status().words)
    os.kill(run.status().pid, signal.SIGKILL)
    wait_for(lambda: run.status().state == "interrupted")
    assert remote.tidy(run) is None and nothing_stays(hub)
    hub.stop()
    assert remote.tidy(run) is None, "it is over, and nobody needs to be asked"


def test_what_cannot_be_ended_is_named(hub, tmp_path):
    paths = RunPaths(tmp_path)
    (tmp_path / "errand.json").write_text(json.dumps({"repository": "tester/x", "job": "7", "over": False}))
    hub.stop()
    words = remote.tidy(Run("x", paths))
    assert words.startswith("Look for the job 7 and the repository tester/x on the Hub and end them by hand: ") and "cannot be reached" in words
