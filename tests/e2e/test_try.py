"""The Try tab in a real Chromium."""

from __future__ import annotations

import base64
import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLES, picture
from PIL import Image
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

def status(page: Page) -> str:
    return page.locator(".status").inner_text()


def choose(page: Page, path: Path) -> None:
    page.locator("#try input[type=file]").set_input_files(path)


def test_a_sample_is_read_with_one_click_and_nothing_is_asked_of_another_host(page, app_address):
    page.get_by_role("button", name="Eileen Collins").click()
    expect(page.locator(".face .what")).to_contain_text("Happiness")
    expect(page.locator(".box")).to_have_count(1)
    expect(page.locator(".scores li")).to_have_count(8)
    assert page.hosts == {app_address.removeprefix("http://")}
    assert page.problems == []


def test_the_page_shows_the_object_that_the_command_gives(page, collins, capsys):
    from fer.__main__ import main

    choose(page, collins)
    expect(page.locator(".box")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    shown = json.loads(Path(download.value.path()).read_text())
    assert main(["predict", "--json", str(collins)]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert {**shown, "ms": 0} == {**expected, "ms": 0}


def test_the_box_lies_on_the_face(page, collins):
    choose(page, collins)
    box = page.locator(".box").bounding_box()
    canvas = page.locator("canvas.picture").bounding_box()
    with Image.open(collins) as image:
        scale = canvas["width"] / image.width
    centre = ((box["x"] + box["width"] / 2 - canvas["x"]) / scale, (box["y"] + box["height"] / 2 - canvas["y"]) / scale)
    assert np.hypot(centre[0] - 223, centre[1] - 117) < 12  # her nose in the sample


def test_a_photo_is_dropped_and_another_pasted(page, collins):
    drop = """([url, type]) => fetch(url).then((answer) => answer.blob()).then((blob) => {
        const data = new DataTransfer();
        data.items.add(new File([blob], "dropped.jpg", { type: "image/jpeg" }));
        const event = type === "drop"
          ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
          : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
        document.querySelector(type === "drop" ? ".stage" : "body").dispatchEvent(event);
    })"""
    url = "data:image/jpeg;base64," + base64.b64encode(collins.read_bytes()).decode()
    page.evaluate(drop, [url, "drop"])
    expect(page.locator(".status")).to_contain_text("dropped.jpg: 1 face")
    page.evaluate(drop, ["samples/grace-hopper.jpg", "paste"])
    expect(page.locator(".status")).to_contain_text("1 face")


def test_bad_pictures_get_one_sentence_and_the_page_goes_on(page, collins, tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.jpg").write_bytes(collins.read_bytes()[:9000])
    for name, words in (("empty.jpg", "empty file"), ("text.jpg", "not a picture"), ("cut.jpg", "damaged")):
        choose(page, tmp_path / name)
        expect(page.locator(".status.error")).to_contain_text(words)
        assert name in status(page) and "Traceback" not in page.content()
    choose(page, collins)
    expect(page.locator(".box")).to_have_count(1)
    expect(page.locator(".status.error")).to_have_count(0)


def test_a_file_that_is_too_large_is_not_sent(page, tmp_path):
    big = tmp_path / "big.jpg"
    with big.open("wb") as file:
        os.truncate(file.fileno(), 21_000_000)
    choose(page, big)
    expect(page.locator(".status.error")).to_contain_text("larger than 20 MB")


def test_no_face_says_what_to_do(page, tmp_path):
    picture((320, 240)).save(tmp_path / "noise.png")
    choose(page, tmp_path / "noise.png")
    expect(page.locator(".faces .empty")).to_contain_text("No face was found")
    expect(page.locator(".status")).to_contain_text("Try a photo")


def test_a_phone_photo_stands_upright(page, collins, tmp_path):
    with Image.open(collins) as image:
        exif = Image.Exif()
        exif[0x0112] = 6  # "rotate by 90° clockwise to view"
        image.crop((0, 0, 400, 512)).rotate(90, expand=True).save(tmp_path / "phone.jpg", exif=exif)
    choose(page, tmp_path / "phone.jpg")
    expect(page.locator(".box")).to_have_count(1)
    shape = page.evaluate("[document.querySelector('canvas.picture').width, document.querySelector('canvas.picture').height]")
    assert shape == [400, 512]


def test_a_tiff_is_shown_although_browsers_draw_none(page, collins, tmp_path):
    with Image.open(collins) as image:
        image.save(tmp_path / "scan.tif")
    choose(page, tmp_path / "scan.tif")
    expect(page.locator(".box")).to_have_count(1)


def test_sixty_faces_have_sixty_boxes_and_the_page_stays_usable(page, collins, tmp_path):
    with Image.open(collins) as image:
        head = image.crop((150, 30, 300, 180))
    crowd = Image.new("RGB", (1500, 900), "gray")
    for index in range(60):
        crowd.paste(head, (index % 10 * 150, index // 10 * 150))
    crowd.save(tmp_path / "crowd.jpg", quality=92)
    choose(page, tmp_path / "crowd.jpg")
    page.locator(".box").first.wait_for()
    assert page.locator(".box").count() >= 55
    assert page.locator(".face").count() == page.locator(".box").count()


def test_the_keyboard_alone_reads_a_sample_and_picks_a_face(page):
    page.locator(".samples .sample").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".box").first).to_be_visible()
    page.locator(".box").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".face.chosen")).to_have_count(1)


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.get_by_role("button", name="Eileen Collins").click()
    expect(page.locator(".box")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_sample_is_drawn_and_has_a_face(page):
    for index in range(len(list(SAMPLES.glob("*.jpg")))):
        page.locator(".samples .sample").nth(index).click()
        expect(page.locator(".status")).to_contain_text("face")
        expect(page.locator(".box").first).to_be_visible()


def test_several_photos_are_read_and_saved_together(page, collins):
    names = ["eileen-collins.jpg", "grace-hopper.jpg", "oath-ceremony.jpg"]
    page.locator("#try input[type=file]").set_input_files([SAMPLES / name for name in names])
    expect(page.locator(".strip .sample")).to_have_count(3, timeout=20_000)
    page.locator(".strip .sample").nth(2).click()
    expect(page.locator(".status")).to_contain_text("oath-ceremony.jpg: 8 faces")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    readings = json.loads(Path(download.value.path()).read_text())
    assert [one["image"] for one in readings] == names
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(Path(download.value.path()).open(encoding="utf-8")))
    assert len(rows) == 10 and rows[0]["expression"] == "happiness"
    assert float(rows[0]["happiness"]) == readings[0]["faces"][0]["scores"]["happiness"]


def test_a_broken_photo_among_good_ones_is_named_and_the_others_are_read(page, collins, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    page.locator("#try input[type=file]").set_input_files([collins, tmp_path / "broken.jpg"])
    expect(page.locator(".status.error")).to_contain_text("broken.jpg")
    expect(page.locator(".box")).to_have_count(1)


def test_the_saved_picture_shows_the_box(page, collins):
    choose(page, collins)
    expect(page.locator(".box")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Picture", exact=True).click()
    with Image.open(download.value.path()) as saved, Image.open(collins) as original:
        assert saved.size == original.size
        changed = np.abs(np.asarray(saved.convert("RGB"), int) - np.asarray(original.convert("RGB"), int)).sum(axis=2) > 60
    assert 500 < changed.sum() < 20_000


def test_a_name_that_a_spreadsheet_would_run_is_quoted(page, collins, tmp_path):
    evil = tmp_path / "=1+1.jpg"
    evil.write_bytes(collins.read_bytes())
    choose(page, evil)
    expect(page.locator(".box")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert "\n'=1+1.jpg," in Path(download.value.path()).read_text()


def test_what_the_network_saw_is_shown_on_demand(page, collins):
    choose(page, collins)
    page.get_by_role("button", name="What the network saw").click()
    expect(page.locator(".views img")).to_have_count(2)
    assert page.evaluate("[...document.querySelectorAll('.views img')].every((one) => one.naturalWidth === 96)")


def test_an_unsure_face_names_both_candidates(page):
    page.route("**/component_server**", lambda route: route.fulfill(json={"reading": {
        "image": "made up.jpg", "width": 512, "height": 512, "ms": 1, "model": "none", "faces": [{
            "box": [100, 100, 200, 200], "score": 1, "expression": "surprise", "confidence": 0.41, "unclear": True,
            "remarks": [{"code": "dark", "words": "The face is dark: turn towards the light."}],
            "scores": {"neutral": 0.1, "happiness": 0.02, "surprise": 0.41, "sadness": 0.03, "anger": 0.02,
                       "disgust": 0.02, "fear": 0.38, "contempt": 0.02}}]}}))  # fmt: skip
    page.get_by_role("button", name="Eileen Collins").click()
    expect(page.locator(".face .what")).to_have_text("Unclear: surprise 41 % / fear 38 %")
    expect(page.locator(".face .remarks")).to_contain_text("turn towards the light")
