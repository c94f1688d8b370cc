"""The password form in a real Chromium, with and without JavaScript, and newcomers on the Data tab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from calls import ask
from e2e.axe import serious
from e2e.studios import Studio, some_faces, to_faces
from playwright.sync_api import Browser, Page, expect

from labeling.limits import Guesses
from labeling.snapshot import gathered

pytestmark = pytest.mark.browser
OWNERS, LABELERS = "correct horse battery", "staple staple staple"


@pytest.fixture
def studio(open_studio: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch) -> Studio:
    """An app that others reach, with a password for labelers and one for its owner."""
    monkeypatch.setenv("FER_OWNER_PASSWORD", OWNERS)
    monkeypatch.setenv("FER_LABELER_PASSWORD", LABELERS)
    return open_studio(some_faces(6), host="0.0.0.0")


def come_in(page: Page, studio: Studio, password: str) -> None:
    page.goto(f"{studio.address}/enter")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Come in").click()


def test_from_the_page_to_the_form_and_in(open_page: Callable[..., Page], studio: Studio):
    page = open_page(address=studio.address)
    assert serious(page) == []
    page.get_by_role("link", name="Come in with a password").click()
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type("not this one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the password; ask whoever runs this app for it.")
    page.get_by_label("Password").fill(LABELERS)
    page.keyboard.press("Enter")
    page.locator(".samples .sample").first.wait_for()
    to_faces(page, "Ada")
    assert page.evaluate("document.cookie") == "", "scripts cannot read it"
    assert page.problems == [] and page.hosts == {studio.address.split("/")[2]}


def test_too_many_wrong_ones_have_to_wait_and_the_page_says_how_long(open_page: Callable[..., Page], studio: Studio):
    page = open_page(address=studio.address)
    for number in range(Guesses.FREE + 1):
        come_in(page, studio, f"guess {number}")
    expect(page.get_by_role("alert")).to_contain_text("Too many wrong passwords came; try again in")
    page.goto(f"{studio.address}/enter?key={studio.services.house.keys.own}")
    page.locator(".samples .sample").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_the_form_can_be_used_by_everybody_also_without_javascript(browser: Browser, studio: Studio, scheme: str, width: int):
    # The page itself runs no script: what axe puts into it would be refused, so it looks at a page that is let off that rule.
    for scripts in (True, False):
        context = browser.new_context(
            java_script_enabled=scripts, color_scheme=scheme, viewport={"width": width, "height": 700}, bypass_csp=True
        )
        page = context.new_page()
        come_in(page, studio, "wrong")
        if scripts:
            assert serious(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(11, 15, 25)"
            assert dark is (scheme == "dark")
        expect(page.get_by_label("Password")).to_be_visible()
        assert page.get_by_role("button", name="Come in").bounding_box()["height"] >= 44
        come_in(page, studio, OWNERS)
        page.goto(f"{studio.address}/enter")
        expect(page.get_by_text("You are in as the owner.")).to_be_visible()
        page.get_by_role("button", name="Leave").click()
        expect(page.get_by_label("Password")).to_be_visible()
        context.close()


def test_the_owner_looks_at_what_a_newcomer_said_and_releases_them(
    open_page: Callable[..., Page], studio: Studio, tmp_path: Path
):
    items = [item.id for item in studio.store.items(range(1, 7))]
    labeler = {"Authorization": f"Bearer {studio.services.house.keys.label}"}
    for item in items[:3]:
        payload = {"request": f"eve {item}", "item": item, "annotator": "<b>Eve</b>", "label": "fear", "second": None}
        assert "waits" in ask(studio.address, "label.judge", payload, labeler)
    page = open_page(address=studio.address)
    come_in(page, studio, OWNERS)
    page.locator(".samples .sample").first.wait_for()
    page.get_by_role("tab", name="Data").click()
    row = page.locator("#data .people li")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("<b>Eve</b> 3 labels · new · 3 waiting")
    row.get_by_role("button", name="Look").click()
    expect(page.locator("#data .theirs li")).to_have_count(3)
    assert serious(page) == []
    row.get_by_role("button", name="Release").click()
    expect(row).to_contain_text("released")
    assert len(gathered(studio.store)[0]) == 3
    row.get_by_role("button", name="Use none").click()
    expect(row).to_contain_text("none of it is used")
    assert gathered(studio.store)[0] == [] and page.problems == []


def test_a_label_that_waits_says_so(open_page: Callable[..., Page], studio: Studio):
    page = open_page(address=studio.address)
    come_in(page, studio, LABELERS)
    page.locator(".samples .sample").first.wait_for()
    to_faces(page, "Ada")
    page.keyboard.press("2")
    expect(page.locator("#labeling .reveal")).to_contain_text("Training uses it once somebody who is known here agrees.")
