"""A fine-tune on a rented machine, seen from there: ``python -m fer.job USER/NAME``, in the folder of an unpacked parcel.

It trains as the app does, tells of it on stdout, and leaves the result in the repository that the parcel came from.
What sends the parcel and brings the result home is `fer.remote`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from fer.files import json_object
from fer.hub import RESULT, HubError, JobRepository
from fer.run_folder import RunPaths

RUN = "run"  # the folder of the run in the parcel
TOLD = ("status", "metrics")  # what is told on lines of its own, as "::status {…}"
EVERY_SECONDS = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Train what lies in the current folder and send the result; 0 when it has arrived."""
    (repository,) = sys.argv[1:] if arguments is None else arguments
    place = Path.cwd()
    try:
        code = _train(RunPaths(place / RUN))
        if code == 0:
            print("sending the result", flush=True)
            JobRepository(repository).send(_packed(place), RESULT)
        return code
    except HubError as error:
        print(error, flush=True)
        return 1
    finally:
        if place.name.startswith("fer-job-"):  # faces are no litter
            os.chdir("/")
            shutil.rmtree(place, ignore_errors=True)


def _train(paths: RunPaths) -> int:
    """Run the training command on the run in `paths`, passing on what it prints and telling how it stands; its exit code."""
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}
    command = [sys.executable, "-m", json_object(paths.config)["module"], str(paths.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as child:
        ended = threading.Event()
        teller = threading.Thread(target=_tell, args=(paths, ended), daemon=True)
        teller.start()
        for line in child.stdout:
            print(line, end="", flush=True)
        code = child.wait()
        ended.set()
        teller.join()
    return code


def _tell(paths: RunPaths, ended: threading.Event) -> None:
    """Print the run's status and its new measurements now and then, until it has `ended`; the last ones too."""
    told, last = 0, None
    while True:
        over = ended.wait(EVERY_SECONDS)
        status = json_object(paths.status)
        if status and status != last:
            print("::status", json.dumps({key: status.get(key) for key in ("step", "steps", "words")}), flush=True)
        last = status
        for line in list(_whole_lines(paths.metrics))[told:]:
            told += 1
            print("::metrics", line, flush=True)
        if over:
            return


def _whole_lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text(encoding="utf-8").split("\n")[:-1]
    except OSError:
        return


def _packed(place: Path) -> Path:
    """What the run made, as one file: the bundle, the report and the measurements."""
    paths, target = RunPaths(place / RUN), place / RESULT
    with zipfile.ZipFile(target, "w") as archive:  # weights do not shrink
        for path in (paths.report, paths.metrics, *sorted(paths.bundle.iterdir())):
            if path.is_file():
                archive.write(path, path.relative_to(paths.root).as_posix())
    return target


if __name__ == "__main__":
    raise SystemExit(main())
