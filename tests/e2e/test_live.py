"""Camera and video in a real Chromium with a fake camera that shows a real face."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fer.bench.served import served_app

pytestmark = pytest.mark.browser


def start(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Open the camera").click()


def failing(name: str) -> str:
    """A script that makes the camera fail with the DOMException `name`."""
    return f"void (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{name}')))"


def test_the_purpose_is_said_before_the_camera_opens(page):
    page.evaluate("void (navigator.mediaDevices.getUserMedia = () => { window.asked = true; return Promise.reject(); })")
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("dialog")).to_contain_text("Nothing is stored")
    assert not page.evaluate("!!window.asked")
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_live_face_gets_scores_and_keeps_its_number(page):
    start(page)
    expect(page.locator(".face .what")).to_contain_text("Happiness")
    expect(page.locator(".meter")).to_contain_text(re.compile(r"\d+ frames/s"))
    page.wait_for_timeout(3000)
    expect(page.locator(".face .who")).to_have_text("Face 1")
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.locator(".status")).to_have_text("The camera is off.")
    assert page.problems == []


def test_pausing_holds_the_picture(page):
    start(page)
    expect(page.locator(".face")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(1500)  # a frame may be on its way
    still = page.evaluate("document.querySelector('canvas.picture').toDataURL()")
    page.wait_for_timeout(500)
    assert page.evaluate("document.querySelector('canvas.picture').toDataURL()") == still
    page.get_by_role("button", name="Go on").click()
    page.wait_for_timeout(2000)
    assert page.evaluate("document.querySelector('canvas.picture').toDataURL()") != still


def test_a_photo_ends_the_live_view(page):
    start(page)
    expect(page.locator(".face")).to_have_count(1)
    page.get_by_role("button", name="Grace Hopper").click()
    expect(page.locator(".status")).to_contain_text("grace-hopper.jpg: 1 face")
    expect(page.get_by_role("button", name="Use the camera")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "words"),
    [("NotAllowedError", "refused"), ("NotFoundError", "No camera"), ("NotReadableError", "another program")],
)
def test_a_camera_that_cannot_be_opened_gets_one_sentence(page, name, words):
    page.evaluate(failing(name))
    start(page)
    expect(page.locator(".status.error")).to_contain_text(words)
    assert page.problems == []


def test_a_camera_that_is_unplugged_comes_back_by_itself(open_page):
    keep = """(() => { const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (w) => (window.stream = await open(w)); })()"""
    page = open_page(init=keep)
    start(page)
    expect(page.locator(".face")).to_have_count(1)
    page.evaluate("window.stream.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
    expect(page.locator(".status.error")).to_contain_text("unplugged")
    page.evaluate("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    expect(page.get_by_role("button", name="Stop the camera")).to_be_visible()
    expect(page.locator(".face")).to_have_count(1)


def test_an_app_that_stops_answering_is_said_and_forgiven(page):
    start(page)
    expect(page.locator(".face")).to_have_count(1)
    page.route("**/component_server**", lambda route: route.abort())
    expect(page.locator(".status.error")).to_contain_text("trying again")
    page.unroute("**/component_server**")
    expect(page.locator(".status")).to_have_text("Going on.", timeout=15_000)
    expect(page.locator(".face")).to_have_count(1)


def test_a_hidden_tab_sends_nothing_and_goes_on_when_it_is_back(page):
    start(page)
    expect(page.locator(".face")).to_have_count(1)
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    page.wait_for_timeout(500)
    sent = []
    page.on("request", lambda request: sent.append(request.url) if "component_server" in request.url else None)
    page.wait_for_timeout(1000)
    assert sent == []
    page.evaluate("delete document.hidden")
    page.wait_for_timeout(1000)
    assert sent


def test_two_viewers_are_both_served(open_page: Callable[..., Page]):
    pages = [open_page(), open_page()]
    for page in pages:
        start(page)
    for page in pages:
        expect(page.locator(".face .what")).to_contain_text("Happiness")
        expect(page.locator(".meter")).to_contain_text("frames/s")


RECORD = """async () => {
    const canvas = document.createElement("canvas");
    canvas.width = 320; canvas.height = 240;
    const image = new Image();
    image.src = "samples/eileen-collins.jpg";
    await image.decode();
    const draw = () => canvas.getContext("2d").drawImage(image, 100, 30, 240, 180, 0, 0, 320, 240);
    draw();
    const recorder = new MediaRecorder(canvas.captureStream(15), { mimeType: "video/webm" }), parts = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.start();
    for (let i = 0; i < 20; i++) { draw(); await new Promise((resolve) => setTimeout(resolve, 66)); }
    await new Promise((resolve) => { recorder.onstop = resolve; recorder.stop(); });
    const reader = new FileReader();
    return new Promise((resolve) => { reader.onload = () => resolve(reader.result); reader.readAsDataURL(new Blob(parts)); });
}"""


def test_a_video_file_is_played_without_being_uploaded(page, tmp_path: Path):
    film = tmp_path / "film.webm"
    film.write_bytes(base64.b64decode(page.evaluate(RECORD).partition(",")[2]))
    uploads = []
    page.on("request", lambda request: uploads.append(request.url) if "upload" in request.url else None)
    page.locator("#try input[type=file]").set_input_files(film)
    expect(page.locator(".face .what")).to_contain_text("Happiness")
    expect(page.get_by_label("Position")).to_be_visible()
    assert uploads == []


def test_the_camera_takes_over_from_a_film_and_a_second_press_while_opening_does_nothing(page, tmp_path: Path):
    film = tmp_path / "film.webm"
    film.write_bytes(base64.b64decode(page.evaluate(RECORD).partition(",")[2]))
    page.locator("#try input[type=file]").set_input_files(film)
    expect(page.locator(".face")).to_have_count(1)
    start(page)
    expect(page.get_by_role("button", name="Stop the camera")).to_be_visible()
    expect(page.locator(".meter")).to_contain_text("frames/s")
    page.get_by_role("button", name="Stop the camera").click()
    page.evaluate("for (let i = 0; i < 3; i++) document.querySelector('.camera').click()")
    expect(page.locator(".meter")).to_contain_text("frames/s")
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.locator(".status")).to_have_text("The camera is off.")
    assert page.problems == []


def test_a_photo_chosen_while_the_browser_still_asks_for_the_camera_stays(open_page):
    slow = """(() => { const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (w) => {
          await new Promise((resolve) => { window.grant = resolve; });
          return (window.stream = await open(w)); }; })()"""
    page = open_page(init=slow)
    start(page)
    page.get_by_role("button", name="Grace Hopper").click()
    expect(page.locator(".status")).to_contain_text("grace-hopper.jpg: 1 face")
    page.evaluate("window.grant()")
    page.wait_for_function("window.stream && window.stream.getVideoTracks()[0].readyState === 'ended'")
    expect(page.locator(".status")).to_contain_text("grace-hopper.jpg: 1 face")


def test_after_a_camera_was_unplugged_another_choice_is_not_overtaken_by_it(open_page):
    keep = """(() => { const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (w) => (window.stream = await open(w)); })()"""
    page = open_page(init=keep)
    start(page)
    expect(page.locator(".face")).to_have_count(1)
    page.evaluate("window.stream.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
    page.get_by_role("button", name="Grace Hopper").click()
    expect(page.locator(".status")).to_contain_text("grace-hopper.jpg: 1 face")
    page.evaluate("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    page.wait_for_timeout(1000)
    expect(page.get_by_role("button", name="Use the camera")).to_be_visible()


def test_a_live_face_shows_what_the_network_saw(page):
    start(page)
    expect(page.locator(".face")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="What the network saw").click()
    expect(page.locator(".views img")).to_have_count(2)


def test_an_app_that_is_restarted_is_found_again(open_page):
    """A server of its own is stopped under the open page and started again at the same address."""
    with served_app() as (address, process):
        page = open_page(address=address)
        start(page)
        expect(page.locator(".face")).to_have_count(1, timeout=40_000)
        process.kill()
        process.wait()
        expect(page.locator(".status.error")).to_contain_text("trying again")
        with served_app(port=int(address.rpartition(":")[2])):
            expect(page.locator(".status")).to_have_text("Going on.", timeout=60_000)
            expect(page.locator(".face")).to_have_count(1)
            page.get_by_role("button", name="Grace Hopper").click()
            expect(page.locator(".status")).to_contain_text("grace-hopper.jpg: 1 face")


def test_a_film_that_the_browser_cannot_play_gets_one_sentence(page, tmp_path: Path):
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    page.locator("#try input[type=file]").set_input_files(tmp_path / "broken.mp4")
    expect(page.locator(".status.error")).to_contain_text("broken.mp4 cannot be played")
