"""``bench start``: how long until the page answers, and what it costs in memory."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time

from fer.bench.served import SAMPLE, Progress, served_app, wait_for


def bench_start(arguments: argparse.Namespace, progress: Progress) -> dict:
    """Seconds from ``python app.py`` to a page that loads and to a model in memory; memory after ten predictions."""
    from gradio_client import Client, handle_file

    started = time.monotonic()
    with served_app(arguments.model) as (url, app):
        page = time.monotonic() - started
        while not json.loads(wait_for(url + "/healthz", app))["ready"]:
            time.sleep(0.1)
        ready = time.monotonic() - started
        client = Client(url, verbose=False)
        times = []
        for _ in progress(range(10)):
            before = time.monotonic()
            client.predict(handle_file(str(SAMPLE)), api_name="/predict")
            times.append(time.monotonic() - before)
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
