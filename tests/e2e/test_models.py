"""The Models tab in a real Chromium: versions, promoting and going back, comparing, what is damaged or withdrawn, rights."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from calls import ask, assert_sentence, call, http
from e2e.studios import FAST, Studio, some_faces
from model_versions import PROMOTE, REFUSE, flip, write_model
from playwright.sync_api import Page, expect

from fer.emotions import CLASSES
from labeling.judgements import Judgement
from labeling.people import REFUSALS, House, Keys

pytestmark = pytest.mark.browser
HTML = "<img src=x onerror=window.pwned=1>"


def to_models(page: Page) -> Page:
    page.get_by_role("tab", name="Models").click()
    expect(page.locator("#models .in-use")).not_to_have_text("Looking …")
    return page


def version(page: Page, name: str):
    return page.locator(f'#models .versions > li[data-version="{name}"]')


@pytest.fixture
def studio(open_studio: Callable[..., Studio], tmp_path: Path) -> Studio:
    """An app with two versions beside the shipped one: "good" passed the gate, "poor" did not."""
    one = open_studio(some_faces(24))
    one.services.workshop.registry.add(write_model(tmp_path / "good", "good", 1.0, PROMOTE, command=f"python -m fer finetune {HTML}", snapshot="abc"))
    one.services.workshop.registry.add(write_model(tmp_path / "poor", "poor", 1000.0, REFUSE))
    return one


def shipped(studio: Studio) -> str:
    return next(one["version"] for one in studio.services.workshop.models() if one["shipped"])


def answering(studio: Studio) -> str:
    return json.loads(http(f"{studio.address}/healthz")[1])["model"]


def test_an_app_that_was_never_taught_has_the_shipped_model(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio()
    page = to_models(open_page(address=studio.address))
    expect(page.locator("#models .in-use")).to_have_text(f"{shipped(studio)} answers.")
    expect(page.locator("#models .versions > li")).to_have_count(1)
    expect(page.locator("#models .versions h3")).to_contain_text("in use")
    expect(page.locator("#models .versions h3")).to_contain_text("ships with the app")
    expect(page.locator("#models .figures")).to_contain_text(re.compile(r"ferplus test \(3,137 faces\): accuracy 8\d\.\d %, macro-F1"))
    expect(page.locator("#models .history")).to_have_text("Nothing was promoted yet: the model that ships answers.")
    expect(page.get_by_role("button", name="Roll back")).to_be_hidden()
    expect(page.get_by_role("button", name="Compare")).to_be_hidden()
    expect(page.get_by_text("There is one version only")).to_be_visible()
    page.locator("#models summary").click()
    expect(page.locator("#models details pre").first).to_contain_text("python -m fer train")
    expect(page.locator("#models details pre").last).to_contain_text("# " + shipped(studio))
    assert page.problems == []


def test_a_version_is_promoted_and_gone_back_from(open_page: Callable[..., Page], studio: Studio):
    page = to_models(open_page(address=studio.address))
    expect(page.locator("#models .versions > li")).to_have_count(3)
    expect(version(page, "good")).to_contain_text(f"from {shipped(studio)} · snapshot abc")
    expect(version(page, "good")).to_contain_text(PROMOTE["words"])
    version(page, "good").get_by_role("button").click()
    dialog = page.locator("#models .ask")
    expect(dialog).to_be_visible()
    expect(page.locator("#models .ask-who")).to_be_focused()
    expect(page.locator("#models .ask-why")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(version(page, "good").get_by_role("button")).to_be_focused()
    assert answering(studio) == shipped(studio)

    version(page, "good").get_by_role("button").click()
    page.locator("#models .ask-who").fill(f"Ada {HTML}")
    page.keyboard.press("Enter")
    expect(page.locator("#models .in-use")).to_have_text("good answers.", timeout=30_000)
    assert answering(studio) == "good"
    expect(version(page, "good").locator("h3")).to_contain_text("in use")
    expect(page.locator("#models .history li")).to_have_count(1)
    expect(page.locator("#models .history li")).to_contain_text(f"good was promoted by Ada {HTML}.")

    page.get_by_role("button", name="Roll back").click()  # who does so is known by now
    expect(page.locator("#models .in-use")).to_have_text(f"{shipped(studio)} answers.", timeout=30_000)
    expect(page.locator("#models .history li").first).to_contain_text(f"{shipped(studio)} was gone back to by Ada")
    assert answering(studio) == shipped(studio)
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#models .banner")).to_contain_text("nothing to go back to")
    assert page.problems == [] and page.evaluate("window.pwned") is None


def test_promoting_anyway_asks_who_and_why_and_keeps_both(open_page: Callable[..., Page], studio: Studio):
    page = to_models(open_page(address=studio.address))
    button = version(page, "poor").get_by_role("button")
    expect(button).to_have_text("Promote anyway …")
    button.click()
    expect(page.locator("#models .ask")).to_contain_text(REFUSE["words"])
    page.locator("#models .ask-who").fill("Ada")
    page.get_by_role("button", name="Promote anyway", exact=True).click()
    expect(page.locator("#models .ask"), "without a reason nothing happens").to_be_visible()
    page.locator("#models .ask-why").fill(f"we know {HTML}")
    page.keyboard.press("Enter")
    expect(page.locator("#models .in-use")).to_have_text("poor answers.", timeout=30_000)
    expect(page.locator("#models .history li")).to_contain_text(f"Why: we know {HTML}")
    (line,) = studio.services.workshop.registry.history()
    assert (line["version"], line["who"], line["why"], line["action"]) == ("poor", "Ada", f"we know {HTML}", "promote")
    version(page, "good").get_by_role("button").click()  # the name is known
    expect(page.locator("#models .in-use")).to_have_text("good answers.", timeout=30_000)
    assert page.problems == [] and page.evaluate("window.pwned") is None


def test_what_another_process_promotes_is_shown(open_page: Callable[..., Page], studio: Studio):
    page = to_models(open_page(FAST, address=studio.address))
    studio.services.workshop.registry.promote("good", "the shell")
    expect(page.locator("#models .in-use")).to_have_text("good answers.", timeout=30_000)
    expect(page.locator("#models .history li")).to_contain_text("by the shell")


def test_a_damaged_version_and_a_withdrawn_one_are_said_in_words(open_page: Callable[..., Page], studio: Studio):
    registry = studio.services.workshop.registry
    flip(registry.find("poor").folder)
    mark = studio.services.workspace / "snapshots" / "abc" / "WITHDRAWN.json"
    mark.parent.mkdir(parents=True)
    mark.write_text('{"items": [1]}')
    page = to_models(open_page(address=studio.address))
    expect(version(page, "poor").locator("h3")).to_contain_text("damaged")
    expect(version(page, "poor")).to_contain_text("checksum differs")
    expect(version(page, "poor").get_by_role("button")).to_have_count(0)
    expect(version(page, "good")).to_contain_text("Faces were withdrawn that it, or a version it goes back to, has learned from.")
    assert page.locator("#models .one option").all_inner_texts() == ["good", shipped(studio)]
    event, words = call(studio.address, "promote", "poor", "Ada", "all the same")
    assert event == "error" and "checksum differs" in words
    assert answering(studio) == shipped(studio) and page.problems == []


def say_all(studio: Studio, label: str = CLASSES[1]) -> None:
    for item in range(1, 25):
        studio.store.judge(item, Judgement(f"say {item}", "Ada", label))


def held_out(studio: Studio) -> int:
    return studio.services.readiness()["to_test"]


@pytest.mark.usefixtures("short_benchmark")
def test_any_two_are_compared_on_the_held_out_faces(open_page: Callable[..., Page], studio: Studio):
    say_all(studio)
    page = to_models(open_page(address=studio.address))
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#models .comparing")).to_contain_text(f"{shipped(studio)} before, ", timeout=60_000)
    page.locator("#models .one").select_option("good")
    page.locator("#models .other").select_option("poor")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#models .comparing")).to_have_text("good before, poor after.", timeout=60_000)
    table = page.locator("#models .result table").first
    assert table.locator("thead th").all_inner_texts() == ["", f"Held-out corrections ({held_out(studio)})", "Base benchmark (40)"]
    expect(page.locator("#models .decided")).to_contain_text("Not enough to tell")
    expect(table.get_by_role("row", name=re.compile("^After"))).to_contain_text("0.0 % [0.0, 0.0]")
    expect(page.locator("#models .result table").last).to_contain_text("Happiness")
    page.reload()
    to_models(page)
    expect(page.locator("#models .comparing"), "it is known until the app is started anew").to_have_text("good before, poor after.")
    assert page.problems == []


def test_what_cannot_be_compared_is_said(open_page: Callable[..., Page], studio: Studio):
    page = to_models(open_page(address=studio.address))
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#models .comparing")).to_have_text("No face has a label yet; label some, or import labelled ones.")
    say_all(studio)
    page.locator("#models .one").select_option("good")
    page.locator("#models .other").select_option("good")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#models .comparing")).to_have_text("These are the same version; choose two.")


def test_the_app_answers_while_it_compares(studio: Studio):
    say_all(studio)
    state = ask(studio.address, "models.compare", {"one": "good", "other": "poor"})
    assert state["running"] and ask(studio.address, "models.compare", {"one": "good", "other": "poor"})["error"].startswith("Another comparison")
    slowest = 0.0
    for _ in range(20):
        began = time.monotonic()
        assert http(f"{studio.address}/healthz")[0] == 200
        slowest = max(slowest, time.monotonic() - began)
    while ask(studio.address, "models.compared", {})["running"]:
        time.sleep(0.05)
    assert ask(studio.address, "models.compared", {})["comparison"]["accuracy_after"] == 0.0
    assert slowest < 1.0


# --- by program ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_benchmark")
def test_the_api_does_the_same(studio: Studio):
    say_all(studio)
    event, answer = call(studio.address, "models")
    assert event == "complete" and [one["version"] for one in answer["versions"] if one["active"]] == [shipped(studio)]
    compared = call(studio.address, "compare", "good", "poor")[1]
    assert (compared["after"], compared["comparison"]["n"], compared["benchmark"]["n"]) == ("poor", held_out(studio), 40)
    assert call(studio.address, "promote", "good", "Ada", "")[1] == {"version": "good"} and answering(studio) == "good"
    event, words = call(studio.address, "promote", "poor", "Ada", "")
    assert event == "error" and "Say why" in words and answering(studio) == "good"
    assert call(studio.address, "promote", "poor", "Ada", "because")[1] == {"version": "poor"} and answering(studio) == "poor"
    assert call(studio.address, "rollback", "Ada")[1] == {"version": "good"} and answering(studio) == "good"
    assert [line["who"] for line in call(studio.address, "models")[1]["history"]] == ["Ada", "Ada", "Ada"]
    for name, values in (("promote", ("nothing", "Ada", "")), ("promote", ("good", "", "")), ("rollback", ("",)),
                         ("compare", ("good", "nothing")), ("compare", ("good", "good"))):  # fmt: skip
        event, words = call(studio.address, name, *values)
        assert event == "error", (name, values)
        assert_sentence(words, studio.services.workspace)


def test_without_rights_the_tab_says_so(open_page: Callable[..., Page], studio: Studio):
    studio.services.house = House(False, Keys.fresh())
    page = open_page(address=studio.address)
    page.get_by_role("tab", name="Models").click()
    expect(page.locator("#models .banner")).to_have_text(REFUSALS["train"])
    expect(page.get_by_role("button", name="Compare")).to_be_hidden()
    assert page.locator("#models .versions li").count() == 0 and page.problems == []
