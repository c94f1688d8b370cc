"""The app as a process of its own, for benchmarks that use it as a visitor does."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

Progress = Callable[[Iterable], Iterable]
APP = Path(__file__).parent.parent.parent / "app.py"
SAMPLE = Path(__file__).parent.parent / "samples" / "eileen-collins.jpg"


@contextmanager
def served_app(
    model: str | None = None, port: int | None = None, workspace: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run ``python app.py``, with the model folder `model` if given, on `port` or a free one until the block ends; its address and process.

    All files it makes, uploads and the workspace, if `workspace` names no other place for that, lie in the
    process's attribute `scratch`, a temporary folder.

    Raises OSError, in one sentence, when the page does not answer.
    """
    port = port or free_port()
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, str(APP), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workspace", str(workspace or scratch)]
        command += ["--model", model] if model else []
        app = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": scratch}
        )
        app.scratch = Path(scratch)
        try:
            wait_for(f"http://127.0.0.1:{port}/", app)
            yield f"http://127.0.0.1:{port}", app
        finally:
            app.terminate()
            try:
                app.wait(20)
            except subprocess.TimeoutExpired:
                app.kill()


class Caller:
    """A visitor's connection to the API of the app at the address `url`; one call at a time."""

    def __init__(self, url: str, seconds: float = 60) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=seconds)
        # As gradio_client does. For a call that names no session Gradio makes one: milliseconds, and 0.1 MB that stay.
        self._session = secrets.token_hex(8)

    def call(self, name: str, *values: object) -> object:
        """What ``/name`` answers to `values`.

        Raises ValueError where the app refuses, OSError or http.client.HTTPException where it does not answer.
        """
        place = f"/gradio_api/call/{name}"
        body = json.dumps({"data": values, "session_hash": self._session})
        event = json.loads(self._exchange("POST", place, body, {"Content-Type": "application/json"}))
        stream = self._exchange("GET", f"{place}/{event['event_id']}").decode()
        outcome, _, data = stream.rstrip().rpartition("event: ")[2].partition("\ndata: ")
        if outcome != "complete":
            raise ValueError(f"/{name} answered {outcome or 'nothing'}: {data}")
        return json.loads(data)[0]

    def close(self) -> None:
        self._connection.close()

    def _exchange(self, *request: object) -> bytes:
        self._connection.request(*request)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise ValueError(f"the app answered with status {answer.status}: {content[:200].decode(errors='replace')}")
        return content


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(url: str, app: subprocess.Popen, seconds: float = 120) -> bytes:
    """What `url` of the process `app` answers, within `seconds`. Raises OSError, in one sentence."""
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
