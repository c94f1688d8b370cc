"""``bench beside``: how much slower a photo is answered while a fine-tune is under way on the same machine."""

from __future__ import annotations

import argparse
import base64
import os
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from fer.bench.served import SAMPLE, Caller, Progress, served_app, wait_for

CALLS = 60  # photos of each kind
LABELS = 300


def bench_beside(arguments: argparse.Namespace, progress: Progress) -> dict:
    """Milliseconds of ``/predict`` while nothing else happens, and while a full run is under way; their ratio."""
    if not arguments.data:
        raise ValueError("bench beside needs faces to learn from; give --data ferplus:FOLDER")
    picture = {"url": "data:image/jpeg;base64," + base64.b64encode(SAMPLE.read_bytes()).decode(),
               "meta": {"_type": "gradio.FileData"}}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        _label(Path(folder), arguments.data)
        with served_app(arguments.model, workspace=Path(folder)) as (url, app), closing(Caller(url)) as caller:
            while b'"ready":true' not in wait_for(url + "/healthz", app):
                time.sleep(0.1)
            time.sleep(15.0)  # the queue's faces are scored first
            rounds = iter(progress(range(2 * CALLS)))
            idle = [_took(caller, picture, next(rounds)) for _ in range(CALLS)]
            caller.call("train_start", "full")
            while caller.call("train_status")["words"] != "learning":
                time.sleep(0.5)
            beside = [_took(caller, picture, next(rounds)) for _ in range(CALLS)]
            status = caller.call("train_status")
            if status["state"] != "running":
                raise ValueError(f"the run was {status['state']} before the last photo was answered; nothing was measured")
            caller.call("train_stop")
            list(rounds)
    figures = {"idle_ms": idle, "beside_ms": beside}
    said = {name: {f"p{q}": round(1000 * float(np.percentile(one, q)), 1) for q in (50, 95)} for name, one in figures.items()}
    return {**said, "ratio_p95": round(said["beside_ms"]["p95"] / said["idle_ms"]["p95"], 2), "cores": os.cpu_count()}


def _took(caller: Caller, picture: dict, number: int) -> float:
    """Seconds until a photo is answered; a short rest before it, as people take."""
    time.sleep(0.1)
    began = time.monotonic()
    caller.call("predict", picture)
    return time.monotonic() - began


def _label(workspace: Path, source: str) -> None:
    """A workspace with `LABELS` labelled faces of `source`."""
    import io

    from fer import datasets
    from labeling.items import NewItem
    from labeling.judgements import Judgement
    from labeling.store import LabelStore

    faces = datasets.load(source, "val").for_evaluation()
    store, items = LabelStore(workspace / "labels"), []
    for index in range(min(LABELS, len(faces))):
        image, content = faces.image(index), io.BytesIO()
        image.save(content, "PNG")
        items.append(NewItem("bench", f"face {index}", content.getvalue(), *image.size, (0, 0, *image.size)))
    for index, item in enumerate(store.add(items)):
        store.judge(item, Judgement(f"bench-{index}", "bench", faces.classes[faces.labels[index]]))
    store.close()
