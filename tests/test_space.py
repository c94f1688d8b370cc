"""On a Hugging Face Space: what its variables say, and the app as it starts there, on an empty disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from calls import call, config, http, upload
from conftest import ROOT
from label_workspaces import with_mounts

from fer.bench.served import free_port, wait_for
from labeling.space import Space, is_wiped, usual_workspace

# What a Gradio Space finds in its environment (huggingface.co/docs/hub/spaces-overview, "Helper environment variables").
VARIABLES = {
    "SYSTEM": "spaces", "SPACE_ID": "maria/expression-studio", "SPACE_HOST": "maria-expression-studio.hf.space",
    "SPACE_AUTHOR_NAME": "maria", "SPACE_REPO_NAME": "expression-studio", "SPACE_TITLE": "Expression Studio",
    "GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_ALLOW_FLAGGING": "never", "GRADIO_THEME": "huggingface",
}  # fmt: skip
# A stand-in: the package itself is on Spaces alone, and needs ZeroGPU's own scheduler. It notes what is marked, and whether
# torch was there already.
STAND_IN = """
import json, os, sys
def GPU(fn=None, **settings):
    def mark(one):
        with open(os.environ["MARKED"], "a") as file:
            file.write(json.dumps([one.__name__, "torch" in sys.modules]) + "\\n")
        return one
    return mark(fn) if fn else mark
"""
CONTAINER = "overlay / overlay rw 0 0\n"
BUCKET = CONTAINER + "bucket /data fuse.hf-mount rw 0 0\n"


def test_a_space_is_known_by_its_variables():
    assert Space.here({}) is None
    assert Space.here(VARIABLES) == Space("maria/expression-studio", "maria-expression-studio.hf.space")
    assert Space.here(VARIABLES).address == "https://maria-expression-studio.hf.space"
    assert Space.here({"SPACE_ID": "m/x"}).address == "https://huggingface.co/spaces/m/x"
    assert Space.here({"SPACE_ID": "m/x", "SPACE_HOST": "m-x.hf.space,studio.example"}).host == "m-x.hf.space"


@pytest.mark.parametrize(
    ("mounts", "space", "workspace", "wiped"),
    [
        (CONTAINER, Space("m/x", ""), "workspace", True),
        (BUCKET, Space("m/x", ""), "/data/workspace", False),
        (BUCKET, None, "workspace", False),  # some other machine's /data is not ours
        (CONTAINER, None, "workspace", False),
    ],
)
def test_a_mounted_bucket_becomes_the_workspace_and_outlasts_a_restart(monkeypatch, mounts, space, workspace, wiped):
    with_mounts(monkeypatch, mounts)
    assert usual_workspace(space) == Path(workspace)
    assert is_wiped(space, usual_workspace(space)) is wiped


@contextmanager
def started(folder: Path, **more: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """The app as a Space starts it, in the empty `folder`; its address and process."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FER_", "GRADIO_", "SPACE", "HF_"))}
    with (folder / "log").open("wb") as log:
        app = subprocess.Popen(
            [sys.executable, ROOT / "app.py"], cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            env={**kept, **VARIABLES, "GRADIO_SERVER_PORT": str(port), "HOME": str(folder), **more},
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, app)
        yield address, app
    finally:
        app.kill()
        app.wait()


def page(address: str) -> str:
    """All that the page says before anybody does anything."""
    return json.dumps(config(address)["components"], ensure_ascii=False)


def test_a_space_with_an_empty_disk_predicts_and_says_that_labels_will_be_lost(tmp_path, collins):
    with started(tmp_path) as (address, app):
        assert "Labels given here are lost when this Space restarts" in page(address)
        assert "FER_LABELS_REPO" in page(address) and "spaces/maria/expression-studio?duplicate=true" in page(address)
        outcome, answer = call(address, "predict", upload(address, collins))
        assert outcome == "complete" and answer["faces"][0]["expression"] == "happiness"
        status, _ = http(f"{address}/gradio_api/call/train_start", {"data": ["quick"]})
        assert status == 200 and call(address, "train_start", "quick")[0] == "error", "visitors do not train"
        app.send_signal(signal.SIGTERM)
        assert app.wait(30) == 0
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "https://maria-expression-studio.hf.space/enter?key=" in log
    assert (tmp_path / "workspace").is_dir() and "spaces" not in {path.name for path in tmp_path.iterdir()}


def test_where_zero_gpu_is_a_function_is_marked_for_it_before_torch_is_imported(tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "spaces.py").write_text(STAND_IN, encoding="utf-8")
    environment = {**os.environ, **VARIABLES, "PYTHONPATH": f"{tmp_path / 'packages'}:{ROOT}", "MARKED": str(tmp_path / "marked")}
    subprocess.run([sys.executable, "-c", "import app"], cwd=tmp_path, env=environment, check=True, timeout=60)
    marked = [json.loads(line) for line in (tmp_path / "marked").read_text(encoding="utf-8").splitlines()]
    assert marked == [["lent_gpu", False]]


def test_elsewhere_nothing_is_said_of_spaces(app_address):
    assert "lost when this Space restarts" not in page(app_address)


def test_the_front_matter_of_the_readme_is_what_a_space_needs():
    _, front, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    said = dict(line.split(": ", 1) for line in front.splitlines())
    assert said["sdk"] == "gradio" and said["app_file"] == "app.py" and said["hf_oauth"] == "true"
    assert len(said["short_description"]) <= 60  # the Hub refuses longer ones
    lowest, below = ((ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()[0].partition(">=")[2]).split(",<")
    version = tuple(map(int, said["sdk_version"].split(".")))
    assert tuple(map(int, lowest.split("."))) <= version < tuple(map(int, below.split(".")))
