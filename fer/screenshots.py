"""``python -m fer screenshots``: the pictures of the README, taken of the running app by a real browser."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from fer.bench.live import QUIET, chromium_and_playwright, write_camera
from fer.bench.served import Caller, served_app, wait_for

SAMPLES = Path(__file__).parent / "samples"
FOLDER = Path(__file__).parent / "ui" / "screenshots"


def take(folder: Path) -> list[Path]:
    """Write the screenshots into `folder`: a photo, a group, live video, labels, narrow and wide, light and dark.

    Raises ValueError, in one sentence, where Playwright or Chromium is missing.
    """
    chromium, sync_playwright = chromium_and_playwright()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, served_app() as (url, app), sync_playwright() as playwright:
        camera = Path(scratch) / "camera.y4m"
        write_camera(camera, frames=60, counter=False)
        while b'"ready":true' not in wait_for(url + "/healthz", app):
            time.sleep(0.1)
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*QUIET, f"--use-file-for-fake-video-capture={camera}"]
        )
        shots = [
            _shot(browser, url, folder / "photo.jpg", _sample("Eileen Collins"), 1280, 860),
            _shot(browser, url, folder / "group-dark.jpg", _sample("Eight people"), 1280, 860, "dark"),
            _shot(browser, url, folder / "live.jpg", _camera, 1440, 900),
            _shot(browser, url, folder / "live-dark.jpg", _camera, 1440, 900, "dark"),
            _shot(browser, url, folder / "phone-live.jpg", _camera, 390, 844),
            _shot(browser, url, folder / "phone.jpg", _sample("Barack Obama speaking"), 390, 844),
            _shot(browser, url, folder / "phone-dark.jpg", _camera, 390, 844, "dark"),
            *_labels(browser, url, folder),
            *_taught(browser, url, folder, Path(scratch) / "faces"),
        ]
        browser.close()
    return shots


def _labels(browser, url: str, folder: Path) -> list[Path]:
    """The Label and the Data tab, once three people have labelled the faces of the samples."""
    caller = Caller(url, seconds=300)
    caller.call("import", str(SAMPLES))
    for number, name in enumerate(("Ada", "Grace", "Mary")):
        for turn in range(5 + number):
            face = caller.call("next", name)
            if face:
                caller.call("label", face["item"], ("neutral", "happiness", "anger")[(turn + number // 2) % 3], name, f"{name}-{turn}")
    caller.close()
    time.sleep(3)  # until the model has read the faces
    return [
        _shot(browser, url, folder / "label.jpg", _label_tab, 1280, 900),
        _shot(browser, url, folder / "label-phone-dark.jpg", _label_tab, 390, 844, "dark"),
        _shot(browser, url, folder / "data.jpg", _data_tab, 1280, 1000),
        _shot(browser, url, folder / "data-dark.jpg", _data_tab, 1280, 1000, "dark"),
    ]


def _taught(browser, url: str, folder: Path, faces: Path) -> list[Path]:
    """The Train and the Models tab, once the model has learned how the samples' faces look through a door viewer."""
    write_door_viewer_faces(faces)
    caller = Caller(url, seconds=600)
    caller.call("import", f"folder:{faces}")
    caller.call("train_start", "quick")
    while (status := caller.call("train_status"))["state"] in ("starting", "running"):
        time.sleep(1)
    caller.close()
    if status["state"] != "finished":
        raise ValueError(f"the run for the picture of the Train tab was {status['state']}: {status['error']}")
    return [
        _shot(browser, url, folder / "train.jpg", _tab("Train"), 1280, 1900),
        _shot(browser, url, folder / "train-dark.jpg", _tab("Train"), 1280, 1900, "dark"),
        _shot(browser, url, folder / "models.jpg", _tab("Models"), 1280, 900),
    ]


def write_door_viewer_faces(folder: Path, views: int = 10) -> None:
    """Class folders of the samples' faces, `views` of each, as a door viewer shows them, by what the model reads without."""
    import numpy as np

    from fer import Recognizer
    from fer.augment import Augment
    from fer.bench.continual import door_viewer
    from fer.picture import open_picture

    recognizer, random = Recognizer.load(), np.random.default_rng(0)
    for path in sorted(SAMPLES.glob("*.jpg")):
        image = open_picture(path)
        for number, face in enumerate(recognizer.read(image).faces):
            crop = recognizer.bundle.preprocess.crop(image, face.face)
            (folder / face.prediction.expression).mkdir(parents=True, exist_ok=True)
            for view in range(views):
                seen = door_viewer(Augment().crop(crop, 96, random))
                seen.save(folder / face.prediction.expression / f"{path.stem}-{number}-{view}.png")


def _shot(browser, url: str, path: Path, act, width: int, height: int, scheme: str = "light") -> Path:
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, permissions=["camera"]
    )
    page = context.new_page()
    page.goto(url)
    page.locator(".samples .sample img").first.wait_for()
    act(page)
    page.wait_for_timeout(1500)
    page.screenshot(path=path, type="jpeg", quality=85)
    context.close()
    return path


def _sample(name: str):
    def act(page) -> None:
        page.get_by_role("button", name=name).click()
        page.locator(".face").first.wait_for()

    return act


def _camera(page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Open the camera").click()
    page.locator(".face").first.wait_for()


def _label_tab(page) -> None:
    page.get_by_role("tab", name="Label").click()
    page.locator("#labeling .name").fill("Katherine")
    page.get_by_role("button", name="Start labeling").click()
    page.locator(".easel[data-state=shown]").wait_for()
    page.keyboard.press("1")


def _data_tab(page) -> None:
    page.get_by_role("tab", name="Data").click()
    page.locator("#data .pairs button").first.click()


def _tab(name: str):
    def act(page) -> None:
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(3000)

    return act
