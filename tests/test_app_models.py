"""The app follows the active model of its workspace, without a restart and without anybody noticing a gap."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import calls
import pytest
from conftest import ROOT
from gradio_client import Client, handle_file
from label_workspaces import face
from model_versions import PROMOTE, flip, write_model

import app
from fer import serving as module
from fer.registry import Registry, RegistryError
from fer.serving import Serving
from labeling.items import NewItem

SHIPS = Registry(Path("nowhere")).active().version


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Bundles as a training leaves them; the last layer of the second leans far to neutral."""
    root = tmp_path_factory.mktemp("made")
    return {name: write_model(root / name, name, tilt, PROMOTE) for name, tilt in (("one", 1.0), ("two", 50.0))}


@pytest.fixture
def registry(tmp_path, made) -> Registry:
    registry = Registry(tmp_path / "models")
    for folder in made.values():
        registry.add(folder)
    return registry


@pytest.fixture
def running() -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(*arguments: object) -> Serving:
        started.append(Serving(*arguments))
        started[-1].start()
        started[-1].recognizer()
        return started[-1]

    yield start
    for one in started:
        one.stop()


def model(serving: Serving) -> str:
    return serving.recognizer().bundle.version


def wait_for(happened: Callable[[], bool], seconds: float = 10.0) -> float:
    started = time.monotonic()
    while not happened():
        assert time.monotonic() < started + seconds, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - started


# --- the model that serves ----------------------------------------------------------------------


def test_the_active_model_of_the_workspace_is_loaded_at_start(registry, running):
    registry.promote("one", "Ada")
    serving = running(registry)
    assert model(serving) == serving.health()["model"] == "one"
    assert serving.health() == {"status": "ok", "ready": True, "model": "one", "error": None, "warning": None}


def test_a_promotion_is_followed_both_ways(registry, running):
    serving = running(registry)
    assert model(serving) == SHIPS
    registry.promote("one", "Ada")
    wait_for(lambda: model(serving) == "one", 20)
    registry.rollback("Ada")
    wait_for(lambda: model(serving) == SHIPS, 20)


def test_of_two_promotions_at_once_the_last_serves(registry, running, monkeypatch):
    serving = running(registry)
    load, loads = registry.load_active, []

    def slow():
        loaded = load()
        if not loads:
            registry.promote("two", "Grace")  # while the first is being loaded
        loads.append(loaded[0].version)
        return loaded

    monkeypatch.setattr(registry, "load_active", slow)
    registry.promote("one", "Ada")
    wait_for(lambda: model(serving) == "two", 20)
    assert loads == ["one", "two"]


def test_the_old_model_serves_while_the_new_one_is_loaded_and_leaves_memory_after(registry, running, monkeypatch, collins):
    serving = running(registry)
    load, go, waiting = registry.load_active, threading.Event(), threading.Event()

    def held():
        waiting.set()
        assert go.wait(20)
        return load()

    monkeypatch.setattr(registry, "load_active", held)
    registry.promote("two", "Ada")
    assert waiting.wait(5)
    assert serving.recognizer().read(collins).faces[0].prediction.expression == "happiness"
    under_way, old = serving.recognizer(), weakref.ref(serving.recognizer().bundle.network)
    go.set()
    wait_for(lambda: model(serving) == "two", 20)
    assert under_way.read(collins).model == SHIPS  # what is under way ends with the old one
    assert serving.recognizer().read(collins).faces[0].prediction.expression == "neutral"
    del under_way
    gc.collect()
    assert old() is None


def test_a_damaged_model_is_refused_while_the_old_one_serves(registry, running):
    registry.promote("one", "Ada")
    serving = running(registry)
    before = serving.recognizer()
    registry.promote("two", "Ada")
    flip(registry.root / "two")  # before or after the app looks: see the next test
    wait_for(lambda: serving.health()["warning"] is not None or model(serving) == "two", 20)
    registry.promote("one", "Ada")
    wait_for(lambda: model(serving) == "one" and serving.health()["warning"] is None, 20)
    flip(registry.root / "two", at=-2)
    registry.pointer_file.write_text(json.dumps({"version": "two"}))
    wait_for(lambda: serving.health()["warning"] is not None, 20)
    health = serving.health()
    assert (health["status"], health["ready"], health["model"], health["error"]) == ("ok", True, "one", None)
    assert health["warning"].startswith("two cannot be used, so one serves in its place: two/model.safetensors")
    assert before.bundle.version == "one"
    registry.promote("shipped", "Ada")
    wait_for(lambda: model(serving) == SHIPS and serving.health()["warning"] is None, 20)


def test_a_damaged_active_model_at_start_gives_way_to_the_last_good_one(registry, running):
    registry.promote("one", "Ada")
    registry.promote("two", "Ada")
    flip(registry.root / "two")
    serving = running(registry)
    assert model(serving) == "one" and "so one serves" in serving.health()["warning"]


def test_a_fault_while_a_model_is_loaded_is_said_and_ends_nothing(registry, running, monkeypatch):
    serving = running(registry)
    load = registry.load_active
    monkeypatch.setattr(registry, "load_active", lambda: 1 / 0)
    registry.promote("one", "Ada")
    wait_for(lambda: serving.health()["warning"] is not None, 20)
    assert model(serving) == SHIPS and "the log says why" in serving.health()["warning"]
    monkeypatch.setattr(registry, "load_active", load)
    registry.promote("two", "Ada")
    wait_for(lambda: model(serving) == "two" and serving.health()["warning"] is None, 20)


@pytest.mark.parametrize("chosen", ["folder", "version"])
def test_a_model_that_was_chosen_at_start_stays(registry, running, made, chosen, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    serving = running(registry, made["two"] if chosen == "folder" else Path("two"))
    for act in (lambda: serving.promote("one", "Ada"), lambda: serving.rollback("Ada")):
        with pytest.raises(RegistryError, match="started with --model"):
            act()
    registry.promote("one", "Ada")
    time.sleep(3 * module.LOOK_SECONDS)
    assert model(serving) == "two" and registry.active().version == "one"


def test_a_promotion_in_the_app_is_followed_at_once(registry, running, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)
    serving = running(registry)
    time.sleep(0.2)
    assert serving.promote("one", "Ada", "better").active
    wait_for(lambda: model(serving) == "one", 20)
    assert serving.rollback("Ada").version == SHIPS
    wait_for(lambda: model(serving) == SHIPS, 20)


def test_the_watching_ends_with_the_app(registry, running):
    before = set(threading.enumerate())
    serving = running(registry)
    (thread,) = [one for one in set(threading.enumerate()) - before if one.name == "serving"]
    serving.stop()
    thread.join(3)
    assert not thread.is_alive()


def test_settings_name_a_version_or_a_folder(monkeypatch):
    monkeypatch.delenv("FER_MODEL", raising=False)
    assert app.Settings.from_command_line([]).model is None
    assert app.Settings.from_command_line(["--model", "two"]).model == Path("two")


# --- the app ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory, made) -> Iterator[tuple[app.Services, str, Registry]]:
    """An app of this process, its address, and the registry of its workspace as another process sees it."""
    workspace = tmp_path_factory.mktemp("workspace")
    registry = Registry(workspace / "models")
    for folder in made.values():
        registry.add(folder)
    services = app.Services(app.Settings(host="127.0.0.1", workspace=workspace))
    page, address = app.launch(services, block=False)
    services.recognizer()
    yield services, address.rstrip("/"), registry
    page.close()
    services.close()


def shell(registry: Registry, *arguments: str) -> None:
    """``python -m fer models`` in a process of its own."""
    command = [sys.executable, "-m", "fer", "models", *arguments, "--workspace", str(registry.root.parent), "--who", "Ada"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


class Viewer:
    """A live page that sends frame after frame: its answers, with when they came, and what went wrong."""

    def __init__(self, address: str, photo: Path) -> None:
        self.address, self.answers, self.faults, self.done = address, [], [], False
        self.picture = calls.data_url(photo)
        self.component = calls.server_functions(address)["try.read_frame"]
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        wait_for(lambda: len(self.answers) > 3)

    def _run(self) -> None:
        while not self.done:
            payload = {"viewer": "page", "picture": self.picture}
            answer = calls.ask_component(self.address, self.component, "read_frame", payload)
            if "error" in answer or not answer.get("faces"):
                self.faults.append(answer)
            self.answers.append((time.monotonic(), answer))

    def ended(self) -> list[dict]:
        self.done = True
        self.thread.join(20)
        return [answer for _, answer in self.answers]

    def longest_gap(self) -> float:
        times = [at for at, _ in self.answers]
        return max(after - before for before, after in zip(times, times[1:], strict=False))


def test_a_promotion_from_the_shell_reaches_photos_pages_and_the_queue(served, collins):
    services, address, registry = served
    (item,) = services.labels().add([NewItem("folder", "g", face(1), 112, 112, (0, 0, 112, 112))])
    wait_for(lambda: services.labels().scored(item))
    assert services.labels().scored(item).model == SHIPS
    client, viewer = Client(address, verbose=False), Viewer(address, collins)

    def reads() -> dict:
        return client.predict(handle_file(str(collins)), api_name="/predict")

    assert reads()["model"] == SHIPS
    try:
        shell(registry, "promote", "two")
        wait_for(lambda: reads()["model"] == "two", 10)
        assert reads()["faces"][0]["expression"] == "neutral"
        wait_for(lambda: viewer.answers[-1][1]["faces"][0]["expression"] == "neutral", 10)
        wait_for(lambda: services.labels().scored(item).model == "two")  # what the old one said served until now
        shell(registry, "rollback")
        wait_for(lambda: reads()["model"] == SHIPS, 20)
        wait_for(lambda: viewer.answers[-1][1]["faces"][0]["expression"] == "happiness", 20)
    finally:
        answers = viewer.ended()
    assert viewer.faults == [] and viewer.longest_gap() < 5, (viewer.faults, viewer.longest_gap())
    assert len({answer["faces"][0]["id"] for answer in answers}) == 1  # the page's face is followed throughout


def test_health_says_what_is_wrong_with_a_promoted_model(served):
    _, address, registry = served
    registry.promote("one", "Ada")
    wait_for(lambda: json.loads(calls.http(f"{address}/healthz")[1])["model"] == "one", 20)
    flip(registry.root / "two")
    registry.pointer_file.write_text(json.dumps({"version": "two"}))

    def health() -> dict:
        return json.loads(calls.http(f"{address}/healthz")[1])

    wait_for(lambda: health()["warning"] is not None, 20)
    assert (health()["model"], health()["status"]) == ("one", "ok") and "two/model.safetensors" in health()["warning"]
    assert str(registry.root) not in health()["warning"]
