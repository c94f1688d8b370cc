"""``bench start``: how long until the page answers, and what it costs in memory."""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import time

from fer.bench.served import SAMPLE, Caller, Progress, served_app, wait_for


def bench_start(arguments: argparse.Namespace, progress: Progress) -> dict:
    """Seconds from ``python app.py`` to a page that loads and to a model in memory; memory after ten predictions."""
    picture = {"url": "data:image/jpeg;base64," + base64.b64encode(SAMPLE.read_bytes()).decode(),
               "meta": {"_type": "gradio.FileData"}}  # fmt: skip
    started = time.monotonic()
    with served_app(arguments.model) as (url, app):
        page = time.monotonic() - started
        while not json.loads(wait_for(url + "/healthz", app))["ready"]:
            time.sleep(0.1)
        ready = time.monotonic() - started
        caller = Caller(url)
        times = []
        for _ in progress(range(10)):
            before = time.monotonic()
            caller.call("predict", picture)
            times.append(time.monotonic() - before)
        caller.close()
        memory = resident_megabytes(app.pid)
    return {
        "seconds_to_page": round(page, 2),
        "seconds_to_model_ready": round(ready, 2),
        "median_seconds_per_prediction": round(statistics.median(times), 3),
        "resident_megabytes_after_ten": memory,
        "cores": os.cpu_count(),
    }


def resident_megabytes(pid: int) -> int:
    """Resident memory of process `pid`, as the system counts it."""
    output = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return round(int(output) / 1024)
