"""Teaching in place on the Try tab: what a face shows is said where it is seen, in a photo and live."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import COLLINS, SAMPLES
from e2e.studios import Studio, all_annotations
from PIL import Image
from playwright.sync_api import Page, expect

from fer.bench.live import BITS, CELL, HEIGHT
from fer.bench.served import served_app
from labeling.consents import PURPOSE, code_hash
from labeling.items import Item, item_of
from labeling.judgements import Annotation, annotation_of
from labeling.store import LabelStore

pytestmark = pytest.mark.browser
CODE = re.compile(r"[A-Z2-9]{4}(-[A-Z2-9]{4}){3}")


@pytest.fixture
def store(app_served: tuple) -> LabelStore:
    """The labels of the app under test."""
    return app_served[0].labels()


def given(store: LabelStore, code: str) -> tuple[list[Annotation], list[Item]]:
    """All that is kept under `code`: judgements, oldest first, and faces."""
    with store.database.reading() as connection:
        consent = connection.execute("SELECT id FROM consents WHERE code = ?", (code_hash(code),)).fetchone()
        owner = (consent["id"] if consent else 0,)
        items = [item_of(row) for row in connection.execute("SELECT * FROM items WHERE consent = ? ORDER BY id", owner)]
        query = "SELECT * FROM judgements WHERE item IN (SELECT id FROM items WHERE consent = ?) ORDER BY id"
        return [annotation_of(row) for row in connection.execute(query, owner)], items


def consents(store: LabelStore) -> int:
    """How many people agreed."""
    with store.database.reading() as connection:
        return connection.execute("SELECT count(*) FROM consents").fetchone()[0]


def sample(page: Page, name: str = "Eileen Collins", faces: int = 1) -> None:
    page.get_by_role("button", name=name).click()
    expect(page.locator(".box")).to_have_count(faces)


def agree(page: Page) -> str:
    """Agree in the consent dialog; the withdrawal code that the page shows once the face is kept."""
    page.get_by_role("button", name="I agree, keep it").click()
    expect(page.locator(".kept")).to_contain_text("Kept: you say")
    return code_of(page)


def code_of(page: Page) -> str:
    code = page.locator(".given-code").text_content()
    assert CODE.fullmatch(code), code
    return code


def row(page: Page, title: str):
    return page.locator(".scores .row").filter(has_text=title)


def test_one_click_keeps_the_face_once_its_owner_has_agreed(page, app_served, store):
    services, _ = app_served
    before, agreed = len(all_annotations(store)), consents(store)
    sample(page)
    row(page, "Surprise").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(PURPOSE)
    assert "withdrawal code" in PURPOSE and "removed at any time" in PURPOSE
    expect(dialog).to_contain_text("You will get a withdrawal code")
    page.get_by_role("button", name="Not now").click()
    expect(page.locator(".kept")).to_have_text("Nothing was kept.")
    expect(page.locator(".given")).to_be_hidden()
    expect(row(page, "Surprise")).not_to_have_attribute("aria-pressed", "true")
    assert (len(all_annotations(store)), consents(store)) == (before, agreed)

    row(page, "Surprise").click()
    code = agree(page)
    expect(page.locator(".kept")).to_have_text("Kept: you say surprise. Undo")
    expect(row(page, "Surprise")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".given summary")).to_have_text("You gave 1 face: your code, and how to take it back")
    (judgement,), (item,) = given(store, code)
    reading = services.recognizer().read(COLLINS)
    assert (judgement.label, judgement.kind, judgement.suggested) == ("surprise", "label", True)
    assert judgement.model == reading.model and judgement.annotator.startswith("visitor-")
    assert np.allclose(judgement.probabilities, reading.faces[0].prediction.probabilities, atol=1e-6)
    assert item.source == "photo" and item.group.startswith("photo:")
    with Image.open(io.BytesIO(store.picture(item))) as chip:
        assert chip.size == (item.width, item.height)
    assert page.problems == []


def test_the_next_click_asks_nothing_and_another_answer_replaces_the_first(page, store):
    sample(page)
    row(page, "Surprise").click()
    code = agree(page)
    row(page, "Fear").click()
    expect(page.locator(".kept")).to_contain_text("Kept: you say fear.")
    expect(page.locator(".row[aria-pressed=true]")).to_have_count(1)
    expect(row(page, "Fear")).to_have_attribute("aria-pressed", "true")
    said, (item,) = given(store, code)
    labels, undos = ([one for one in said if one.kind == kind] for kind in ("label", "undo"))
    assert [one.label for one in labels] == ["surprise", "fear"] and [one.undoes for one in undos] == [labels[0].id]
    assert store.said_by_others(item.id, "somebody else") == {"fear": 1}

    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".kept")).to_contain_text("Taken back.")
    expect(page.locator(".row[aria-pressed=true]")).to_have_count(0)
    said, (item,) = given(store, code)
    assert len(said) == 4 and said[3].undoes == labels[1].id
    assert store.said_by_others(item.id, "somebody else") == {}


def test_one_face_counts_as_one_however_often_it_is_corrected(page, store):
    sample(page)
    row(page, "Surprise").click()
    code = agree(page)
    row(page, "Fear").click()
    expect(page.locator(".kept")).to_contain_text("fear")
    assert len(given(store, code)[1]) == 1
    expect(page.locator(".given summary")).to_contain_text("You gave 1 face:")


def test_a_key_says_it_whatever_the_layout_prints_on_it(page, store):
    sample(page)
    page.keyboard.press("9")
    code = agree(page)
    keyboard = page.context.new_cdp_session(page)
    for key, prints in (("Digit4", "'"), ("Digit0", "à")):  # a French keyboard, without Shift
        keyboard.send("Input.dispatchKeyEvent", {"type": "keyDown", "code": key, "key": prints, "text": prints})
        keyboard.send("Input.dispatchKeyEvent", {"type": "keyUp", "code": key, "key": prints})
        expect(page.locator(".kept")).to_contain_text("Kept: you say " + {"Digit4": "sadness", "Digit0": "not a face"}[key])
    for key in ("Shift+2", "Control+2", "x"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Cannot tell").click()
    expect(page.locator(".kept")).to_contain_text("Kept: you say cannot tell")
    page.get_by_role("button", name="Not a face").click()
    expect(page.locator(".kept")).to_contain_text("Kept: you say not a face")
    expect(page.get_by_role("button", name="Not a face")).to_have_attribute("aria-pressed", "true")
    said = [one.label for one in given(store, code)[0] if one.kind == "label"]
    assert said == ["unknown", "sadness", "NF", "unknown", "NF"]


def test_of_several_faces_one_is_chosen_before_a_key_counts(page, store):
    sample(page, "Eight people", 8)
    page.keyboard.press("2")
    expect(page.locator(".status.error")).to_contain_text("Several faces: click the one you mean")
    expect(page.locator(".consent")).to_be_hidden()
    page.locator(".box").nth(3).click()
    page.keyboard.press("2")
    page.get_by_role("button", name="I agree, keep it").click()
    expect(page.locator(".face").nth(3).locator(".kept")).to_contain_text("Kept: you say happiness")
    expect(page.locator(".row[aria-pressed=true]")).to_have_count(1)
    (judgement,), (item,) = given(store, code_of(page))
    with Image.open(SAMPLES / "oath-ceremony.jpg") as photo:
        scale = page.locator("canvas.picture").evaluate("(canvas) => canvas.clientWidth") / photo.width
        box, canvas = page.locator(".box").nth(3).bounding_box(), page.locator("canvas.picture").bounding_box()
        left, top = ((box[side] - canvas[side]) / scale for side in ("x", "y"))
        chosen = photo.convert("RGB").crop((
            round(left), round(top), round(left + box["width"] / scale), round(top + box["height"] / scale)
        ))  # fmt: skip
    with Image.open(io.BytesIO(store.picture(item))) as chip:
        kept = chip.crop(item.box).resize(chosen.size)
    difference = np.abs(np.asarray(kept, int) - np.asarray(chosen, int)).mean()
    assert difference < 12, f"another face than the chosen one: {difference:.0f}"
    assert judgement.label == "happiness"


def test_label_and_scores_only_keeps_no_pixels(page, store):
    sample(page, "Nikola Tesla")
    page.keyboard.press("3")
    page.get_by_role("dialog").get_by_label("Label and scores only, no pixels").check()
    code = agree(page)
    (judgement,), (item,) = given(store, code)
    assert judgement.label == "surprise" and len(judgement.probabilities) == 8
    assert (item.image, item.width, item.box, item.landmarks) == (None, None, None, None)
    files = {path.name for path in (store.database.path.parent / "images").rglob("*.png")}
    page.locator(".given summary").click()
    page.get_by_label("From now on label and scores only").uncheck()
    page.keyboard.press("2")
    expect(page.locator(".kept")).to_contain_text("happiness")
    last = given(store, code)[1][-1]
    assert last.image and f"{last.image}.png" not in files


def test_the_code_survives_a_reload_and_withdraws_everything(page, store):
    sample(page)
    page.keyboard.press("3")
    code = agree(page)
    page.reload()
    page.locator(".given summary").click()
    expect(page.locator(".given-code")).to_have_text(code)
    sample(page, "Grace Hopper")
    page.keyboard.press("4")  # nothing is asked a second time
    expect(page.locator(".kept")).to_contain_text("Kept: you say sadness")
    expect(page.locator(".given summary")).to_contain_text("You gave 2 faces")
    said, items = given(store, code)
    assert len(said) == len(items) == 2
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Withdraw all I gave").click()
    expect(page.locator(".status")).to_have_text("Removed for good: 2 faces.")
    expect(page.locator(".given")).to_be_hidden()
    expect(page.locator(".row[aria-pressed=true]")).to_have_count(0)
    assert given(store, code) == ([], [])
    images = store.database.path.parent / "images"
    left = {path.stem for path in images.rglob("*.png")}
    with store.database.reading() as connection:
        used = {one["image"] for one in connection.execute("SELECT image FROM items WHERE image IS NOT NULL")}
    assert left == used, "a picture of a withdrawn face is still there"
    page.keyboard.press("5")
    expect(page.locator(".consent")).to_be_visible()  # withdrawn is withdrawn: asked anew


def test_digits_in_the_name_of_the_consent_dialog_are_no_labels(page, store):
    before = len(all_annotations(store))
    sample(page)
    page.keyboard.press("3")
    page.get_by_label("Name to show with your labels").press_sequentially("R2 D2")
    page.keyboard.press("Tab")
    page.keyboard.press("7")
    assert len(all_annotations(store)) == before
    code = agree(page)
    (judgement,), _ = given(store, code)
    assert (judgement.annotator, judgement.label) == ("R2 D2", "surprise")


def test_enter_in_the_name_field_and_escape_do_what_people_expect(page, store):
    agreed = consents(store)
    sample(page)
    page.keyboard.press("3")
    page.keyboard.press("Escape")
    expect(page.locator(".kept")).to_have_text("Nothing was kept.")
    assert consents(store) == agreed
    page.keyboard.press("3")
    page.get_by_label("Name to show with your labels").fill("Ada")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    expect(page.locator(".consent")).to_be_visible()  # one does not agree by pressing Enter in a field
    assert consents(store) == agreed


def test_the_app_killed_at_the_moment_of_a_correction_means_nothing_was_kept(open_page: Callable[..., Page], tmp_path: Path):
    with served_app(workspace=tmp_path) as (address, process):
        page = open_page(address=address)
        page.get_by_role("button", name="Eileen Collins").click()
        expect(page.locator(".box")).to_have_count(1, timeout=60_000)
        row(page, "Surprise").click()
        code = agree(page)

        page.get_by_role("button", name="Grace Hopper").click()
        expect(page.locator(".status")).to_contain_text("grace-hopper.jpg: 1 face")

        def kill(route) -> None:
            if '"correct"' in route.request.post_data and process.poll() is None:
                process.kill()
                process.wait()
            route.continue_()

        page.route("**/component_server**", kill)
        page.keyboard.press("7")
        expect(page.locator(".kept.error")).to_contain_text("not known whether this was kept", timeout=20_000)
        expect(page.locator(".row[aria-pressed=true]")).to_have_count(0)
        for word in ("Traceback", "TypeError", "undefined"):
            assert word not in page.locator("body").inner_text()
        assert page.problems == []
    store = LabelStore(tmp_path / "labels")
    said, _ = given(store, code)
    assert [one.label for one in said] == ["surprise"]
    store.close()


def test_when_a_replacement_fails_the_page_shows_what_still_counts(page, store):
    sample(page)
    row(page, "Surprise").click()
    code = agree(page)

    def refuse(route) -> None:
        if '"correct"' in route.request.post_data:
            return route.fulfill(json={"error": "The disk is full; nothing was kept."})
        route.continue_()

    page.route("**/component_server**", refuse)
    row(page, "Fear").click()
    expect(page.locator(".kept.error")).to_have_text("The disk is full; nothing was kept.")
    marked = page.locator(".row[aria-pressed=true]").evaluate_all("(rows) => rows.map((row) => row.children[1].textContent)")
    (item,) = given(store, code)[1]
    assert marked == [name.title() for name in store.said_by_others(item.id, "somebody else")]


# --- live ---------------------------------------------------------------------------------------

# Notes the canvas as it is when a key arrives, before the page's own handlers.
SNAP = """() => addEventListener("keydown", () => {
    window.snap = document.querySelector("canvas.picture").toDataURL(); }, true)"""


def pixels(address: str) -> np.ndarray:
    """A data URL as an array (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")).astype(int)


def number(frame: np.ndarray) -> int:
    """The counter that the fake camera draws into every frame."""
    cells = [frame[HEIGHT - CELL // 2, bit * CELL + CELL // 2].mean() > 128 for bit in range(BITS)]
    return int("".join("01"[int(on)] for on in cells), 2)


def place(chip: np.ndarray, frame: np.ndarray) -> tuple[int, int]:
    """Top and left of where `chip` is cut from `frame`, pixel by pixel."""
    height, width = chip.shape[:2]
    for top in range(frame.shape[0] - height + 1):
        for left in range(frame.shape[1] - width + 1):
            if (frame[top, left] == chip[0, 0]).all() and (frame[top : top + height, left : left + width] == chip).all():
                return top, left
    raise AssertionError("the kept face is not a part of the frame that was sent")


def rate(page: Page) -> int:
    expect(page.locator(".meter")).to_contain_text("frames/s")
    return int(re.match(r"\d+", page.locator(".meter").inner_text()).group())


def canvas(page: Page) -> np.ndarray:
    return pixels(page.evaluate("document.querySelector('canvas.picture').toDataURL()"))


def live(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Open the camera").click()
    expect(page.locator(".face .what")).to_contain_text("Happiness")
    page.evaluate(SNAP)


def test_live_the_frame_on_the_screen_at_the_press_is_the_one_that_is_kept(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio()
    page, store = open_page(address=studio.address), studio.store
    live(page)
    page.wait_for_timeout(2000)
    before = rate(page)
    page.keyboard.press("3")
    code = agree(page)
    for label, key in (("surprise", None), ("fear", "7"), ("happiness", "2")):
        if key:
            page.wait_for_timeout(400)
            with page.expect_request(lambda one: "component_server" in one.url and '"correct"' in one.post_data) as sent:
                page.keyboard.press(key)
            expect(page.locator(".kept")).to_contain_text(f"Kept: you say {label}")
            posted = pixels(json.loads(sent.value.post_data)["data"]["picture"])
            shown = pixels(page.evaluate("window.snap"))
            assert number(posted) == number(shown), "another frame was sent than was shown"
            said, items = given(store, code)
            # The clip is a loop: a frame may come again, and is then the face that is kept already.
            item = next(item for item in items if item.id == said[-1].item)
            with Image.open(io.BytesIO(store.picture(item))) as image:
                chip = np.asarray(image.convert("RGB")).astype(int)
            top, left = place(chip, posted)
            seen = shown[top : top + chip.shape[0], left : left + chip.shape[1]]
            assert np.median(np.abs(seen - chip)) <= 4, "the kept face is not what the canvas showed"
            assert said[-1].label == label and said[-1].suggested and item.source == "live"
        expect(page.locator(".stage.held")).to_have_count(0)
    groups = {item.group for item in given(store, code)[1]}
    assert len(groups) == 1 and groups.pop().startswith("live:")
    first = number(canvas(page))
    page.wait_for_timeout(2500)
    assert number(canvas(page)) != first
    assert rate(page) >= 0.5 * before, f"{rate(page)} frames/s after, {before} before"
    assert page.problems == []


def test_live_the_picture_stands_still_at_the_press_until_the_label_is_kept(page):
    live(page)
    page.keyboard.press("3")
    expect(page.locator(".consent")).to_be_visible()
    pressed = number(pixels(page.evaluate("window.snap")))
    page.wait_for_timeout(800)
    assert number(canvas(page)) == pressed, "the picture went on by a frame after the press"
    page.get_by_role("button", name="Not now").click()
    expect(page.locator(".stage.held")).to_have_count(0)
    page.wait_for_timeout(800)
    assert number(canvas(page)) != pressed


def test_live_a_face_that_was_paused_by_hand_stays_paused_after_the_label(page, store):
    live(page)
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(500)
    still = number(canvas(page))
    page.keyboard.press("3")
    agree(page)
    page.wait_for_timeout(1500)
    assert number(canvas(page)) == still
    expect(page.get_by_role("button", name="Go on")).to_be_visible()


def test_after_a_withdrawal_elsewhere_it_is_asked_anew_before_anything_is_kept(page, store):
    sample(page)
    page.keyboard.press("3")
    code = agree(page)
    expect(page.locator(".kept")).to_contain_text("Kept: you say surprise")
    store.withdraw(code)
    page.keyboard.press("4")
    expect(page.locator(".kept")).to_contain_text("agree anew")
    assert given(store, code) == ([], [])
    page.keyboard.press("4")
    expect(page.locator(".consent")).to_be_visible()


def test_u_takes_back_the_newest_correction(page, store):
    sample(page)
    page.keyboard.press("3")
    agree(page)
    expect(page.locator(".kept")).to_contain_text("Kept: you say surprise")
    page.keyboard.press("u")
    expect(page.locator(".kept")).to_contain_text("Taken back.")
    with store.database.reading() as connection:
        assert connection.execute("SELECT kind FROM judgements ORDER BY id DESC").fetchone()["kind"] == "undo"
