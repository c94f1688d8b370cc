"""The Train tab in a real Chromium: what there is to learn from, runs in every state, the report; and the whole story
from two hundred imported faces to a model that answers, and back."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from calls import ask, assert_sentence, call, http
from conftest import ROOT
from e2e.studios import FAST, Studio, some_faces
from made_runs import finished, flip, judged, names, snapshot, write_curves, write_run
from model_versions import REFUSE, write_model
from playwright.sync_api import Page, expect

from fer import datasets, runs
from fer.emotions import CLASSES
from labeling.judgements import Judgement
from labeling.people import REFUSALS, House, Keys
from labeling.readiness import TO_LEARN

pytestmark = pytest.mark.browser
HTML = "<img src=x onerror=window.pwned=1>"


def to_train(page: Page) -> Page:
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#train .ready-words")).not_to_have_text("Counting …")
    return page


def label_all(studio: Studio, count: int, labels: tuple[str, ...] = CLASSES) -> None:
    for item in range(1, count + 1):
        studio.store.judge(item, Judgement(f"label {item}", "Ada", labels[item % len(labels)]))


def start_button(page: Page):
    return page.get_by_role("button", name="Start", exact=True)


# --- what there is to learn from ----------------------------------------------------------------


def test_too_few_is_a_sentence_and_no_run_starts(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(16))
    page = to_train(open_page(address=studio.address))
    expect(page.locator("#train .ready-words")).to_contain_text("No face has an expression as its label yet")
    expect(start_button(page)).to_be_disabled()
    label_all(studio, 16)
    page.reload()
    to_train(page)
    counted = studio.services.readiness()
    assert 0 < counted["to_learn"] < TO_LEARN and not counted["ready"]
    expect(page.locator("#train .ready-words")).to_have_text(counted["words"])
    for (name, more), note in zip(counted["missing"], page.locator("#train .notes li").all(), strict=False):
        expect(note).to_have_text(f"{more} more {name} before this helps.")
    expect(start_button(page)).to_be_disabled()
    expect(page.locator("#train .run")).to_be_hidden()
    for answer in (call(studio.address, "train_start", "quick")[1], ask(studio.address, "train.start", {"speed": "full"})["error"]):
        assert answer == counted["words"]
    assert not (studio.services.workspace / "runs").exists() and not (studio.services.workspace / "snapshots").exists()
    assert page.problems == []


def test_one_expression_only_is_a_sentence(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(32))
    label_all(studio, 32, ("happiness",))
    page = to_train(open_page(address=studio.address))
    expect(page.locator("#train .ready-words")).to_contain_text("All faces to learn from show happiness")
    expect(start_button(page)).to_be_disabled()


def test_enough_faces_can_start_with_either_speed(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(32))
    label_all(studio, 32, ("happiness", "neutral"))
    page = to_train(open_page(address=studio.address))
    expect(start_button(page)).to_be_enabled()
    counted = studio.services.readiness()
    row = page.locator("#train .by-class li").filter(has_text="Happiness")
    held_out = counted["held_out"]["happiness"]
    expect(row.locator(".count")).to_have_text(f"{counted['learn']['happiness']}" + (f" + {held_out}" if held_out else ""))
    expect(page.get_by_role("radio", name="Quick")).to_be_checked()
    expect(page.locator("#train .speed").first).to_contain_text(re.compile(r"Takes about \d+ (seconds|minute)"))
    expect(page.locator("#train .speed").last).to_contain_text(re.compile(r"Takes about \d+ minutes?\."))


def test_what_the_api_refuses_it_refuses_in_a_sentence(open_studio: Callable[..., Studio]):
    studio = open_studio()
    for name, values in (("train_start", ("slow",)), ("train_start", ("quick",)), ("train_stop", ()), ("train_resume", ())):
        event, words = call(studio.address, name, *values)
        assert event == "error"
        assert_sentence(words, studio.services.workspace)
    assert call(studio.address, "train_status") == ("complete", {"run": None})
    assert call(studio.address, "readiness")[1]["ready"] is False


def test_without_rights_the_tab_says_so(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio()
    studio.services.house = House(False, Keys.fresh())
    write_run(studio.services.workshop.runs)
    page = open_page(address=studio.address)
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#train .banner")).to_have_text(REFUSALS["train"])
    expect(start_button(page)).to_be_hidden()
    expect(page.locator("#train .run")).to_be_hidden()
    labeler = {"Authorization": f"Bearer {studio.services.house.keys.label}"}
    for name in ("look", "start", "stop", "use"):
        assert ask(studio.address, f"train.{name}", {"speed": "quick"}, labeler)["refused"]
    assert page.problems == []


# --- a run in its states ------------------------------------------------------------------------


def test_a_running_run_is_watched_while_it_goes_on(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio()
    there = studio.services.workshop.runs
    folder = write_run(there, words=f"learning {HTML}", seconds_left=100.0)
    write_curves(folder, 5)
    page = to_train(open_page(FAST, address=studio.address))
    expect(page.locator("#train .state")).to_have_text("Running.")
    expect(page.locator("#train .doing")).to_have_text(f"Learning {HTML} · step 9 of 30 · about 2 minutes left")
    assert page.locator("#train .progress").evaluate("(one) => one.value / one.max") == 0.3
    expect(page.locator("#train .loss figcaption")).to_contain_text("2.0 → 0.40")
    expect(page.locator("#train .accuracy figcaption")).to_contain_text("held-out corrections: 51.0 % → 55.0 %")
    expect(page.get_by_role("img", name=re.compile("^Loss by step. .*: 2.0 at step 1, 0.40 at step 5"))).to_be_visible()
    before = page.locator("#train .loss path").get_attribute("d")
    write_curves(folder, 12)
    expect(page.locator("#train .accuracy figcaption")).to_contain_text("62.0 %")
    assert page.locator("#train .loss path").get_attribute("d") != before
    page.locator("#train .log summary").click()
    expect(page.locator("#train .log pre")).to_contain_text("step 12: loss 0.1667")
    with (folder / "train.log").open("a") as file:
        file.write(f"{HTML}\n")
    expect(page.locator("#train .log pre")).to_contain_text(HTML)
    expect(start_button(page)).to_be_disabled()
    write_run(there, state="failed", error=f"The disk is full {HTML}.")
    expect(page.locator("#train .state")).to_have_text(f"It failed: The disk is full {HTML}.")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    assert page.problems == [] and page.evaluate("window.pwned") is None


def test_an_interrupted_run_offers_to_go_on(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio()
    page = to_train(open_page(FAST, address=studio.address))
    write_run(studio.services.workshop.runs, pid=2**22 - 1, born="1", boot="another boot")
    expect(page.locator("#train .state")).to_contain_text("It was cut off at step 9 of 30, as when")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.locator("#train .progress")).to_be_hidden()


def test_a_page_that_nobody_sees_asks_nothing(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio()
    write_run(studio.services.workshop.runs)
    page = to_train(open_page(address=studio.address))
    expect(page.locator("#train .state")).to_have_text("Running.")
    asked = []
    page.on("request", lambda request: asked.append(1) if '"look"' in (request.post_data or "") else None)
    page.wait_for_timeout(2500)
    assert 1 <= len(asked) <= 3, "about once a second"
    page.get_by_role("tab", name="Try").click()
    page.wait_for_timeout(500)  # one may be under way
    asked.clear()
    page.wait_for_timeout(1800)
    assert asked == []


def test_an_app_that_is_away_is_said_and_found_again(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio()
    write_run(studio.services.workshop.runs)
    page = to_train(open_page(FAST, address=studio.address))
    expect(page.locator("#train .state")).to_have_text("Running.")
    page.route("**/component_server**", lambda route: route.abort())
    expect(page.locator("#train .doing")).to_have_text("The app does not answer; trying again …")
    page.unroute("**/component_server**")
    expect(page.locator("#train .doing")).to_have_text("Step 9 of 30")


# --- the report ---------------------------------------------------------------------------------


def with_report(studio: Studio, tmp_path: Path, mended: int, broken: int) -> tuple[Path, Path]:
    """A finished run of the version "poor", and its snapshot."""
    studio.services.workshop.registry.add(write_model(tmp_path / "poor", "poor", 1000.0, REFUSE))
    taken = snapshot(studio.services.workspace / "snapshots")
    wrong, right, *_ = names(taken)
    flips = [flip(wrong, "fear", "fear", HTML), flip(right, "anger", "fear", "anger")]
    folder = finished(studio.services.workshop.runs, version="poor", snapshot_folder=str(taken), flips=flips, **judged(mended, broken))
    write_curves(folder)
    return folder, taken


def test_the_report_shows_before_and_after_and_the_flipped_faces(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio], tmp_path: Path
):
    studio = open_studio()
    with_report(studio, tmp_path, mended=4, broken=2)
    page = to_train(open_page(address=studio.address))
    expect(page.locator("#train .verdict")).to_contain_text("Not better: of 80 held-out corrections 78 are read rightly, 76 before")
    expect(page.locator("#train .facts")).to_contain_text("The version poor, from fer-1 · learned from 200 faces")
    table = page.locator("#train .before-after table")
    expect(table.locator("thead th").nth(1)).to_have_text("Held-out corrections (80)")
    for name, cells in (("Before", ["95.0 % [90.0, 98.8]", "100.0 % [100.0, 100.0]"]), ("Mended", ["4", "0"]), ("Broken", ["2", "0"]), ("p, one", ["0.34", "1.0"])):
        assert table.get_by_role("row", name=re.compile(f"^{name}")).locator("td").all_inner_texts() == cells
    expect(table.get_by_role("row", name=re.compile("^Change"))).to_contain_text("+2.5 points [−")
    page.locator("#train .per-class summary").click()
    expect(page.locator("#train .per-class table")).to_have_count(2)
    expect(page.locator("#train .per-class table").first.locator("tbody tr")).to_have_count(8)
    flips = page.locator("#train .flips li")
    expect(flips).to_have_count(2)
    expect(flips.first).to_contain_text("Right to wrong")
    expect(flips.first).to_contain_text(f"Fear 61 % → {HTML} 83 %")
    expect(flips.last).to_contain_text("Wrong to right")
    assert [image.evaluate("(one) => one.naturalWidth") for image in page.locator("#train .flips img").all()] == [48, 48]
    assert page.problems == [] and page.evaluate("window.pwned") is None


def test_promote_anyway_asks_who_and_why(open_page: Callable[..., Page], open_studio: Callable[..., Studio], tmp_path: Path):
    studio = open_studio()
    with_report(studio, tmp_path, mended=4, broken=2)
    page = to_train(open_page(address=studio.address))
    button = page.locator("#train .use")
    expect(button).to_have_text("Promote anyway …")
    button.click()
    expect(page.locator("#train .ask")).to_contain_text("Not better")
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    assert studio.services.workshop.registry.history() == []
    button.click()
    page.locator("#train .ask-who").fill("Ada")
    page.locator("#train .ask-why").fill("these are our faces")
    page.get_by_role("button", name="Promote anyway", exact=True).click()
    expect(page.locator("#train .used")).to_contain_text("The app answers with poor now.", timeout=30_000)
    expect(button).to_be_hidden()
    (line,) = studio.services.workshop.registry.history()
    assert (line["version"], line["who"], line["why"]) == ("poor", "Ada", "these are our faces")
    assert studio.services.recognizer().bundle.version == "poor" and page.problems == []


def test_a_better_version_is_used_without_a_reason(open_page: Callable[..., Page], open_studio: Callable[..., Studio], tmp_path: Path):
    studio = open_studio()
    folder, _ = with_report(studio, tmp_path, mended=30, broken=2)
    (studio.services.workshop.registry.find("poor").folder / "report.json").write_text((folder / "report.json").read_text())
    page = to_train(open_page(address=studio.address))
    expect(page.locator("#train .verdict")).to_contain_text("Better: of 80 held-out corrections 78")
    page.get_by_role("button", name="Use this version").click()
    expect(page.locator("#train .ask-why")).to_be_hidden()
    page.locator("#train .ask-who").fill("Ada")
    page.keyboard.press("Enter")
    expect(page.locator("#train .used")).to_contain_text("The app answers with poor now.", timeout=30_000)
    assert page.problems == []


def test_a_withdrawn_snapshot_shows_no_pictures(open_page: Callable[..., Page], open_studio: Callable[..., Studio], tmp_path: Path):
    studio = open_studio()
    _, taken = with_report(studio, tmp_path, mended=4, broken=2)
    (taken / "WITHDRAWN.json").write_text("{}")
    page = to_train(open_page(address=studio.address))
    expect(page.locator("#train .flip-words")).to_contain_text("Faces of this run's snapshot were withdrawn, so its pictures are not shown.")
    expect(page.locator("#train .flips li")).to_have_count(2)
    assert page.locator("#train .flips img").count() == 0 and page.problems == []


def test_a_report_without_held_out_faces_says_so(open_page: Callable[..., Page], open_studio: Callable[..., Studio], tmp_path: Path):
    studio = open_studio()
    folder, _ = with_report(studio, tmp_path, mended=4, broken=2)
    report = json.loads((folder / "report.json").read_text())
    empty = {"corrections": None, "benchmark": None, "flips": [], "held_out": 0,
             "verdict": {"code": "not enough to tell", "promote": False, "words": "Not enough to tell: no corrections are held out, 60 are needed."}}  # fmt: skip
    (folder / "report.json").write_text(json.dumps({**report, **empty}))
    page = to_train(open_page(address=studio.address))
    expect(page.locator("#train .verdict")).to_contain_text("Not enough to tell")
    expect(page.locator("#train .before-after")).to_contain_text("No face was held out")
    expect(page.locator("#train .flip-words")).to_have_text("No held-out face went from right to wrong or back.")
    assert page.problems == []


# --- real runs ----------------------------------------------------------------------------------

A_START, A_RUN = 180_000, 600_000  # milliseconds; on a quiet machine a few seconds, and half a minute


@pytest.fixture
def no_run_left(tmp_path: Path) -> Iterator[None]:
    """A run is no part of the app, and would outlive a test that fails."""
    yield
    for folder in tmp_path.glob("*/runs"):
        active = runs.active(folder)
        if active:
            runs.stop(active)


def running(page: Page) -> Page:
    """The page, once the run is under way and has drawn something."""
    expect(page.locator("#train .state")).to_have_text("Running.", timeout=A_START)
    expect(page.locator("#train .loss path")).to_be_attached(timeout=A_RUN)
    return page


def curve(page: Page) -> str:
    return page.locator("#train .loss path").get_attribute("d")


def moves(page: Page, times: int) -> None:
    """Waits until the curve of the loss was drawn anew so often."""
    for _ in range(times):
        page.wait_for_function(
            "(before) => document.querySelector('#train .loss path').getAttribute('d') !== before", arg=curve(page), timeout=A_RUN)


def answered_by(page: Page) -> str:
    """The version that reads a photo on the Try tab."""
    page.get_by_role("tab", name="Try").click()
    with page.expect_response(lambda answer: '"read_picture"' in (answer.request.post_data or ""), timeout=60_000) as caught:
        page.get_by_role("button", name="Eileen Collins").click()
    return caught.value.json()["reading"]["model"]


def class_folders(ferplus: Path, count: int) -> bytes:
    """A zip of so many faces of FER+'s validation split, in a folder for each expression."""
    faces = datasets.load(f"ferplus:{ferplus}", "val").for_evaluation()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for at in np.linspace(0, len(faces) - 1, count).astype(int):
            archive.write(faces.paths[at], f"{CLASSES[faces.labels[at]]}/{faces.paths[at].name}")
    return file.getvalue()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# The app, but its runs do not give way to all others: beside other busy processes they would take many times as long.
HURRIED = "import app; from fer import processes; processes.give_way = lambda pid: None; app.main()"


@contextmanager
def app_process(workspace: Path, port: int) -> Iterator[subprocess.Popen]:
    """The app in a process of its own; killed at the end, which no run minds."""
    command = [sys.executable, "-c", HURRIED, "--host", "127.0.0.1", "--port", str(port), "--workspace", str(workspace)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                if json.loads(http(f"http://127.0.0.1:{port}/healthz")[1])["ready"]:
                    break
            except OSError:
                pass
            assert process.poll() is None, "the app ended"
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def stop_and_resume(page: Page) -> None:
    began = time.monotonic()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#train .state")).to_contain_text(re.compile("^Stopped "), timeout=10_000)
    assert time.monotonic() - began < 8
    expect(page.get_by_role("button", name="Resume")).to_be_focused()
    page.get_by_role("button", name="Resume").click()
    running(page)


def assert_reported(page: Page, address: str) -> str:
    """The version that the report on the page is about."""
    expect(page.locator("#train .verdict")).to_contain_text("Not enough to tell")
    columns = page.locator("#train .before-after thead th").all_inner_texts()
    held_out = call(address, "readiness")[1]["to_test"]
    assert 0 < held_out < 60 and columns[1] == f"Held-out corrections ({held_out})" and columns[2].startswith("Base benchmark (")
    report = call(address, "train_status")[1]["report"]
    shown = min(24, len(report["flips"]))
    expect(page.locator("#train .flips li")).to_have_count(shown)
    expect(page.locator("#train .flips img")).to_have_count(shown)
    broken = [one["broken"] for one in report["flips"]]
    assert broken == sorted(broken, reverse=True)
    return report["version"]


@pytest.mark.data
@pytest.mark.usefixtures("no_run_left")
def test_two_hundred_faces_become_a_model_that_answers_and_back(open_page: Callable[..., Page], ferplus: Path, tmp_path: Path):
    """One real run, for it takes a minute: stopped, resumed, left alone by a page that loads and an app that is killed."""
    workspace, port = tmp_path / "workspace", free_port()
    address = f"http://127.0.0.1:{port}"
    with app_process(workspace, port) as process:
        page = open_page(address=address)
        before = answered_by(page)
        page.get_by_role("tab", name="Data").click()
        page.locator("#data .files").set_input_files([{"name": "mine.zip", "mimeType": "application/zip", "buffer": class_folders(ferplus, 200)}])
        expect(page.locator("#data .imports > li")).to_contain_text("200 new faces · 200 new labels.", timeout=60_000)

        to_train(page)
        expect(page.locator("#train .ready-words")).to_contain_text("A run can start and learns from")
        start_button(page).click()
        running(page)
        stop_and_resume(page)
        moves(page, 1)
        page.reload()
        to_train(page)
        running(page)
        moves(page, 1)
        assert json.loads(http(f"{address}/healthz")[1])["model"] == before, "the old version answers meanwhile"
        (status,) = [json.loads(path.read_text()) for path in workspace.glob("runs/*/status.json")]
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.kill(status["pid"], 0)  # the run goes on
        expect(page.locator("#train .doing")).to_have_text("The app does not answer; trying again …", timeout=20_000)
        assert page.problems == []

    with app_process(workspace, port):
        page = to_train(open_page(address=address))
        expect(page.locator("#train .state")).to_have_text(re.compile("^(Running|Finished)"), timeout=30_000)
        expect(page.locator("#train .state")).to_contain_text("Finished", timeout=A_RUN)
        assert len(list(workspace.glob("runs/2*"))) == 1
        version = assert_reported(page, address)
        page.locator("#train .use").click()
        page.locator("#train .ask-who").fill("Ada")
        page.locator("#train .ask-why").fill("to see it answer")
        page.get_by_role("button", name="Promote anyway", exact=True).click()
        expect(page.locator("#train .used")).to_contain_text("The app answers with", timeout=60_000)
        assert answered_by(page) == version != before
        page.get_by_role("tab", name="Models").click()
        page.get_by_role("button", name="Roll back").click()
        expect(page.locator("#models .in-use")).to_have_text(f"{before} answers.", timeout=60_000)
        page.reload()
        page.locator(".samples .sample").first.wait_for()
        assert answered_by(page) == before
        assert [line["version"] for line in call(address, "models")[1]["history"]] == [before, version]
        assert page.problems == []
