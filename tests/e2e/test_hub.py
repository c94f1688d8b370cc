"""Labels on the Hub as people see it: the line above the tabs, a wiped disk, a Hub that refuses. The Hub is the local one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from e2e.studios import FAST, Studio, item_shown, some_faces, to_faces
from local_hub import TOKEN, LocalHub
from playwright.sync_api import Page, expect

import app
from labeling import sync

pytestmark = pytest.mark.browser
REPOSITORY = "tester/faces"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with LocalHub() as one:
        # The client reads its environment once, and Gradio imported it long ago.
        monkeypatch.setattr(app, "LabelRepository", partial(app.LabelRepository, token=TOKEN, endpoint=one.address))
        monkeypatch.setattr(sync, "Pace", partial(sync.Pace, first=0.3, apart=0.3, an_hour=10_000, pull=0.5, look=0.1, retry=0.2, longest=1.0))
        yield one


def meter(page: Page):
    return page.locator("#meter .kept")


def trouble(page: Page):
    return page.locator("#meter .trouble")


def label(page: Page, count: int) -> None:
    for _ in range(count):
        before = item_shown(page)
        page.keyboard.press("2")
        expect(page.locator("#labeling .easel")).not_to_have_attribute("data-item", str(before))


def test_what_the_line_calls_on_the_hub_is_back_after_the_disk_was_wiped(
    hub: LocalHub, open_studio: Callable[..., Studio], open_page: Callable[..., Page]
):
    studio = open_studio(some_faces(8), labels_repo=REPOSITORY)
    page = open_page(address=studio.address, init=FAST)
    to_faces(page, "Ada")
    label(page, 3)
    expect(meter(page)).to_have_text(re.compile(r"^Labels: on this disk \S+.* · on the Hub \S+[^·]*$"), timeout=20_000)
    said = {(one.request, one.label) for one in studio.annotations("Ada")}
    assert len(said) == 3 and hub.repository(REPOSITORY).private
    studio.services.close()
    again = open_studio(labels_repo=REPOSITORY)  # with a workspace of its own: an empty disk
    page = open_page(address=again.address, init=FAST)
    expect(meter(page)).to_have_text(re.compile("on the Hub"), timeout=20_000)
    assert {(one.request, one.label) for one in again.annotations("Ada")} == said
    assert page.problems == []


def test_labeling_goes_on_while_the_hub_refuses_and_the_line_says_so(
    hub: LocalHub, open_studio: Callable[..., Studio], open_page: Callable[..., Page]
):
    studio = open_studio(some_faces(8), labels_repo=REPOSITORY)
    page = open_page(address=studio.address, init=FAST)
    to_faces(page, "Ada")
    expect(meter(page)).to_be_visible(timeout=20_000)
    hub.fail(10_000, 503)
    label(page, 3)
    expect(trouble(page)).to_be_visible(timeout=20_000)
    expect(meter(page)).to_contain_text("waiting")
    assert len(studio.annotations("Ada")) == 3, "kept here meanwhile"
    hub.recover()
    expect(trouble(page)).to_be_hidden(timeout=20_000)
    expect(meter(page)).not_to_contain_text("waiting", timeout=20_000)


def test_an_app_without_a_repository_shows_no_line(page: Page):
    assert page.locator("#meter").count() == 0
