"""``python -m fer bench``: the figures of the README, each measured on the machine it runs on."""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fer.faces import Face

Progress = Callable[[Iterable], Iterable]


# --- crop: do photographs of faces reach the network as training faces do? -----------------------


@dataclass(frozen=True)
class Staged:
    """A ready-made face laid somewhere on a larger canvas; `centre` and `side` in pixels of the canvas."""

    canvas: Image.Image
    centre: tuple[float, float]
    side: float


def stage(face: Image.Image, random: np.random.Generator) -> Staged:
    """`face` enlarged 3-6 times, turned by up to ±15° and put at a random place of a grey 640×480 canvas."""
    side = round(face.width * random.uniform(3, 6))
    angle = random.uniform(-15, 15)
    large = face.resize((side, side), Image.Resampling.BICUBIC)
    turned = large.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    mask = Image.new("L", (side, side), 255).rotate(angle, expand=True)
    width, height = max(640, turned.width), max(480, turned.height)
    canvas = Image.new("RGB", (width, height), (int(random.integers(0, 256)),) * 3)
    left = int(random.integers(0, width - turned.width + 1))
    top = int(random.integers(0, height - turned.height + 1))
    canvas.paste(turned, (left, top), mask)
    return Staged(canvas, (left + turned.width / 2, top + turned.height / 2), side)


def staged_face(staged: Staged, faces: list[Face]) -> Face | None:
    """The found face whose box has the staged face's middle nearest its own, if it is within a quarter side."""

    def distance(face: Face) -> float:
        left, top, right, bottom = face.box
        return float(np.hypot((left + right) / 2 - staged.centre[0], (top + bottom) / 2 - staged.centre[1]))

    near = [face for face in faces if distance(face) < staged.side / 4]
    return min(near, key=distance, default=None)


def bench_crop(arguments: argparse.Namespace, progress: Progress) -> dict:
    """Accuracy of validation faces put on canvases and found again, against the same faces fed directly."""
    import torch

    from fer import datasets
    from fer.predict import Recognizer

    if not arguments.data:
        raise ValueError("bench crop needs faces; give --data ferplus:FOLDER")
    torch.set_num_threads(1)
    recognizer = Recognizer.load(arguments.model) if arguments.model else Recognizer.load()
    faces = datasets.load(arguments.data, "val").for_evaluation()
    if arguments.limit:
        faces = faces.subset(np.linspace(0, len(faces) - 1, min(arguments.limit, len(faces))).astype(int))
    preprocess = recognizer.bundle.preprocess
    direct, found = [], []
    for index in progress(range(len(faces))):
        image = faces.image(index)
        direct.append(preprocess(image, Face.whole(image)))
        staged = stage(image, np.random.default_rng([0, index]))
        face = staged_face(staged, recognizer.detector.find(staged.canvas))
        found.append(None if face is None else preprocess(staged.canvas, face))
    seen = np.array([tensor is not None for tensor in found])
    names = np.array(faces.classes)[faces.labels]
    straight = np.array([one.expression for one in recognizer.predict(direct)]) == names
    through = np.array([one.expression for one in recognizer.predict([t for t in found if t is not None])]) == names[seen]
    return {
        "faces": len(faces),
        "found": round(float(seen.mean()), 4),
        "accuracy_direct": round(float(straight[seen].mean()), 4),
        "accuracy_through_detector": round(float(through.mean()), 4),
        "difference": round(float(through.mean() - straight[seen].mean()), 4),
        "accuracy_direct_all": round(float(straight.mean()), 4),
    }


# --- start: how long until the page answers, and what it costs in memory --------------------------

APP = Path(__file__).parent.parent / "app.py"
SAMPLE = Path(__file__).parent / "samples" / "eileen-collins.jpg"


def bench_start(arguments: argparse.Namespace, progress: Progress) -> dict:
    """Seconds from ``python app.py`` to a page that loads and to a first prediction; memory after ten."""
    import tempfile

    from gradio_client import Client, handle_file

    port = _free_port()
    with tempfile.TemporaryDirectory() as workspace:
        command = [sys.executable, str(APP), "--host", "127.0.0.1", "--port", str(port), "--workspace", workspace]
        started = time.monotonic()
        app = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url + "/", app)
            page = time.monotonic() - started
            while not json.loads(_wait_for(url + "/healthz", app))["ready"]:
                time.sleep(0.1)
            ready = time.monotonic() - started
            client = Client(url, verbose=False)
            times = []
            for _ in progress(range(10)):
                before = time.monotonic()
                client.predict(handle_file(str(SAMPLE)), api_name="/predict")
                times.append(time.monotonic() - before)
            memory = _resident_megabytes(app.pid)
        finally:
            app.terminate()
            app.wait(20)
    return {
        "seconds_to_page": round(page, 2),
        "seconds_to_model_ready": round(ready, 2),
        "median_seconds_per_prediction": round(statistics.median(times), 3),
        "resident_megabytes_after_ten": memory,
        "cores": os.cpu_count(),
    }


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _wait_for(url: str, app: subprocess.Popen, seconds: float = 120) -> bytes:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if app.poll() is not None:
            raise OSError(f"app.py ended with code {app.returncode} before it answered; run it by itself to see why")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise OSError(f"{url} did not answer within {seconds:.0f} seconds")


def _resident_megabytes(pid: int) -> int:
    """Resident memory of process `pid`, as the system counts it."""
    output = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return round(int(output) / 1024)


BENCHES: dict[str, Callable[[argparse.Namespace, Progress], dict]] = {"crop": bench_crop, "start": bench_start}
