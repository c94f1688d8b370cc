"""What several tests share: pictures, the FER+ folder, a running app, a real browser."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# As app.py and the command line set it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from queued import Clock

    from labeling.queue import ReviewQueue
    from labeling.store import LabelStore

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "fer" / "samples"
COLLINS = SAMPLES / "eileen-collins.jpg"


# Tests of browsers, processes and servers that wait for one another have a second try: they share a machine that may be
# busy. Those that look for what is lost (test_durability, test_interruptions, test_hub_kills) have none.
BUSY = {"test_live", "test_processes", "test_pulse", "test_remote", "test_runs", "test_scorer", "test_space", "test_sync", "test_torchrun"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "e2e" or item.path.stem in BUSY or item.path.stem.startswith("test_app"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session", autouse=True)
def no_workspace_but_the_tests_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """So that the active model of somebody's own ./workspace changes no result."""
    os.environ["FER_WORKSPACE"] = str(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="session", autouse=True)
def one_inference_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def collins() -> Path:
    """A photograph with one face that smiles."""
    return COLLINS


@pytest.fixture(scope="session")
def ferplus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unzipped FER+ folder; skips where FER_TEST_DATA is not set, fails where it is set and wrong."""
    given = os.environ.get("FER_TEST_DATA")
    if not given:
        pytest.skip("FER_TEST_DATA is not set; it names the folder with ferplus.zip or ferplus/")
    if (Path(given) / "ferplus").is_dir():
        return Path(given) / "ferplus"
    target = tmp_path_factory.mktemp("data")
    with zipfile.ZipFile(Path(given) / "ferplus.zip") as archive:
        archive.extractall(target)
    return target / "ferplus"


@pytest.fixture(scope="session")
def recognizer():
    """The shipped model."""
    from fer.predict import Recognizer

    return Recognizer.load()


@pytest.fixture
def short_benchmark(monkeypatch: pytest.MonkeyPatch) -> int:
    """Only so many faces of the base benchmark that ships: a comparison of two models reads them all."""
    from dataclasses import replace

    from fer import rehearsal

    whole, count = rehearsal.read(), 40
    few = {**whole.sides, "benchmark": whole.sides["benchmark"].subset(np.arange(count))}
    monkeypatch.setattr(rehearsal, "read", lambda: replace(whole, sides=few))
    return count


@pytest.fixture(scope="session")
def face_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ``folder:`` data set of real faces cut from the samples, with train, val and test inside.

    The labels are arbitrary: it serves to run training and evaluation, not to learn anything.
    """
    from fer.faces import FaceDetector
    from fer.picture import open_picture
    from fer.transforms import Preprocess

    root = tmp_path_factory.mktemp("faces")
    names = ("happiness", "neutral", "surprise")
    crops = []
    for path in sorted(SAMPLES.glob("*.jpg")):
        image = open_picture(path)
        crops += [Preprocess().crop(image, face).resize((48, 48)) for face in FaceDetector().find(image)]
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        for index in range(count):
            crop = crops[index % len(crops)].rotate(random.uniform(-20, 20))
            folder = root / split / names[index % len(names)]
            folder.mkdir(parents=True, exist_ok=True)
            crop.save(folder / f"{index:02d}.png")
    return root


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; skips where none is found, fails where FER_TEST_BROWSER is set and wrong."""
    given = os.environ.get("FER_TEST_BROWSER")
    if given:
        assert Path(given).is_file(), f"FER_TEST_BROWSER is {given}, which does not exist"
        return given
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on the PATH; set FER_TEST_BROWSER")
    return found


@pytest.fixture(scope="session")
def app_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[object, str]]:
    """The app, served by this process with the shipped model: its services and its address."""
    import app

    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("uploads"))
    services = app.Services(app.Settings(host="127.0.0.1", workspace=tmp_path_factory.mktemp("workspace")))
    page, address = app.launch(services, block=False)
    services.recognizer()
    yield services, address.rstrip("/")
    page.close()
    services.close()


@pytest.fixture(scope="session")
def app_address(app_served: tuple[object, str]) -> str:
    """The address of the app."""
    return app_served[1]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    """The empty labels of a workspace in `tmp_path`."""
    from labeling.store import LabelStore

    one = LabelStore(tmp_path / "labels")
    yield one
    one.close()


@pytest.fixture
def clock() -> Clock:
    """What `queue` asks for the time."""
    from queued import Clock

    return Clock()


@pytest.fixture
def queue(store: LabelStore, clock: Clock) -> ReviewQueue:
    """The review queue of `store`."""
    from labeling.queue import ReviewQueue

    return ReviewQueue(store, clock, seed=0)


def picture(size: tuple[int, int] = (64, 48), seed: int = 0) -> Image.Image:
    """Coloured noise: a picture without a face."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
