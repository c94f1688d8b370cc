"""Hugging Face Jobs of one's own, beside `local_hub`: a job is a process on this machine, started with the very command,
environment and secrets that were sent.

    with JobsHub(folder) as hub:
        Jobs(TOKEN, hub.address)

or as a process: ``python tests/local_jobs.py --port 8765``, then ``HF_ENDPOINT=http://127.0.0.1:8765``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import uvicorn
from local_hub import TOKEN, USER, LocalHub, _error
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

OVER = ("COMPLETED", "CANCELED", "ERROR")
CPU = {"name": "cpu-upgrade", "prettyName": "CPU Upgrade", "cpu": "8 vCPU", "ram": "32 GB", "ephemeralStorage": "50 GB",
       "accelerator": None, "unitCostMicroUSD": 500, "unitCostUSD": 0.0005, "unitLabel": "minute"}  # fmt: skip
GPU = {**CPU, "name": "t4-small", "prettyName": "Nvidia T4 - small", "cpu": "4 vCPU", "ram": "15 GB", "unitCostMicroUSD": 6667,
       "unitCostUSD": 0.006667,
       "accelerator": {"type": "gpu", "model": "T4", "quantity": "1", "vram": "16 GB", "manufacturer": "Nvidia"}}  # fmt: skip


@dataclass
class Job:
    """A job: what was sent, and the process that does it."""

    id: str
    owner: str
    sent: dict
    stage: str = "SCHEDULING"
    message: str | None = None
    lines: list[str] = field(default_factory=list)
    created: str = field(default_factory=lambda: _now())
    began: float | None = None
    seconds: float | None = None
    child: subprocess.Popen | None = None

    def as_dict(self) -> dict:
        running = self.seconds if self.seconds is not None else self.began and time.monotonic() - self.began
        return {
            "id": self.id, "createdAt": self.created, "command": self.sent["command"], "arguments": [], "flavor": self.sent["flavor"],
            "environment": self.sent["environment"], "dockerImage": self.sent.get("dockerImage"), "labels": self.sent.get("labels"),
            "owner": {"id": "1", "name": self.owner, "type": "user"}, "status": {"stage": self.stage, "message": self.message},
            "durations": {"schedulingSecs": 0, "runningSecs": running and int(running), "totalSecs": 0},
        }  # fmt: skip


class JobsHub(LocalHub):
    """A `LocalHub` that rents out this machine. `jobs` may be looked at; jobs run in folders below `place`.

    With `held` a job waits for its machine; `environment` is added to that of every job, as its image would be.
    """

    def __init__(self, place: Path, port: int | None = None, environment: dict[str, str] | None = None) -> None:
        super().__init__(port)
        self.place, self.environment = Path(place), environment or {}
        self.jobs: dict[str, Job] = {}
        self.hardware = [CPU, GPU]
        self.held = False

    def end(self) -> None:
        """Kill what still runs."""
        for job in self.jobs.values():
            _kill(job)

    def routes(self) -> list[Route]:
        one = "/api/jobs/{owner}/{job}"
        return [
            self._route("/api/jobs/hardware", self._hardware),
            self._route("/api/jobs/{owner}", self._run, "POST"),
            self._route("/api/jobs/{owner}", self._list),
            self._route(one + "/logs", self._logs),
            self._route(one + "/cancel", self._cancel, "POST"),
            self._route(one, self._inspect),
            *super().routes(),
        ]

    async def _hardware(self, request: Request) -> Response:
        return JSONResponse(self.hardware)

    async def _run(self, request: Request) -> Response:
        sent = await request.json()
        if request.path_params["owner"] != request.state.user:
            return _error(403, "You have no right to run jobs here.")
        if sent["flavor"] not in {one["name"] for one in self.hardware}:
            return _error(400, "Unknown flavor")
        job = Job(f"{len(self.jobs):024x}", request.state.user, sent)
        self.jobs[job.id] = job
        threading.Thread(target=self._work, args=(job,), daemon=True).start()
        return JSONResponse(job.as_dict())

    async def _list(self, request: Request) -> Response:
        theirs = [one.as_dict() for one in reversed(self.jobs.values()) if one.owner == request.state.user]
        return JSONResponse(theirs)

    def _work(self, job: Job) -> None:
        while self.held and job.stage == "SCHEDULING":
            time.sleep(0.05)
        if job.stage != "SCHEDULING":
            return
        folder = Path(tempfile.mkdtemp(prefix="machine-", dir=self.place))
        known = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS") if name in os.environ}
        home = {"HOME": str(folder), "TMPDIR": str(folder), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable if word == "python" and not at else word for at, word in enumerate(job.sent["command"])]
        job.began, job.stage = time.monotonic(), "RUNNING"
        job.child = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**known, **home, **self.environment, **job.sent["environment"], **job.sent.get("secrets", {})},
        )  # fmt: skip
        limit = threading.Timer(job.sent.get("timeoutSeconds", 1800), self._out_of_time, (job,))
        limit.daemon = True
        limit.start()
        for line in job.child.stdout:
            job.lines.append(line.rstrip("\n"))
        code = job.child.wait()
        limit.cancel()
        job.seconds = time.monotonic() - job.began
        if job.stage == "RUNNING":
            job.stage = "COMPLETED" if code == 0 else "ERROR"
            job.message = job.message or (None if code == 0 else f"Job failed with exit code: {code}")

    def _out_of_time(self, job: Job) -> None:
        job.message = "Job timeout"
        _kill(job)

    def _found(self, request: Request) -> Job | None:
        job = self.jobs.get(request.path_params["job"])
        return job if job and job.owner == request.state.user else None

    async def _inspect(self, request: Request) -> Response:
        job = self._found(request)
        return JSONResponse(job.as_dict()) if job else _error(404, "Job not found")

    async def _cancel(self, request: Request) -> Response:
        job = self._found(request)
        if job is None:
            return _error(404, "Job not found")
        if job.stage not in OVER:
            job.stage = "CANCELED"
            _kill(job)
        return JSONResponse({})

    async def _logs(self, request: Request) -> Response:
        job = self._found(request)
        return StreamingResponse(_events(job), media_type="text/event-stream") if job else _error(404, "Job not found")


async def _events(job: Job) -> AsyncIterator[str]:
    at = 0
    yield _event("===== Job started at now =====")
    while True:
        over = job.stage in OVER and (job.child is None or job.child.poll() is not None)
        while at < len(job.lines):
            yield _event(job.lines[at])
            at += 1
        if over:
            return
        await asyncio.sleep(0.05)


def _event(line: str) -> str:
    return f"data: {json.dumps({'timestamp': _now(), 'data': line})}\n\n"


def _kill(job: Job) -> None:
    if job.child and job.child.poll() is None:
        os.killpg(job.child.pid, signal.SIGKILL)


def _now() -> str:
    """The time as the Hub writes it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8765)
    hub = JobsHub(Path(tempfile.mkdtemp(prefix="jobs-")), parser.parse_args().port)
    print(f"the Hub of {USER} (token {TOKEN}) is at {hub.address}", file=sys.stderr)
    uvicorn.run(hub.app(), host="127.0.0.1", port=hub.port, log_level="warning")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
