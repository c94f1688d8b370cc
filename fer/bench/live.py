"""``bench live``: frame rate and latency of live video, seen from a real browser with a fake camera.

The camera shows a sample face that moves, and in a strip at the bottom a counter. ``probe.js`` reads
the counter from the camera and from the page's canvas, so that nothing here trusts the page's meter.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fer.bench.served import SAMPLE, Progress, served_app, wait_for

WIDTH, HEIGHT, RATE, FRAMES = 640, 480, 30, 300
BITS, CELL = 16, 20  # of the counter; probe.js has them too
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--use-fake-device-for-media-stream",
         "--use-fake-ui-for-media-stream")  # fmt: skip
SLOW = {"offline": False, "latency": 40, "downloadThroughput": 1_000_000, "uploadThroughput": 1_000_000}  # 8 Mbit/s


def write_camera(path: Path, frames: int = FRAMES, counter: bool = True) -> None:
    """A Y4M film of `frames` frames of 640×480: the sample face moving about, a `counter` at the bottom."""
    with Image.open(SAMPLE) as image:
        large = image.convert("RGB").resize((1024, 1024), Image.Resampling.BICUBIC)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for index in range(frames):
            turn = 2 * math.pi * index / frames * 3
            left, top = round(126 + 90 * math.sin(turn)), round(12 + 10 * math.cos(2 * turn))
            planes = np.array(large.crop((left, top, left + WIDTH, top + HEIGHT)).convert("YCbCr"))
            for bit in range(BITS if counter else 0):
                on = index >> (BITS - 1 - bit) & 1
                planes[HEIGHT - CELL :, bit * CELL : (bit + 1) * CELL] = (255 if on else 0, 128, 128)
            file.write(b"FRAME\n" + planes[..., 0].tobytes())
            file.write(planes[::2, ::2, 1].tobytes() + planes[::2, ::2, 2].tobytes())


def chromium_and_playwright() -> tuple[str, Callable]:
    """The path of a Chromium, and Playwright's way to start. Raises ValueError where either is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ValueError("this needs Playwright; run python -m pip install -r tests/requirements.txt") from error
    chromium = os.environ.get("FER_TEST_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        raise ValueError("this needs Chromium on the PATH, or named by FER_TEST_BROWSER")
    return chromium, sync_playwright


def bench_live(arguments: argparse.Namespace, progress: Progress) -> dict:
    """One viewer, then two, then one on a slow line: frames a second and 95th percentile of the latency."""
    chromium, sync_playwright = chromium_and_playwright()
    with tempfile.TemporaryDirectory() as folder, served_app(arguments.model) as (url, app), sync_playwright() as playwright:
        camera = Path(folder) / "camera.y4m"
        write_camera(camera)
        while b'"ready":true' not in wait_for(url + "/healthz", app):
            time.sleep(0.1)
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*QUIET, f"--use-file-for-fake-video-capture={camera}"]
        )
        stages = iter(progress(["alone", "two", "slow"]))
        next(stages)
        first = _open(browser, url)
        alone = _watch(first, 15)
        next(stages)
        second = _open(browser, url)
        second.wait_for_timeout(3000)
        _clear(first)
        beside = _watch(second, 15)
        both = _frames(first)
        second.context.close()
        next(stages)
        session = first.context.new_cdp_session(first)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", SLOW)
        first.wait_for_timeout(3000)
        slow = _watch(first, 60)
        list(stages)
        browser.close()
    started, ended = slow[0, 0], slow[-1, 0]
    return {
        "fps": _rate(alone),
        "latency_p50_ms": _percentile(alone, 50),
        "latency_p95_ms": _percentile(alone, 95),
        "two_viewers_fps": [_rate(both), _rate(beside)],
        "slow_fps": _rate(slow),
        "slow_latency_p95_ms": _percentile(slow, 95),
        "slow_latency_p95_ms_first_10_s": _percentile(slow[slow[:, 0] < started + 10_000], 95),
        "slow_latency_p95_ms_last_10_s": _percentile(slow[slow[:, 0] > ended - 10_000], 95),
        "cores": os.cpu_count(),
    }


def _open(browser, url: str):
    page = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"]).new_page()
    page.add_init_script(path=Path(__file__).parent / "probe.js")
    page.goto(url)
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Open the camera").click()
    page.locator(".face").first.wait_for()
    page.wait_for_timeout(2000)
    return page


def _clear(page) -> None:
    page.evaluate("window.liveFrames.length = 0")


def _frames(page) -> np.ndarray:
    """Painted frames since `_clear`, float (N, 2): when, and latency, in milliseconds."""
    frames = np.array(page.evaluate("window.liveFrames"), dtype=float).reshape(-1, 2)
    if len(frames) < 2:
        raise OSError("no frames were painted; open the page by hand to see why")
    return frames


def _watch(page, seconds: float) -> np.ndarray:
    _clear(page)
    page.wait_for_timeout(seconds * 1000)
    return _frames(page)


def _rate(frames: np.ndarray) -> float:
    return round(float((len(frames) - 1) * 1000 / (frames[-1, 0] - frames[0, 0])), 1)


def _percentile(frames: np.ndarray, share: float) -> float:
    return round(float(np.percentile(frames[:, 1], share)), 1)
