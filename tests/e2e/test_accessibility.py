"""axe-core on the page in its states, wide and narrow, light and dark; the page by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
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
