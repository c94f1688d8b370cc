"""axe-core on the page in its states, wide and narrow, light and dark; the page by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from e2e.studios import Studio, some_faces, to_faces, to_label
from playwright.sync_api import Page, expect

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.browser


def serious(page: Page) -> list[str]:
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:150]} {node['failureSummary'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


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
