"""Real browsers for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from e2e.studios import Studio
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from fer.bench.live import QUIET, write_camera
from labeling.items import NewItem
from labeling.store import LabelStore


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as one:
        yield one


@pytest.fixture(scope="session")
def browser(playwright: Playwright, chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium whose camera shows the sample face moving about."""
    camera = tmp_path_factory.mktemp("camera") / "camera.y4m"
    write_camera(camera, frames=120)
    one = playwright.chromium.launch(
        executable_path=chromium, args=[*QUIET, f"--use-file-for-fake-video-capture={camera}"]
    )
    yield one
    one.close()


@pytest.fixture
def open_page(browser: Browser, app_address: str) -> Iterator[Callable[..., Page]]:
    """Opens the app in a fresh profile; `page.problems` and `page.hosts` collect script errors and hosts asked."""
    contexts = []

    def opened(init: Path | str | None = None, address: str = app_address, **settings: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.problems, page.hosts = [], set()
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.hosts.add(request.url.split("/")[2]) if "://" in request.url else None)
        if init:
            page.add_init_script(init)
        page.goto(address + "/")
        page.locator(".samples .sample").first.wait_for(timeout=30_000)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()


@pytest.fixture
def open_studio(tmp_path: Path) -> Iterator[Callable[..., Studio]]:
    """Starts an app in this process, whose labels begin with `faces`; `settings` as for `app.Settings`."""
    import app

    running = []

    def opened(faces: Sequence[NewItem] = (), **settings: object) -> Studio:
        workspace = tmp_path / f"studio-{len(running)}"
        store = LabelStore(workspace / "labels")
        store.add(faces)
        services = app.Services(app.Settings(**{"host": "127.0.0.1", "workspace": workspace, **settings}))
        page, address = app.launch(services, block=False)
        services.recognizer()
        running.append((page, services, store))
        return Studio(services, f"http://127.0.0.1:{address.rstrip('/').rpartition(':')[2]}", store)

    yield opened
    for page, services, store in running:
        page.close()
        services.close()
        store.close()
