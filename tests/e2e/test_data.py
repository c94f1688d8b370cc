"""The Data tab in a real Chromium: counts, pairs, doubtful labels, files in and out, withdrawal, rights, accessibility."""

from __future__ import annotations

import io
import re
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from calls import ask, http, server_functions
from e2e.axe import serious
from e2e.studios import Studio, item_shown, some_faces, to_faces
from label_workspaces import CODE, chip, face, png
from playwright.sync_api import Page, expect

from fer.emotions import CLASSES
from labeling.exchange import bring_in
from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.labels import title
from labeling.people import REFUSALS, House, Keys
from labeling.queue import AGAIN
from labeling.store import LabelStore, Score

pytestmark = pytest.mark.browser
HTML = "<img src=x onerror=window.pwned=1>"


def to_data(page: Page) -> Page:
    page.get_by_role("tab", name="Data").click()
    expect(page.locator("#data .saved")).not_to_have_text("Counting …")
    return page


def say(studio: Studio, item: int, annotator: str, label: str | None) -> None:
    studio.store.judge(item, Judgement(f"{item} {annotator} {label}", annotator, label))


def tiles(page: Page) -> dict[str, str]:
    """The figures on the tiles, by their words."""
    return {tile.locator("span").inner_text(): tile.locator("b").inner_text() for tile in page.locator("#data .tiles li").all()}


def bars(page: Page, which: str) -> dict[str, str]:
    rows = page.locator(f"#data .{which} li").all()
    return {row.locator(".name").inner_text(): row.locator(".count").inner_text() for row in rows}


def a_zip(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def choose(page: Page, *files: tuple[str, bytes]) -> None:
    page.locator("#data .files").set_input_files(
        [{"name": name, "mimeType": "application/zip", "buffer": content} for name, content in files]
    )


def doubtful_studio(open_studio: Callable[..., Studio]) -> tuple[Studio, int]:
    """Twenty-four faces that Ada labelled as the model reads them, but for one; and the number of that."""
    studio = open_studio(some_faces(24))
    version = studio.services.recognizer().bundle.version
    while studio.store.unscored(version, 1):  # what the real model says comes first, and is replaced
        time.sleep(0.05)
    for number in range(24):
        shares = np.full(8, 0.01, np.float32)
        shares[number % 3] = 0.93
        studio.store.score([Score(number + 1, version, shares, np.zeros(64, np.float32))])
        say(studio, number + 1, "Ada", CLASSES[2 if number == 12 else number % 3])
    return studio, 13


# --- what there is ------------------------------------------------------------------------------


def test_what_is_counted_is_what_the_store_holds(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(6))
    for item, annotator, label in ((1, "Ada", "fear"), (1, "Bob", "surprise"), (2, "Ada", "anger"), (2, "Bob", "anger"),
                                   (3, HTML, "NF"), (4, "Ada", None)):  # fmt: skip
        say(studio, item, annotator, label)
    page = to_data(open_page(address=studio.address))
    expect(page.locator("#data .tiles li")).to_have_count(5)
    found = tiles(page)
    agreement = next(words for words in found if words.startswith("agreement"))
    assert re.fullmatch(r"agreement α \[-?\d\.\d\d, \d\.\d\d\] on 2 faces", agreement)
    assert {words: figure for words, figure in found.items() if words != agreement} == {
        "faces with a picture": "6", "of them labelled": "3", "votes that stand": "5", "people and sets": "3",
    }  # fmt: skip
    assert {name: count for name, count in bars(page, "by-label").items() if count != "0"} == {
        "Fear": "1", "Surprise": "1", "Anger": "2", "Not a face": "1"}  # fmt: skip
    assert bars(page, "by-annotator") == {"Ada": "2", "Bob": "2", HTML: "1"}
    assert bars(page, "by-source") == {"import": "6 · 3 labelled"}
    assert list(bars(page, "by-day").values()) == ["5"]
    expect(page.locator("#data .saved")).to_contain_text(re.compile(r"saved on this disk; the last one at \d\d:\d\d"))
    expect(page.locator("#data .lacking")).to_contain_text("50 neutral, 50 happiness, 49 surprise")
    assert page.problems == [] and page.evaluate("window.pwned") is None
    say(studio, 5, "Eve", "happiness")
    page.reload()
    to_data(page)
    expect(page.locator("#data .tiles")).to_contain_text("6votes that stand")


def test_an_empty_workspace_says_so(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    page = to_data(open_page(address=open_studio().address))
    expect(page.locator("#data .saved")).to_have_text("No label yet. Each is saved on this disk before the page says so.")
    expect(page.locator("#data .pairs")).to_have_text("Nowhere yet.")
    page.get_by_role("button", name="Look for them").click()
    expect(page.locator("#data .found")).to_contain_text("None found. It takes twenty labelled faces at least")
    page.get_by_role("button", name="Take a snapshot").click()
    expect(page.locator("#data .banner")).to_have_text("No face has a label yet; label some, or import labelled ones.")
    assert page.problems == []


def test_a_pair_shows_the_faces_people_part_on(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(5))
    for item in (1, 2):
        say(studio, item, "Ada", "fear")
        say(studio, item, "Bob", "surprise")
    say(studio, 2, "Eve", "fear")
    say(studio, 3, "Ada", "unknown")
    say(studio, 3, "Bob", "fear")
    page = to_data(open_page(address=studio.address))
    pair = page.get_by_role("button", name="Surprise / Fear: 2")
    pair.click()
    expect(pair).to_have_attribute("aria-pressed", "true")
    shown = page.locator("#data .parted li")
    expect(shown).to_have_count(2)
    assert {one.inner_text() for one in shown.all()} == {"fear 2, surprise 1", "surprise 1, fear 1"}
    for image in page.locator("#data .parted img").all():
        assert image.evaluate("(one) => one.complete && one.naturalWidth") == 160
    page.get_by_role("button", name=re.compile("Cannot tell")).click()
    expect(shown).to_have_count(1)
    expect(shown).to_have_text("fear 1, cannot tell 1")
    expect(pair).to_have_attribute("aria-pressed", "false")
    assert page.problems == []


def test_the_chosen_pair_stays_chosen_when_the_counts_are_renewed(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio(some_faces(3))
    for item, label in ((1, "fear"), (2, "anger")):
        say(studio, item, "Ada", label)
        say(studio, item, "Bob", "surprise")
    page = to_data(open_page(address=studio.address))
    pair = page.get_by_role("button", name="Surprise / Fear: 1")
    pair.click()
    expect(page.locator("#data .parted li")).to_have_count(1)
    say(studio, 3, "Ada", "happiness")
    choose(page, ("more.zip", a_zip(**{"sadness/0.png": face(6)})))  # the counts are renewed when it is in
    expect(page.locator("#data .tiles")).to_contain_text("4faces with a picture", timeout=30_000)
    expect(pair).to_have_attribute("aria-pressed", "true")
    pair.focus()
    page.locator("#data .source").evaluate("(one) => one.form.requestSubmit()")  # nothing to bring in: nothing happens
    choose(page, ("yet more.zip", a_zip(**{"sadness/0.png": face(7)})))
    expect(page.locator("#data .tiles")).to_contain_text("5faces with a picture", timeout=30_000)
    expect(pair).to_be_focused()


def test_doubtful_labels_are_shown_with_their_reason_and_asked_about_first(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio, wrong = doubtful_studio(open_studio)
    page = to_data(open_page(address=studio.address))
    page.get_by_role("button", name="Look for them").click()
    expect(page.locator("#data .found")).to_have_text("1 label looks wrong; on the Label tab they come first. The worst:")
    expect(page.locator("#data .doubted li")).to_have_count(1)
    expect(page.locator("#data .doubted li")).to_contain_text(
        f"The label is {title(CLASSES[2]).lower()}; the model gives that 1% and {title(CLASSES[0]).lower()} 93%.")
    assert page.locator("#data .doubted img").evaluate("(one) => one.naturalWidth") == 160
    to_faces(page, "Ada")
    assert item_shown(page) == wrong
    expect(page.locator("#labeling")).to_contain_text(AGAIN)
    page.keyboard.press("1")
    expect(page.locator("#labeling .nothing")).to_contain_text("No face is waiting")
    assert page.problems == []


# --- files in -----------------------------------------------------------------------------------


def test_a_chosen_zip_is_imported_and_what_was_passed_over_is_named(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio()
    files = {f"happiness/{number}.png": png(chip(number)) for number in range(6)}
    broken = {f"fear/{HTML.replace('/', '')}{number}.png": face(number)[: 300 + number] for number in range(3)}
    page = to_data(open_page(address=studio.address))
    choose(page, (f"{HTML}.zip", a_zip(**files, **broken)))
    report = page.locator("#data .imports > li")
    expect(report).to_have_count(1)
    expect(report).to_contain_text("6 new faces · 6 new labels. 3 parts passed over:", timeout=30_000)
    for name in broken:
        expect(report).to_contain_text(name)
    expect(report.locator("b")).to_have_text(f"{HTML}.zip")
    expect(report.locator("progress")).to_be_hidden()
    assert len(studio.store.items(range(1, 9))) == 6 and page.evaluate("window.pwned") is None
    expect(page.locator("#data .tiles")).to_contain_text("6faces with a picture")
    choose(page, (f"{HTML}.zip", a_zip(**files)))
    expect(report.first).to_contain_text("0 new faces · 0 new labels · 6 were here already.", timeout=30_000)
    assert not list((studio.services.workspace / "incoming").glob("*"))
    assert page.problems == []


def test_a_file_that_needs_several_parts_and_progress_is_shown(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio()
    ballast = np.random.default_rng(0).bytes(13_000_000)  # no picture: passed over by its name
    page = to_data(open_page(address=studio.address))
    page.evaluate("""() => { window.said = new Set(); const list = document.querySelector("#data .imports");
        new MutationObserver(() => { for (const one of list.querySelectorAll("[role=status]")) said.add(one.textContent); })
            .observe(list, { childList: true, subtree: true, characterData: true }); }""")
    choose(page, ("large.zip", a_zip(**{"readme.bin": ballast, "fear/0.png": face(0)})))
    expect(page.locator("#data .imports > li")).to_contain_text("1 new face · 1 new label.", timeout=60_000)
    said = page.evaluate("[...said]")
    assert {"Sending: 0 %", "Sending: 46 %", "Sending: 92 %"} <= set(said), said
    assert page.problems == []


def test_photos_are_cut_into_faces(open_page: Callable[..., Page], open_studio: Callable[..., Studio], collins: Path):
    studio = open_studio()
    page = to_data(open_page(address=studio.address))
    page.locator("#data .files").set_input_files([str(collins)])
    expect(page.locator("#data .imports > li")).to_contain_text("1 new face · 0 new labels · 1 without a label.", timeout=30_000)
    item = studio.store.item(1)
    assert item.landmarks and item.name == "eileen-collins.jpg"


@pytest.mark.parametrize("content", [b"", b"this is no zip"])
def test_a_file_that_is_nothing_is_refused_in_a_sentence(open_page: Callable[..., Page], open_studio: Callable[..., Studio], content):
    page = to_data(open_page(address=open_studio().address))
    choose(page, ("odd.zip", content))
    words = page.locator("#data .imports .error")
    expect(words).to_have_count(1, timeout=30_000)
    assert words.inner_text().endswith(".") and "/" not in words.inner_text(), words.inner_text()
    assert page.problems == []


def test_a_folder_on_the_server_is_brought_in(open_page: Callable[..., Page], open_studio: Callable[..., Studio], tmp_path: Path):
    studio = open_studio()
    (tmp_path / "mine" / "anger").mkdir(parents=True)
    (tmp_path / "mine" / "anger" / "a.png").write_bytes(face(0))
    page = to_data(open_page(address=studio.address))
    page.locator("#data .source").fill(f"folder:{tmp_path / 'mine'}")
    page.keyboard.press("Enter")
    report = page.locator("#data .imports > li")
    expect(report).to_contain_text("1 new face · 1 new label.", timeout=30_000)
    page.locator("#data .source").fill("/nowhere/at all")
    page.locator("#data .from button").click()
    expect(report.first).to_contain_text("at all does not exist; check the name and the folder.")
    page.reload()
    to_data(page)
    expect(page.locator("#data .imports > li")).to_have_count(2)  # they are known until the app is started anew


# --- files out, withdrawal ----------------------------------------------------------------------


def test_the_zip_is_fetched_once_and_holds_the_labelled_faces(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio], tmp_path: Path
):
    studio = open_studio(some_faces(4))
    for item in (1, 2):
        say(studio, item, "Ada", "fear")
    page = to_data(open_page(address=studio.address))
    for kind, count in (("csv", 4), ("hf", 4), ("folder", 2)):
        page.locator("#data .format").select_option(kind)
        with page.expect_download() as download:
            page.get_by_role("button", name="Make the zip").click()
        assert download.value.suggested_filename == f"faces-{kind}.zip"
        download.value.save_as(tmp_path / f"{kind}.zip")
        expect(page.locator("#data .handed")).to_contain_text(f"{count} faces in the zip")
        assert http(download.value.url)[0] == 404
        store = LabelStore(tmp_path / f"labels of {kind}")
        assert bring_in(store, str(tmp_path / f"{kind}.zip")).faces == count
        store.close()
    assert not any(path.is_file() for path in (studio.services.workspace / "outgoing").rglob("*"))
    assert page.problems == []


def test_a_program_that_first_asks_how_large_it_is_gets_the_file_too(open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(1))
    address = f"{studio.address}/" + ask(studio.address, "data.hand_out", {"kind": "csv"})["address"]
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD")).close()
    except urllib.error.HTTPError:
        pass  # may be refused
    assert http(address)[0] == 200


def test_what_a_format_cannot_hold_is_said_beside_the_zip(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(3))
    say(studio, 1, "Ada", "fear")
    page = to_data(open_page(address=studio.address))
    page.locator("#data .format").select_option("folder")
    with page.expect_download():
        page.get_by_role("button", name="Make the zip").click()
    expect(page.locator("#data .handed")).to_contain_text("1 face in the zip")
    expect(page.locator("#data .handed")).to_contain_text("2 left out")


def test_an_empty_workspace_gives_no_zip(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    page = to_data(open_page(address=open_studio().address))
    page.get_by_role("button", name="Make the zip").click()
    expect(page.locator("#data .banner")).to_have_text("There is no face to export; nothing was written.")
    expect(page.locator("#data .handed")).to_have_text("")


def given(studio: Studio, count: int = 2) -> None:
    for number in range(count):
        item = NewItem("live", f"clip {number}", face(number), 112, 112, (0, 0, 112, 112))
        studio.store.contribute(item, Judgement(f"given {number}", "Ada", "fear"), CODE, "tests")


def test_snapshot_and_withdrawal_say_what_they_did(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio()
    given(studio)
    page = to_data(open_page(address=studio.address))
    page.get_by_role("button", name="Take a snapshot").click()
    expect(page.locator("#data .handed")).to_contain_text("Snapshot")
    handed = page.locator("#data .handed").inner_text()
    words = re.fullmatch(r"Snapshot ([0-9a-f]{16}) is in .+: (\d+) to train on, (\d+) to choose by, (\d+) to test on\.", handed)
    assert words and sum(map(int, words.groups()[1:])) == 2
    assert (studio.services.workspace / "snapshots" / words[1] / "manifest.jsonl").is_file()

    page.locator("#data .code").fill("ABCD")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Withdraw").click()
    expect(page.locator("#data .banner")).to_contain_text("A withdrawal code has at least 16 letters and digits")

    page.locator("#data .code").fill(CODE)
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Withdraw").click()
    assert len(studio.store.items([1, 2])) == 2

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Withdraw").click()
    expect(page.locator("#data .withdrawn")).to_have_text(
        f"Removed for good: 2 faces. Also taken out of the snapshots {words[1]}.")
    expect(page.locator("#data .tiles")).to_contain_text("2faces withdrawn")
    expect(page.locator("#data .code")).to_have_value("")
    assert studio.store.items([1, 2]) == [] and page.problems == []


def test_what_went_wrong_can_be_seen_where_it_went_wrong(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    page = to_data(open_page(address=open_studio().address, viewport={"width": 390, "height": 844}))
    page.locator("#data .code").fill("ABCD")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Withdraw").click()
    said = page.get_by_text("A withdrawal code has at least 16 letters and digits")
    expect(said).to_be_visible()
    expect(said).to_be_in_viewport()


# --- rights -------------------------------------------------------------------------------------

PAYLOADS: dict[str, dict] = {
    "counts": {}, "parted": {"one": "fear", "other": "anger"}, "doubtful": {}, "imports": {}, "snapshot": {},
    "part": {"upload": "0" * 16, "name": "a.zip", "at": 0, "data": "AAAA"}, "bring": {"upload": "0" * 16, "source": "folder:/"},
    "hand_out": {"kind": "csv"}, "withdraw": {"code": CODE}, "faces": {"newcomer": "0"}, "release": {"newcomer": "0", "release": True},
}  # fmt: skip


def refused(studio: Studio, headers: dict[str, str] | None = None) -> dict[str, str]:
    answers = {name: ask(studio.address, f"data.{name}", payload, headers) for name, payload in PAYLOADS.items()}
    return {name: answer["error"] for name, answer in answers.items() if answer.get("refused")}


def test_without_rights_the_tab_says_so_and_nothing_but_a_withdrawal_works(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio]
):
    studio = open_studio()
    given(studio)
    before = sorted(path.name for path in studio.services.workspace.iterdir())
    studio.services.house = House(False, Keys.fresh())
    assert {name.partition(".")[2] for name in server_functions(studio.address) if name.startswith("data.")} == set(PAYLOADS)
    page = open_page(address=studio.address)
    page.get_by_role("tab", name="Data").click()
    expect(page.locator("#data .banner")).to_have_text(REFUSALS["label"])
    assert page.locator("#data .tiles li").count() == 0
    for name in ("Make the zip", "Take a snapshot", "Look for them", "Bring in"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()
    expect(page.get_by_role("button", name="Withdraw", exact=True)).to_be_visible()
    assert sorted(path.name for path in studio.services.workspace.iterdir()) == before

    labeler = {"Authorization": f"Bearer {studio.services.house.keys.label}"}
    for_owners = dict.fromkeys(("part", "bring", "imports", "hand_out", "faces", "release"), REFUSALS["own"])
    assert refused(studio, labeler) == {**for_owners, "snapshot": REFUSALS["train"]}
    assert studio.store.items([1, 2]) == [], "whoever holds the code may withdraw"
    assert set(refused(studio)) == set(PAYLOADS) - {"withdraw"}
    assert refused(studio, {"Authorization": f"Bearer {studio.services.house.keys.own}"}) == {}
    assert page.problems == []


def test_whoever_may_not_count_is_not_kept_waiting(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio()
    studio.services.house = House(False, Keys.fresh())
    page = open_page(address=studio.address)
    page.get_by_role("tab", name="Data").click()
    expect(page.locator("#data .banner")).to_have_text(REFUSALS["label"])
    expect(page.locator("#data .saved")).not_to_have_text("Counting …")


# --- for everybody ------------------------------------------------------------------------------

@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_serious_on_the_data_tab(
    open_page: Callable[..., Page], open_studio: Callable[..., Studio], scheme: str, width: int
):
    studio, _ = doubtful_studio(open_studio)
    for item in range(1, 23):  # on so many days that their list is longer than its frame
        at = f"2026-01-{item:02d}T10:00:00.000Z"
        studio.store.judge(item, Judgement(f"long {item}", "Bartholomäus Maximilian von und zu Hohenfels", CLASSES[item % 5], at=at))
    page = open_page(address=studio.address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = {}

    def look(state: str) -> None:
        found[state] = serious(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{state} is wider than the window"

    to_data(page)
    expect(page.locator("#data .tiles li")).to_have_count(5)
    look("counts")
    page.locator("#data .pairs button").first.click()
    expect(page.locator("#data .parted li").first).to_be_visible()
    page.get_by_role("button", name="Look for them").click()
    expect(page.locator("#data .found")).to_contain_text("wrong")
    choose(page, ("faces.zip", a_zip(**{"fear/0.png": face(0), "fear/a very long name of a broken file, longer than the column.png": b"x"})))
    expect(page.locator("#data .imports > li")).to_contain_text("passed over", timeout=30_000)
    choose(page, ("odd.zip", b"no zip"))
    expect(page.locator("#data .imports .error")).to_have_count(1, timeout=30_000)
    page.get_by_role("button", name="Take a snapshot").click()
    expect(page.locator("#data .handed")).to_contain_text("Snapshot")
    look("everything shown")
    page.locator("#data .code").fill("ABCD")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Withdraw").click()
    expect(page.locator("#data .banner")).to_be_visible()
    look("an error")
    assert {state: problems for state, problems in found.items() if problems} == {}


def test_every_control_of_the_data_tab_is_reached_by_the_tab_key(open_page: Callable[..., Page], open_studio: Callable[..., Studio]):
    studio = open_studio(some_faces(2))
    say(studio, 1, "Ada", "fear")
    say(studio, 1, "Bob", "anger")
    page = to_data(open_page(address=studio.address))
    expect(page.locator("#data .pairs button")).to_have_count(1)
    wanted = page.evaluate("""[...document.querySelectorAll("#data button, #data input, #data select")]
        .map((one, index) => (one.dataset.stop = index)).length""")
    reached = set()
    for _ in range(3 * wanted + 20):
        page.keyboard.press("Tab")
        stop = page.evaluate("document.activeElement?.dataset?.stop ?? null")
        if stop is not None:
            reached.add(int(stop))
    assert reached == set(range(wanted)) and wanted == 10
