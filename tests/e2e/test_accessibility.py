"""axe-core on the page in its states, wide and narrow, light and dark; the page by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.axe import serious
from e2e.studios import Studio, some_faces, to_faces, to_label
from made_runs import finished, flip as read_otherwise, judged, names, snapshot, write_curves, write_run
from model_versions import REFUSE, flip, write_model
from playwright.sync_api import Page, expect

from labeling.judgements import Judgement

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_serious(open_page: Callable[..., Page], scheme: str, width: int):
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert serious(page) == []
    page.get_by_role("button", name="Use the camera").click()
    assert serious(page) == []
    page.get_by_role("button", name="Not now").click()
    page.get_by_role("button", name="Eight people").click()
    expect(page.locator(".face").first).to_be_visible()
    assert serious(page) == []
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Open the camera").click()
    expect(page.locator(".meter")).to_contain_text("frames/s")
    page.get_by_role("button", name="Pause").click()
    assert serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_serious_where_faces_are_labelled(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio], scheme: str, width: int
):
    studio = open_studio(some_faces(1))
    page = open_page(address=studio.address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = {}

    def look(state: str) -> None:
        found[state] = serious(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{state} is wider than the window"

    to_label(page)
    look("asked for the name")
    to_faces(page, "Ada")
    look("a face")
    page.keyboard.press("h")
    look("help")
    page.keyboard.press("h")
    page.keyboard.press("Shift+2")
    look("a second expression")
    page.keyboard.press("3")
    expect(page.locator(".reveal")).to_contain_text("Kept.")
    expect(page.locator(".nothing")).to_contain_text("No face is waiting")
    look("no face left")
    page.keyboard.press("u")
    page.route("**/component_server**", lambda route: route.abort())
    page.keyboard.press("4")
    expect(page.locator("#labeling .banner")).to_contain_text("label")
    look("the app is away")
    page.unroute("**/component_server**")
    page.get_by_role("tab", name="Try").click()
    page.get_by_role("button", name="Eileen Collins").click()
    expect(page.locator(".box")).to_have_count(1)
    page.keyboard.press("3")
    expect(page.locator(".consent")).to_be_visible()
    look("consent")
    page.get_by_role("button", name="I agree, keep it").click()
    expect(page.locator(".kept")).to_contain_text("Kept")
    page.locator(".given summary").click()
    look("given")
    assert {state: problems for state, problems in found.items() if problems} == {}


def with_models(studio: Studio, tmp_path: Path) -> Path:
    """The snapshot of an app with a version that did not prove better, one that is damaged, and one that was promoted."""
    workshop, made = studio.services.workshop, tmp_path / "made"
    for name, tilt in (("a-long-name-of-a-version-as-a-run-gives-it-20261121-115530", 1.0), ("poor", 1000.0), ("broken", 2.0)):
        workshop.registry.add(write_model(made / name, name, tilt, REFUSE, snapshot="abc", command="python -m fer finetune " * 12))
    flip(workshop.registry.find("broken").folder)
    workshop.registry.promote("a-long", "Bartholomäus Maximilian von und zu Hohenfels", "these are our own faces " * 5)
    mark = studio.services.workspace / "snapshots" / "abc"
    mark.mkdir(parents=True)
    (mark / "WITHDRAWN.json").write_text("{}")
    return snapshot(studio.services.workspace / "snapshots")


@pytest.mark.usefixtures("short_benchmark")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_serious_where_the_model_is_taught(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio], tmp_path: Path, scheme: str, width: int
):
    studio = open_studio(some_faces(24))
    taken = with_models(studio, tmp_path)
    page = open_page(address=studio.address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    found, runs = {}, studio.services.workshop.runs

    def look(state: str) -> None:
        found[state] = serious(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{state} is wider than the window"

    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#train .ready-words")).to_contain_text("No face")
    look("too few")
    for item in range(1, 25):
        studio.store.judge(item, Judgement(f"label {item}", "Ada", ("happiness", "fear", "NF")[item % 3]))
    write_run(runs, state="starting", steps=0, step=0)
    expect(page.locator("#train .state")).to_have_text("Starting …", timeout=10_000)
    look("starting")
    write_curves(write_run(runs, words="learning", seconds_left=90.0))
    expect(page.locator("#train .curves")).to_be_visible()
    page.locator("#train .log summary").click()
    look("running")
    write_run(runs, state="failed", error="The disk of the workspace is full; free some space and try again.")
    expect(page.locator("#train .state")).to_contain_text("It failed")
    look("failed")
    flips = [read_otherwise(name, "fear", *pair) for name, pair in zip(names(taken), (("fear", "contempt"), ("happiness", "fear")), strict=False)]
    finished(runs, version="poor", snapshot_folder=str(taken), flips=flips, **judged(4, 2))
    expect(page.locator("#train .flips img")).to_have_count(2, timeout=10_000)
    page.locator("#train .per-class summary").click()
    look("report")
    page.get_by_role("button", name="Promote anyway").click()
    expect(page.locator("#train .ask-who")).to_be_focused()
    look("who and why")
    page.keyboard.press("Escape")

    page.get_by_role("tab", name="Models").click()
    expect(page.locator("#models .versions > li")).to_have_count(4)
    page.locator("#models summary").first.click()
    expect(page.locator("#models details pre").nth(1)).to_be_visible()
    look("versions")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#models .result table")).to_have_count(3, timeout=60_000)
    look("comparison")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#models .ask-who")).to_be_focused()
    look("who")
    assert {state: problems for state, problems in found.items() if problems} == {}


def test_every_control_of_a_report_and_of_the_models_is_reached_by_the_tab_key(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio], tmp_path: Path
):
    studio = open_studio()
    taken = with_models(studio, tmp_path)
    flips = [read_otherwise(name, "fear", "fear", "anger") for name in names(taken)] * 6
    write_curves(finished(studio.services.workshop.runs, version="poor", snapshot_folder=str(taken), flips=flips, **judged(4, 2)))
    page = open_page(address=studio.address)
    page.get_by_role("tab", name="Train").click()
    expect(page.get_by_role("button", name="Show more")).to_be_visible()
    # Of the two speeds Tab reaches the chosen one, and the arrow keys the other.
    page.get_by_role("radio", name="Full").evaluate("(one) => { one.tabIndex = -1; one.disabled = true; }")
    reached, wanted = stops(page, "#train")
    assert len(reached) == wanted - 1 == 5
    page.get_by_role("tab", name="Models").click()
    expect(page.locator("#models .versions > li")).to_have_count(4)
    reached, wanted = stops(page, "#models")
    assert reached == set(range(wanted)) and wanted == 8


def stops(page: Page, inside: str) -> tuple[set[int], int]:
    """Which of the controls inside `inside` the Tab key reaches, and how many there are to see."""
    wanted = page.evaluate("""(inside) => [...document.querySelectorAll(inside)]
        .flatMap((one) => [...one.querySelectorAll("button:not(:disabled), input, summary")])
        .filter((one) => one.getClientRects().length).map((one, index) => (one.dataset.stop = index)).length""", inside)
    reached = set()
    for _ in range(3 * wanted + 20):
        page.keyboard.press("Tab")
        stop = page.evaluate("document.activeElement?.dataset?.stop ?? null")
        if stop is not None:
            reached.add(int(stop))
    return reached, wanted


def test_every_control_of_the_label_tab_is_reached_by_the_tab_key_and_works_with_enter(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio(some_faces(4))
    page = open_page(address=studio.address)
    to_label(page)
    reached, wanted = stops(page, "#labeling")
    assert reached == set(range(wanted)) and wanted == 2
    to_faces(page, "Ada")
    page.keyboard.press("2")  # so that there is something to undo
    expect(page.locator(".reveal")).to_contain_text("Kept.")
    reached, wanted = stops(page, "#labeling")
    assert reached == set(range(wanted)) and wanted == 15
    page.locator(".answer[data-answer=fear]").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_have_text("You: fear")
    page.get_by_role("button", name="Help").focus()
    page.keyboard.press("Enter")
    reached, wanted = stops(page, "#labeling .guide")
    assert reached == set(range(wanted)) and wanted == 1
    page.get_by_role("button", name="Back to the faces").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Help")).to_be_focused()


def test_the_consent_dialog_is_answered_by_keyboard_alone(page: Page):
    page.get_by_role("button", name="Eileen Collins").click()
    expect(page.locator(".box")).to_have_count(1)
    page.locator(".scores .row").nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".consent")).to_be_visible()
    reached, wanted = stops(page, "#try .consent")
    assert reached == set(range(wanted)) and wanted == 4
    page.get_by_role("button", name="Not now").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".kept")).to_have_text("Nothing was kept.")
    expect(page.locator(".scores .row").nth(2)).to_be_focused()


def test_every_control_is_reached_by_the_tab_key(page: Page):
    page.get_by_role("button", name="Eileen Collins").click()
    expect(page.locator(".box")).to_have_count(1)
    wanted = page.evaluate("""[...document.querySelectorAll('#try button, #try input, #try summary')]
        .filter((one) => one.getClientRects().length).map((one, index) => (one.dataset.stop = index)).length""")
    reached = set()
    for _ in range(3 * wanted + 20):
        page.keyboard.press("Tab")
        stop = page.evaluate("document.activeElement?.dataset?.stop ?? null")
        if stop is not None:
            reached.add(int(stop))
    assert reached == set(range(wanted))
