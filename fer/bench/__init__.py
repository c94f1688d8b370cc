"""``python -m fer bench``: the figures of the README, each measured on the machine it runs on."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from fer.bench.beside import bench_beside
from fer.bench.continual import bench_continual
from fer.bench.crop import bench_crop
from fer.bench.errors import bench_errors
from fer.bench.live import bench_live
from fer.bench.queue import bench_queue
from fer.bench.served import Progress
from fer.bench.soak import bench_soak
from fer.bench.start import bench_start
from fer.bench.store import bench_store

BENCHES: dict[str, Callable[[argparse.Namespace, Progress], dict]] = {
    "beside": bench_beside,
    "continual": bench_continual,
    "crop": bench_crop,
    "errors": bench_errors,
    "live": bench_live,
    "queue": bench_queue,
    "soak": bench_soak,
    "start": bench_start,
    "store": bench_store,
}
