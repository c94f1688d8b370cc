"""The Label tab in a real Chromium: keys, blind answers, undo, several people, a server that goes away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from e2e.studios import Studio, all_annotations, item_shown, new_face, some_faces, to_faces, to_label
from PIL import Image
from playwright.sync_api import Page, expect

from fer.bench.served import served_app
from labeling.consents import PURPOSE
from labeling.judgements import Judgement
from labeling.labels import ANSWERS, LABELS
from labeling.store import LabelStore, Score

pytestmark = pytest.mark.browser
OUTAGE_SECONDS = 20
SLOWEST_NEXT_FACE = 100  # ms from key to next face painted, 95th percentile

# Notes what is on the easel at every key, as the key arrives.
WATCH_KEYS = """() => { window.pressed = [];
    addEventListener("keydown", (event) => window.pressed.push(
        [event.code, Number(document.querySelector("#labeling .easel").dataset.item)]), true); }"""


def kept(studio: Studio, count: int, annotator: str | None = None) -> list:
    """The judgements, once there are `count` of them."""
    until = time.monotonic() + 10
    while len(found := studio.annotations(annotator)) < count and time.monotonic() < until:
        time.sleep(0.05)
    assert len(found) == count, found
    return found


def press(page: Page, *keys: str) -> None:
    """Press `keys`, each on a face of its own."""
    for key in keys:
        expect(page.locator("#labeling .easel")).to_have_attribute("data-state", "shown")
        page.keyboard.press(key)


def test_the_name_is_asked_once_and_kept(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(8))
    page = open_page(address=studio.address)
    to_label(page)
    expect(page.locator("#labeling .desk")).to_be_hidden()
    expect(page.get_by_label("Your name")).to_have_value("")
    page.keyboard.press("2")
    page.get_by_label("Your name").press_sequentially("Ada 12")
    page.get_by_label("Your name").press("Enter")
    expect(page.locator(".whoami")).to_contain_text("You label as Ada 12.")
    press(page, "2")
    (only,) = kept(studio, 1)
    assert only.annotator == "Ada 12" and only.label == "happiness", "digits of the name are no labels"

    page.reload()
    to_faces(page)  # asks for no name again
    expect(page.locator(".whoami")).to_contain_text("Ada 12")
    page.get_by_role("button", name="Someone else?").click()
    expect(page.locator("#labeling .easel")).to_have_attribute("data-state", "empty")  # Ada's face is not Berta's
    page.get_by_label("Your name").fill("Berta")
    page.get_by_label("Your name").press("Enter")
    press(page, "3")
    assert [one.annotator for one in kept(studio, 2)] == ["Ada 12", "Berta"]
    assert page.problems == []


def test_after_a_reload_the_desk_is_there_without_a_question(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    page = open_page(address=open_studio(some_faces(3)).address)
    to_faces(page, "Ada")
    page.reload()
    page.get_by_role("tab", name="Label").click()
    expect(page.locator("#labeling .easel")).to_have_attribute("data-state", "shown")


def test_every_key_says_what_its_button_says(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(20))
    page = to_faces(open_page(address=studio.address), "Ada")
    page.evaluate(WATCH_KEYS)
    press(page, *"1234567890", "Numpad4", "Numpad0", "s")
    said = kept(studio, 13)
    assert [one.label for one in said] == [*LABELS, "sadness", "NF", None]
    assert said[-1].kind == "skip"
    assert [one.item for one in said] == [item for _, item in page.evaluate("window.pressed")]
    assert len({one.item for one in said}) == 13

    press(page, "Shift+4")
    expect(page.locator(".question")).to_have_text("Also sadness. And first of all?")
    expect(page.locator(".answer[data-answer=sadness]")).to_have_attribute("aria-pressed", "true")
    press(page, "5")
    assert (kept(studio, 14)[-1].label, kept(studio, 14)[-1].second) == ("anger", "sadness")
    expect(page.locator(".said")).to_have_text("You: anger, also sadness")
    press(page, "Shift+4", "9")  # no expression: there is none beside it
    assert (kept(studio, 15)[-1].label, kept(studio, 15)[-1].second) == ("unknown", None)
    page.get_by_role("button", name="Two expressions").click()
    expect(page.locator(".question")).to_have_text("Which is the second expression?")
    press(page, "6", "1")
    assert (kept(studio, 16)[-1].label, kept(studio, 16)[-1].second) == ("neutral", "disgust")

    before = item_shown(page)
    for key in ("Control+2", "Alt+2", "Shift+9", "x", "F1"):
        page.keyboard.press(key)
    assert item_shown(page) == before
    page.locator(".answer[data-answer=fear]").click()
    press(page, "u")
    last, back = kept(studio, 18)[-2:]
    assert (last.item, last.label) == (before, "fear") and (back.kind, back.undoes) == ("undo", last.id)
    assert page.problems == []


def test_keys_go_by_their_place_whatever_the_layout_prints_on_them(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio(some_faces(3))
    page = to_faces(open_page(address=studio.address), "Ada")
    keyboard = page.context.new_cdp_session(page)
    for code, prints in (("Digit2", "é"), ("Digit0", "à")):  # a French keyboard, without Shift
        keyboard.send("Input.dispatchKeyEvent", {"type": "keyDown", "code": code, "key": prints, "text": prints})
        keyboard.send("Input.dispatchKeyEvent", {"type": "keyUp", "code": code, "key": prints})
    assert [one.label for one in kept(studio, 2)] == ["happiness", "NF"]


def test_keys_mean_nothing_on_the_tab_that_is_not_shown(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(3))
    page = open_page(address=studio.address)
    page.get_by_role("button", name="Eileen Collins").click()
    expect(page.locator(".box")).to_have_count(1)
    to_faces(page, "Ada")
    press(page, "2")
    kept(studio, 1)
    expect(page.locator(".consent")).to_be_hidden()  # the photo on the Try tab was not meant
    page.get_by_role("tab", name="Try").click()
    for key in "sux":
        page.keyboard.press(key)
    page.keyboard.press("3")
    expect(page.locator(".consent")).to_be_visible()
    page.get_by_role("button", name="Not now").click()
    page.wait_for_timeout(300)
    assert len(studio.annotations()) == 1
    assert page.problems == []


def test_the_answer_comes_first_and_then_what_the_model_and_others_say(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio(some_faces(2))
    version = studio.services.recognizer().bundle.version
    shares = np.array([0.0312, 0.0412, 0.0112, 0.0212, 0.0052, 0.5381, 0.3407, 0.0112], np.float32)
    while studio.store.unscored(version, 1):
        time.sleep(0.05)
    studio.store.score(Score(item, version, shares, np.zeros(64, np.float32)) for item in (1, 2))
    answered = {}
    page = open_page(address=studio.address)

    def note(response) -> None:
        if "component_server" in response.url:
            answered.setdefault(json.loads(response.request.post_data)["fn_name"], []).append(response.text())

    page.on("response", note)
    to_faces(page, "Ada")
    page.wait_for_timeout(300)
    tab = page.locator("#labeling").evaluate("(node) => node.outerHTML")
    for secret in ("0.538", "53.8", "54 %", "34 %", version, "The model:", "Others:"):
        assert secret not in tab, f"the page says {secret} before the answer"
        assert not any(secret in text for texts in answered.values() for text in texts)
    (face, _) = json.loads(answered["more"][0])["faces"]
    assert set(face) == {"item", "chip", "width", "height", "box", "ready_made", "source", "reason"}
    first = item_shown(page)
    press(page, "2")
    expect(page.locator(".reveal")).to_contain_text("The model: disgust 54 %, fear 34 %")
    (mine,) = kept(studio, 1)
    assert (mine.suggested, mine.model) == (False, version) and np.allclose(mine.probabilities, shares)

    other = to_faces(open_page(address=studio.address), "Berta")
    while item_shown(other) != first:
        press(other, "s")
    press(other, "3")
    expect(other.locator(".reveal")).to_contain_text("Others: happiness 1")
    assert page.problems == other.problems == []


def test_the_help_names_every_key_and_takes_no_answer(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(2))
    page = to_faces(open_page(address=studio.address), "Ada")
    before = item_shown(page)
    page.keyboard.press("h")
    guide = page.get_by_role("dialog")
    expect(guide).to_contain_text("How to label")
    for one in ANSWERS:
        expect(guide).to_contain_text(one.title)
    for key in "2su":
        page.keyboard.press(key)
    page.keyboard.press("h")
    expect(guide).to_be_hidden()
    page.get_by_role("button", name="Help").click()
    page.keyboard.press("Escape")
    expect(guide).to_be_hidden()
    assert item_shown(page) == before and studio.annotations() == []


def test_the_help_begins_at_its_beginning_and_shows_no_markup(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    page = open_page(address=open_studio(some_faces(1)).address, viewport={"width": 390, "height": 844})
    to_faces(page, "Ada")
    page.get_by_role("button", name="Help").click()
    guide = page.get_by_role("dialog")
    expect(guide).to_contain_text("How to label")
    assert "**" not in guide.inner_text() and "](" not in guide.inner_text()
    assert guide.evaluate("(dialog) => dialog.scrollTop") == 0, "it opens at its end"


def test_undo_brings_the_face_back_and_it_is_labelled_anew(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio(some_faces(6))
    page = to_faces(open_page(address=studio.address), "Ada")
    first = item_shown(page)
    press(page, "2")
    second = item_shown(page)
    press(page, "3", "u")
    assert item_shown(page) == second
    press(page, "u")
    assert item_shown(page) == first
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    press(page, "4", "5")
    said = kept(studio, 6)
    assert [(one.kind, one.item, one.label) for one in said] == [
        ("label", first, "happiness"), ("label", second, "surprise"), ("undo", second, None), ("undo", first, None),
        ("label", first, "sadness"), ("label", second, "anger"),
    ]  # fmt: skip
    assert studio.services.queue().statistics("Ada")["mine"]["labels"] == 2
    expect(page.locator(".progress")).to_contain_text("2 faces labelled by you")


def test_the_last_face_gives_way_to_a_sentence_and_undo_still_works(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio(some_faces(1))
    page = to_faces(open_page(address=studio.address), "Ada")
    press(page, "2")
    expect(page.locator(".nothing")).to_contain_text("No face is waiting for you.")
    page.keyboard.press("3")  # there is nothing to label
    page.keyboard.press("u")
    expect(page.locator("#labeling .easel")).to_have_attribute("data-state", "shown")
    press(page, "4")
    assert [one.label for one in kept(studio, 3)] == ["happiness", None, "sadness"]
    expect(page.locator(".nothing")).to_contain_text("No face is waiting for you.")
    studio.store.add(some_faces(2))
    expect(page.locator("#labeling .easel")).to_have_attribute("data-state", "shown", timeout=8_000)


def test_a_reload_loses_nothing_and_goes_on(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(8))
    page = to_faces(open_page(address=studio.address), "Ada")
    page.evaluate(WATCH_KEYS)
    for key in "234":
        page.keyboard.press(key)  # and at once
    pressed = page.evaluate("window.pressed")
    page.reload()
    to_faces(page)
    said = kept(studio, 3)
    assert [(one.item, one.label) for one in said] == list(
        zip([item for _, item in pressed], ["happiness", "surprise", "sadness"], strict=True)
    )
    expect(page.locator(".progress")).to_contain_text("3 faces labelled by you")
    press(page, *"55555")
    assert len({one.item for one in kept(studio, 8)}) == 8, "a face came twice"
    expect(page.locator(".nothing")).to_contain_text("No face is waiting")


def test_bursts_of_ten_keys_in_a_second_are_all_kept_in_order(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio(some_faces(32))
    page = to_faces(open_page(address=studio.address), "Ada")
    expect(page.locator(".progress")).to_contain_text("to go")
    page.evaluate(WATCH_KEYS)
    for burst in ("2134567812", "8765432190"):
        began = time.monotonic()
        for at, key in enumerate(burst):
            page.wait_for_timeout(max(0, 1000 * (began + at * 0.09 - time.monotonic())))
            page.keyboard.press(key)
        page.wait_for_timeout(700)
    pressed = page.evaluate("window.pressed")
    wanted = [(item, LABELS["1234567890".index(code[-1])]) for code, item in pressed]
    assert len(wanted) == 20
    assert [(one.item, one.label) for one in kept(studio, 20)] == wanted


def test_two_people_never_have_the_same_face_at_the_same_time(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio(some_faces(32))
    pages = [open_page(address=studio.address) for _ in range(2)]
    held: dict[str, set[int]] = {"Ada": set(), "Berta": set()}
    together = []

    def asked_of(request) -> tuple[str, dict]:
        asked = json.loads(request.post_data) if "component_server" in request.url else {"fn_name": "", "data": {}}
        return asked["fn_name"], asked["data"]

    def handed_back(request) -> None:
        # With the question, not with its answer: the other page may hear of the face before this one hears that it is kept.
        name, asked = asked_of(request)
        if name == "judge":
            held[asked["annotator"]].discard(asked["item"])

    def handed_out(response) -> None:
        name, asked = asked_of(response.request)
        if name != "more":
            return
        got = {face["item"] for face in response.json()["faces"]}
        together.extend(got & held["Berta" if asked["annotator"] == "Ada" else "Ada"])
        held[asked["annotator"]] |= got

    for page, name in zip(pages, held, strict=True):
        page.on("request", handed_back)
        page.on("response", handed_out)
        to_faces(page, name)
    for _ in range(16):
        shown = [item_shown(page) for page in pages]
        assert shown[0] != shown[1]
        for page in pages:
            press(page, "2")
    assert together == []
    for name in held:
        said = [one.item for one in kept(studio, 16, name)]
        assert len(set(said)) == 16, f"{name} was asked twice"


def test_faces_fetched_under_one_name_are_not_shown_to_the_next_person(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    slow = """const ask = window.fetch;
        window.fetch = async (where, how) => {
            const answer = await ask(where, how);
            if (window.slow && String(how?.body).includes('"more"')) {
                window.slow = false;
                await new Promise((resolve) => setTimeout(resolve, 1500));
            }
            return answer;
        };"""
    studio = open_studio(some_faces(2))
    page = to_faces(open_page(address=studio.address, init=slow), "Berta")
    press(page, "2", "2")
    expect(page.locator(".nothing")).to_contain_text("No face is waiting for you.")
    page.get_by_role("button", name="Someone else?").click()
    page.evaluate("window.slow = true")
    to_label(page, "Ada")
    page.wait_for_function("window.slow === false")
    page.get_by_role("button", name="Someone else?").click()
    to_label(page, "Berta")
    page.wait_for_timeout(2500)
    expect(page.locator("#labeling .easel")).to_have_attribute("data-state", "empty")  # she has labelled both


def test_a_face_withdrawn_from_the_desk_is_said_and_the_next_label_goes_on(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio()
    for at, face in enumerate(some_faces(3)):
        code = f"ABCD-EFGH-JKLM-NPQ{'RST'[at]}"
        studio.store.contribute(face, Judgement(f"given-{at}", "giver", "happiness"), code, PURPOSE)
    page = to_faces(open_page(address=studio.address), "Ada")
    expect(page.locator(".progress")).to_contain_text("3 to go")
    studio.services.withdraw(f"ABCD-EFGH-JKLM-NPQ{'RST'[item_shown(page) - 1]}")
    press(page, "2")
    expect(page.locator("#labeling .banner")).to_contain_text("withdrawn")
    press(page, "3")
    (only,) = kept(studio, 1, "Ada")
    assert only.label == "surprise"
    expect(page.locator(".reveal")).to_contain_text("Kept.")
    expect(page.locator("#labeling .banner")).to_be_hidden()
    expect(page.locator(".progress")).to_contain_text("1 face labelled by you")


def test_a_visitor_without_the_right_is_told_so_and_can_still_try(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio(some_faces(3), host="0.0.0.0")
    page = open_page(address=studio.address)
    to_label(page, "Ada")
    expect(page.locator("#labeling .banner")).to_contain_text("Labeling is for people who were given the labelers' link")
    expect(page.locator("#labeling .desk")).to_be_hidden()
    page.get_by_role("tab", name="Try").click()
    page.get_by_role("button", name="Eileen Collins").click()
    expect(page.locator(".face .what")).to_contain_text("Happiness")
    assert page.problems == []
    page.goto(f"{studio.address}/enter?key={studio.services.house.keys.label}")
    to_faces(page, "Ada")
    expect(page.locator("#labeling .banner")).to_be_hidden()
    press(page, "2")
    assert kept(studio, 1)[0].annotator == "Ada"


def test_with_the_server_away_for_twenty_seconds_no_label_is_lost_not_even_of_a_page_that_was_closed(
    open_page: Callable[..., Page], tmp_path: Path
):
    store = LabelStore(tmp_path / "labels")
    store.add(some_faces(32))
    with served_app(workspace=tmp_path) as (address, process):
        ada, berta = (to_faces(open_page(address=address), name) for name in ("Ada", "Berta"))
        wanted = {"Ada": [], "Berta": []}

        def say(page: Page, name: str, keys: str) -> None:
            for key in keys:
                expect(page.locator("#labeling .easel")).to_have_attribute("data-state", "shown")
                wanted[name].append((item_shown(page), LABELS[int(key) - 1]))
                page.keyboard.press(key)

        say(ada, "Ada", "12")
        say(berta, "Berta", "21")
        for page in (ada, berta):
            expect(page.locator(".reveal")).to_contain_text("Kept.")
        process.kill()
        process.wait()
        gone = time.monotonic()
        say(ada, "Ada", "345")
        say(berta, "Berta", "678")
        for page in (ada, berta):
            expect(page.locator("#labeling .banner")).to_contain_text("3 labels wait in this browser", timeout=20_000)
        assert len(all_annotations(store)) == 4
        berta.close()
        say(ada, "Ada", "6")
        expect(ada.locator("#labeling .banner")).to_contain_text("4 labels wait in this browser", timeout=20_000)
        time.sleep(max(0, gone + OUTAGE_SECONDS - time.monotonic()))
        with served_app(port=int(address.rpartition(":")[2]), workspace=tmp_path):
            expect(ada.locator("#labeling .banner")).to_be_hidden(timeout=60_000)
            berta = berta.context.new_page()
            berta.goto(address)
            until = time.monotonic() + 20
            while len(all_annotations(store)) < 11 and time.monotonic() < until:
                time.sleep(0.1)
            to_faces(berta)
            expect(berta.locator("#labeling .banner")).to_be_hidden()
            say(ada, "Ada", "7")
            expect(ada.locator(".reveal")).to_contain_text("Kept.")
            for name in wanted:
                said = [(one.item, one.label) for one in all_annotations(store) if one.annotator == name]
                assert said == wanted[name], f"not what {name} said, in that order, once"
    store.close()


# Milliseconds from a key to the second animation frame after the next face was put on the easel: by then
# the first of them, which shows it, has been painted.
TIME_FACES = """() => {
    window.waits = [];
    let key = null;
    const easel = document.querySelector("#labeling .easel");
    addEventListener("keydown", (event) => { key = event.timeStamp; }, true);
    new MutationObserver(() => {
        if (key === null || !easel.dataset.item) return;
        const began = key;
        key = null;
        requestAnimationFrame(() => requestAnimationFrame(() => window.waits.push(performance.now() - began)));
    }).observe(easel, { attributeFilter: ["data-item"] });
}"""


@pytest.mark.data
def test_the_next_face_is_painted_a_tenth_of_a_second_after_the_key(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio], ferplus: Path, capsys: pytest.CaptureFixture
):
    files = sorted((ferplus / "FER2013Valid").glob("*.png"))[:240]
    faces = []
    for path in files:
        with Image.open(path) as image:
            faces.append(new_face(image.convert("RGB"), path.stem))
    studio = open_studio(faces)
    page = to_faces(open_page(address=studio.address), "Ada")
    page.wait_for_timeout(1000)
    page.evaluate(TIME_FACES)
    for count in range(1, 201):
        page.keyboard.press("12345678"[count % 8])
        page.wait_for_function("(count) => window.waits.length >= count", arg=count)
    waits = np.array(page.evaluate("window.waits"))
    with capsys.disabled():
        print(f"\nkey to next face painted, {len(waits)} FER+ faces: median {np.median(waits):.0f} ms, "
              f"p95 {np.percentile(waits, 95):.0f} ms, slowest {waits.max():.0f} ms")  # fmt: skip
    assert len({one.item for one in kept(studio, 200)}) >= 190  # a few come twice, to see how steady labels are
    assert np.percentile(waits, 95) <= SLOWEST_NEXT_FACE
