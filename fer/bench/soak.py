"""``bench soak``: ten thousand frames from one viewer; does the app grow?"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import math
import time
from pathlib import Path

from PIL import Image

from fer.bench.served import SAMPLE, Progress, served_app, wait_for
from fer.bench.start import resident_megabytes

FRAMES, SETTLED = 10_000, 500  # memory is compared with that after the first 500


def bench_soak(arguments: argparse.Namespace, progress: Progress) -> dict:
    """Frames, errors, resident memory and files of the app over `FRAMES` frames (or ``--limit`` of them)."""
    count = arguments.limit or FRAMES
    pictures = _frames()
    errors, settled = 0, 0
    with served_app(arguments.model) as (url, app):
        while b'"ready":true' not in wait_for(url + "/healthz", app):
            time.sleep(0.1)
        config = json.loads(wait_for(url + "/config", app))
        widget = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "try")
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        started = time.monotonic()
        for index in progress(range(count)):
            data = {"viewer": "soak", "picture": pictures[index % len(pictures)], "smoothing": 0.3}
            body = {"component_id": widget, "fn_name": "read_frame", "session_hash": "soak", "data": data}
            connection.request(
                "POST", "/gradio_api/component_server", json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = json.loads(connection.getresponse().read())
            errors += len(answer.get("faces", ())) != 1
            if index == min(SETTLED, count - 1):
                settled, files = resident_megabytes(app.pid), _files(app.scratch)
        seconds = time.monotonic() - started
        grown, more = resident_megabytes(app.pid) - settled, _files(app.scratch) - files
    return {
        "frames": count,
        "frames_without_their_face": errors,
        "resident_megabytes": settled,
        "grown_megabytes": grown,
        "files_more": more,
        "frames_per_second": round(count / seconds, 1),
    }


def _frames() -> list[str]:
    """Data URLs of sixty frames of 640×480 in which the sample face moves about."""
    with Image.open(SAMPLE) as image:
        large = image.convert("RGB").resize((1024, 1024), Image.Resampling.BICUBIC)
    frames = []
    for index in range(60):
        turn = 2 * math.pi * index / 60
        left, top = round(126 + 90 * math.sin(turn)), round(12 + 10 * math.cos(turn))
        buffer = io.BytesIO()
        large.crop((left, top, left + 640, top + 480)).save(buffer, "JPEG", quality=80)
        frames.append("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode())
    return frames


def _files(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.is_file())
